//! `trainer predict`: name the action in a video.

mod stream;

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use clip_backbone::Checkpoint;
use clips::{Chosen, Precision, PrecisionChoice, VideoFiles};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pixels::Geometry;
use recogniser::{Answer, Cut, DecodedVideo, Labels, Ready, Recogniser, Shown, Span, decode_ahead};
use trainer::config::VideoLimits;
use trainer::runtime;
use trainer::threads::{threads, use_threads};

use super::exit;

/// Recognise the action in each video, among given labels.
///
/// Prints a table on a terminal, tab-separated lines (video, rank, score, label) into a pipe, or
/// one JSON object per video with --json. With --window each window of a video is answered; the
/// lines are then video, start, end, rank, score, label. Exit codes: 0 every video answered,
/// 1 some not, 2 wrong arguments, 3 none answered.
///
/// Formats: what FFmpeg reads and holds its pictures itself, such as MP4, MOV, 3GP, MKV, WebM, AVI,
/// MPEG (.mpg, .vob, .ts, .mts, .m2ts), OGV, FLV, WMV, MXF, GIF, APNG, Y4M, IVF, and bare H.264,
/// HEVC or AV1. The content decides, not the ending of the name; so it does in the folders of fit and
/// check-videos. Playlists, scripts, image sequences and addresses are refused.
///
/// Stream: of several videos in a file the film, which moves and lasts, not a still or slides; a
/// note says which, and --stream chooses another.
///
/// Pictures are shown as a player shows them: upright, mirrored if need be, and in their shape
/// where pixels are not square. HDR is not tone-mapped.
///
/// Times are seconds from the first picture shown, whatever the file's header says. A picture lasts
/// until the next one, the last one as long as the file says, or as the one before. A window is a
/// stretch of time; its pictures are those shown in it for at least half of its length or of
/// theirs. No window reaches beyond the end of the last picture.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Video files; - is a video stream on standard input, answered window by window as it comes, of
    /// 2s each unless --window says otherwise.
    #[arg(required = true, value_name = "VIDEO")]
    videos: Vec<PathBuf>,

    /// The classes, separated by commas; one with a comma in double quotes: '"walk, slowly",run'.
    #[arg(long, value_name = "A,B,C")]
    labels: Option<String>,

    /// A file with one class per line, or a table of numbers and names: CSV or JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    labels_file: Option<PathBuf>,

    /// A trained run's folder, with its own labels and number of frames; or a CLIP checkpoint: a
    /// folder, a file, or a hub id.
    #[arg(long, value_name = "PATH_OR_ID", default_value = recogniser::DEFAULT_CHECKPOINT)]
    checkpoint: String,

    /// The architecture of weights without a configuration: ViT-B-32, ViT-B-16, ViT-L-14,
    /// ViT-L-14-336, each also with -gelu, or the path of the model's config.json.
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,

    /// A trained run's backbone, if it was moved after training.
    #[arg(long, value_name = "PATH_OR_ID")]
    backbone: Option<PathBuf>,

    /// A hand-crafted prompt with {} for the class, or a file with one per line; several are
    /// averaged.
    #[arg(long, value_name = "TEXT", default_value = recogniser::DEFAULT_TEMPLATE)]
    templates: Vec<String>,

    /// Answer for each window of this length, such as 2s, 500ms or 1.5m: a timeline. The first
    /// begins with the first picture, the last ends with the last one; a shorter video is one
    /// window.
    #[arg(long, value_name = "TIME")]
    window: Option<Span>,

    /// Time from the start of a window to that of the next; by default the window's length.
    #[arg(long, value_name = "TIME", requires = "window")]
    stride: Option<Span>,

    /// Frames per video or window, evenly spaced by their number; by default 8, or the number a run was trained
    /// on.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    frames: Option<u16>,

    /// Number of classes to print; by default 5 per video, 1 per window.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    top: Option<u16>,

    /// One JSON object per video, one per line.
    #[arg(long)]
    json: bool,

    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: runtime::DeviceChoice,

    /// The backbone's precision: fp32, bf16, fp16, or auto, that of the run, or else the fastest one
    /// whose features are close to those in fp32.
    #[arg(long, default_value = "auto")]
    precision: PrecisionChoice,

    /// Threads for decoding and computing [default: OMP_NUM_THREADS, or the processors this process may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Index of the video stream among all streams of the files, from 0.
    #[arg(long, value_name = "N")]
    stream: Option<usize>,

    #[command(flatten, next_help_heading = "Limits on each video")]
    limits: VideoLimits,
}

impl Arguments {
    /// Whether standard input is asked for.
    fn is_stream(&self) -> bool {
        self.videos
            .iter()
            .any(|video| video.as_os_str() == stream::NAME)
    }

    fn files(&self) -> VideoFiles {
        VideoFiles {
            limits: (&self.limits).into(),
            stream: self.stream,
        }
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
    if arguments.is_stream() && arguments.videos.len() > 1 {
        eprintln!("error: - is a stream on standard input, and cannot be given with other videos");
        return Ok(exit::USAGE);
    }
    if arguments.is_stream() && arguments.stream.is_some() {
        eprintln!("error: --stream needs a file; of a stream on standard input the film is read");
        return Ok(exit::USAGE);
    }
    let checkpoint = &arguments.checkpoint;
    let architecture = arguments.architecture.as_deref();
    let device = arguments.device.resolve()?;
    if arguments.precision.fixed() == Some(Precision::Fp16) && device == tch::Device::Cpu {
        eprintln!(
            "error: --precision fp16 needs a GPU; on a CPU use --precision fp32 or --precision bf16"
        );
        return Ok(exit::USAGE);
    }
    if let Some(folder) = recogniser::find(Path::new(checkpoint)) {
        let backbone = arguments.backbone.as_deref();
        let precision = arguments.precision.fixed();
        let run = Recogniser::of_run(&folder, backbone, architecture, precision, device)
            .map_err(|error| unusable("run", checkpoint, error.into()))?;
        let frames = arguments.frames.map_or(run.frames(), usize::from);
        if frames != run.frames() {
            bail!(
                "--frames {frames}: {checkpoint} was trained on {} frames",
                run.frames()
            );
        }
        let asked = Asked::start(&arguments, run.preprocess().geometry, frames)?;
        return answer_all(&arguments, &run.bind(labels.as_ref())?, frames, asked);
    }
    let unusable = |error| unusable("checkpoint", checkpoint, error);
    recogniser::expect_not_run(Path::new(checkpoint)).map_err(|e| unusable(e.into()))?;
    let Some(labels) = labels else {
        let advice = "give --labels, --labels-file or a trained run";
        match Path::new(checkpoint).exists() {
            _ if checkpoint == recogniser::DEFAULT_CHECKPOINT => {
                eprintln!("error: no labels: {advice}");
            }
            true => eprintln!("error: no labels: {checkpoint} is not a trained run; {advice}"),
            false => eprintln!(
                "error: --checkpoint {checkpoint} does not exist here; if it is the id of one on a \
                 hub, it has no labels: {advice}"
            ),
        }
        return Ok(exit::USAGE);
    };
    let templates = recogniser::templates(&arguments.templates)?;
    let opened = Checkpoint::open_as(checkpoint, architecture).map_err(|e| unusable(e.into()))?;
    let frames = usize::from(arguments.frames.unwrap_or(8));
    let asked = Asked::start(&arguments, opened.preprocess().geometry, frames)?;
    let precision = match arguments.precision {
        PrecisionChoice::Fixed(precision) => precision,
        PrecisionChoice::Auto => {
            let chosen = Chosen::of(&opened, device).map_err(|e| unusable(e.into()))?;
            eprintln!("note: {}", chosen.reason);
            chosen.precision
        }
    };
    let clip = Recogniser::zero_shot(&opened, templates, frames, device, precision)
        .map_err(|e| unusable(e.into()))?;
    let ready = clip.bind(Some(&labels))?;
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
    Windows(Span),
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
            None if arguments.is_stream() => Asked::Windows("2s".parse()?),
            None => {
                let (videos, files) = (arguments.videos.clone(), arguments.files());
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
    let files = arguments.files();
    if arguments.is_stream() {
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
