//! `trainer predict`: name the action in a video.

mod stream;

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cli::predict::{Arguments, DEFAULT_CHECKPOINT};
use clip_backbone::Checkpoint;
use clips::{Chosen, Precision, PrecisionChoice, VideoFiles};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pixels::Geometry;
use recogniser::{Answer, Cut, DecodedVideo, Labels, Ready, Recogniser, Shown, decode_ahead};
use trainer::config::VideoLimits;
use trainer::runtime;
use trainer::threads::{threads, use_threads};

use super::exit;

/// Whether standard input is asked for.
fn is_stream(arguments: &Arguments) -> bool {
    let mut videos = arguments.videos.iter();
    videos.any(|video| video.as_os_str() == stream::NAME)
}

fn files(arguments: &Arguments) -> VideoFiles {
    VideoFiles {
        limits: (&VideoLimits::from(arguments.limits.clone())).into(),
        stream: arguments.stream,
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<u8> {
    use_threads(threads(arguments.threads.map(usize::from)))?;
    let labels = match (&arguments.labels, &arguments.labels_file) {
        (Some(list), _) => {
            let labels = Labels::parse(list)?;
            let spaced = list.matches(", ").count();
            if (1..list.matches(',').count()).contains(&spaced) && !list.contains('"') {
                eprintln!(
                    "note: the labels are {}; one with a comma goes into double quotes",
                    data::named(labels.names())
                );
            }
            Some(labels)
        }
        (None, Some(path)) => Some(Labels::read(path)?),
        (None, None) => None,
    };
    if let Some([only]) = labels.as_ref().map(Labels::names) {
        let advice = match Path::new(only).is_file() {
            true => "; for the labels in a file give --labels-file",
            false => "",
        };
        eprintln!("note: every video is \"{only}\", the one label{advice}");
    }
    if is_stream(&arguments) && arguments.videos.len() > 1 {
        eprintln!("error: - is a stream on standard input, and cannot be given with other videos");
        return Ok(exit::USAGE);
    }
    if is_stream(&arguments) && arguments.stream.is_some() {
        eprintln!("error: --stream needs a file; of a stream on standard input the film is read");
        return Ok(exit::USAGE);
    }
    let checkpoint = &arguments.checkpoint;
    let precision: PrecisionChoice = arguments.precision.parse()?;
    let architecture = arguments.architecture.as_deref();
    let device = runtime::resolve(arguments.device)?;
    if precision.fixed() == Some(Precision::Fp16) && device == tch::Device::Cpu {
        eprintln!(
            "error: --precision fp16 needs a GPU; on a CPU use --precision fp32 or --precision bf16"
        );
        return Ok(exit::USAGE);
    }
    let trained = |folder: &Path| -> Result<u8> {
        let backbone = arguments.backbone.as_deref();
        let precision = precision.fixed();
        let run = Recogniser::of_run(folder, backbone, architecture, precision, device)
            .map_err(|error| unusable("run", checkpoint, error.into()))?;
        let frames = arguments.frames.map_or(run.frames(), usize::from);
        if frames != run.frames() {
            bail!(
                "--frames {frames}: {checkpoint} was trained on {} frames",
                run.frames()
            );
        }
        let asked = Asked::start(&arguments, run.preprocess().geometry, frames)?;
        answer_all(&arguments, &run.bind(labels.as_ref())?, frames, asked)
    };
    if let Some(folder) = recogniser::find_trained(Path::new(checkpoint)) {
        return trained(&folder);
    }
    let unusable = |error| unusable("checkpoint", checkpoint, error);
    recogniser::expect_not_run(Path::new(checkpoint)).map_err(|e| unusable(e.into()))?;
    let Some(labels) = &labels else {
        let advice = "give --labels, --labels-file or a trained run";
        match Path::new(checkpoint).exists() {
            _ if checkpoint == DEFAULT_CHECKPOINT => {
                eprintln!("error: no labels: {advice}");
            }
            true => eprintln!("error: no labels: {checkpoint} is not a trained run; {advice}"),
            false => eprintln!(
                "error: --checkpoint {checkpoint} does not exist here; if it is the id of one on a \
                 hub, give its labels, or download it: hf download {checkpoint} --local-dir DIR"
            ),
        }
        return Ok(exit::USAGE);
    };
    let templates = recogniser::templates(&arguments.templates)?;
    let opened = Checkpoint::open_as(checkpoint, architecture).map_err(|e| unusable(e.into()))?;
    // On a hub there are exported runs, too.
    if recogniser::is_exported(opened.place()) {
        return trained(opened.place());
    }
    let frames = usize::from(arguments.frames.unwrap_or(8));
    let asked = Asked::start(&arguments, opened.preprocess().geometry, frames)?;
    let precision = match precision {
        PrecisionChoice::Fixed(precision) => precision,
        PrecisionChoice::Auto => {
            let chosen = Chosen::of(&opened, device).map_err(|e| unusable(e.into()))?;
            eprintln!("note: {}", chosen.reason);
            chosen.precision
        }
    };
    let clip = Recogniser::zero_shot(&opened, templates, frames, device, precision)
        .map_err(|e| unusable(e.into()))?;
    let ready = clip.bind(Some(labels))?;
    answer_all(&arguments, &ready, frames, asked)
}

/// Says that `place` cannot be used, and names it unless the error does.
fn unusable(kind: &str, place: &str, error: anyhow::Error) -> anyhow::Error {
    match error.to_string().contains(place) {
        true => error.context(format!("cannot use the {kind}")),
        false => error.context(format!("cannot use the {kind} {place}")),
    }
}

/// A video and its clip.
type Decoded = (PathBuf, recogniser::Result<DecodedVideo>);

/// The inputs to answer.
enum Asked<C> {
    /// Whole videos, decoded ahead.
    Whole(C),
    /// Windows of them.
    Windows(data::Span),
}

impl Asked<()> {
    /// Starts decoding, if whole videos are answered.
    fn start(
        arguments: &Arguments,
        geometry: Geometry,
        frames: usize,
    ) -> Result<Asked<impl Iterator<Item = Decoded>>> {
        Ok(match arguments.window {
            Some(window) => Asked::Windows(window),
            None if is_stream(arguments) => Asked::Windows("2s".parse()?),
            None => {
                let (videos, files) = (arguments.videos.clone(), files(arguments));
                Asked::Whole(decode_ahead(videos, &files, frames, geometry)?)
            }
        })
    }
}

/// Answers and prints every video.
fn answer_all(
    arguments: &Arguments,
    model: &Ready<'_>,
    frames: usize,
    asked: Asked<impl Iterator<Item = Decoded>>,
) -> Result<u8> {
    for note in model.notes() {
        eprintln!("note: {}", recogniser::printable(note));
    }
    let top = |default| usize::from(arguments.top.unwrap_or(default));
    let progress = progress_bar(arguments);
    let window = match asked {
        Asked::Windows(window) => window,
        Asked::Whole(decoded) => {
            let answers = decoded.map(|(path, decoded)| {
                let answer = decoded.map_err(anyhow::Error::from).and_then(|decoded| {
                    let answer = model.answer(&path, &decoded.clip, top(5))?;
                    let note = decoded.note;
                    Ok(Answer { note, ..answer })
                });
                progress.inc(1);
                (path, answer)
            });
            return print_all(arguments, &progress, answers);
        }
    };
    let cut = Cut {
        window,
        stride: arguments.stride.unwrap_or(window),
        frames,
        top: top(1),
    };
    let files = files(arguments);
    if is_stream(arguments) {
        let mut printer = Printer::new(arguments);
        let streamed = stream::answer(model, &files.limits, &cut, |answer| printer.answer(answer));
        return Ok(match streamed {
            Err(error) if is_closed_pipe(&error) => exit::DONE,
            Err(error) => {
                printer.failure(stream::NAME, &error)?;
                exit::FAILED
            }
            Ok(()) => exit::DONE,
        });
    }
    let timelines = arguments.videos.iter().map(|path| {
        let timeline = model.timeline(path, &files, &cut, |done, total| {
            progress.set_length(total as u64);
            progress.set_position(done as u64);
        });
        (path.clone(), timeline.map_err(anyhow::Error::from))
    });
    print_all(arguments, &progress, timelines)
}

/// Whether the reader of the answers is gone.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints each answer as it comes.
fn print_all(
    arguments: &Arguments,
    progress: &ProgressBar,
    answers: impl Iterator<Item = (PathBuf, Result<impl Shown>)>,
) -> Result<u8> {
    let total = arguments.videos.len();
    let mut printer = Printer::new(arguments);
    let mut answered = 0;
    for (path, answer) in answers {
        let flow = progress.suspend(|| match &answer {
            Ok(answer) => {
                if let Some(note) = answer.note() {
                    let note = format!("note: {}: {note}", path.display());
                    eprintln!("{}", recogniser::printable(&note));
                }
                printer.answer(answer)
            }
            Err(error) => printer.failure(&path.to_string_lossy(), error),
        });
        match flow {
            Ok(()) => {}
            // The reader closed the pipe.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(exit::DONE);
            }
            Err(error) => return Err(error).context("cannot write the answers"),
        }
        answered += usize::from(answer.is_ok());
    }
    progress.finish_and_clear();
    let failed = total - answered;
    if failed > 0 && total > 1 {
        eprintln!("{failed} of {total} videos could not be answered");
    }
    Ok(match (answered, failed) {
        (_, 0) => exit::DONE,
        (0, _) => exit::FAILED,
        _ => exit::PARTIAL,
    })
}

/// A bar on a terminal, for several videos or for windows; hidden otherwise.
fn progress_bar(arguments: &Arguments) -> ProgressBar {
    let windows = arguments.window.is_some();
    let long = (windows || arguments.videos.len() > 1) && io::stderr().is_terminal();
    let target = if long {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(arguments.videos.len() as u64), target);
    let template = if windows {
        "{bar:30} {pos}/{len} windows, {per_sec}, {eta} left"
    } else {
        "{bar:30} {pos}/{len} videos, {per_sec}, {eta} left"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Writes answers in the requested form.
struct Printer {
    out: io::Stdout,
    form: Form,
}

enum Form {
    Table { columns: usize },
    Plain,
    Json,
}

impl Printer {
    fn new(arguments: &Arguments) -> Self {
        let out = io::stdout();
        let form = match (arguments.json, out.is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Table {
                columns: runtime::terminal_columns(),
            },
            (false, false) => Form::Plain,
        };
        Self { out, form }
    }

    fn answer(&mut self, answer: &impl Shown) -> io::Result<()> {
        let mut out = self.out.lock();
        match self.form {
            Form::Table { columns } => write!(out, "{}", answer.table(columns))?,
            Form::Plain => write!(out, "{}", answer.plain())?,
            Form::Json => writeln!(out, "{}", serde_json::to_string(answer)?)?,
        }
        out.flush()
    }

    fn failure(&mut self, video: &str, error: &anyhow::Error) -> io::Result<()> {
        eprintln!("error: {}", recogniser::printable(&format!("{error:#}")));
        let limit = error.downcast_ref().and_then(recogniser::Error::video);
        if let Some((name, value)) = limit.and_then(video::Error::limit) {
            let value = value.unwrap_or_else(|| "N".into());
            eprintln!("help: --{} {value} allows it", name.replace('_', "-"));
        }
        if matches!(self.form, Form::Json) {
            let object = serde_json::json!({ "video": video, "error": format!("{error:#}") });
            writeln!(self.out.lock(), "{object}")?;
        }
        Ok(())
    }
}
