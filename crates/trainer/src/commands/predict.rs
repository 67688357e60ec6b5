//! `trainer predict`: name the action in a video.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use trainer::predict::{self, Answer, Labels, Templates};
use trainer::runtime;

use super::exit;

/// Name the action in each video, among labels of your choice.
///
/// Prints a table on a terminal, tab-separated lines (video, rank, score, label) into a pipe, or
/// one JSON object a video with --json. Exit codes: 0 every video answered, 1 some not, 2 wrong
/// arguments, 3 none answered.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Video files, in any format FFmpeg reads.
    #[arg(required = true, value_name = "VIDEO")]
    videos: Vec<PathBuf>,

    /// The classes, separated by commas.
    #[arg(long, value_name = "A,B,C", required_unless_present = "labels_file")]
    labels: Option<String>,

    /// A file with one class a line.
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    labels_file: Option<PathBuf>,

    /// A CLIP checkpoint: a folder, a file, or a hub id.
    #[arg(long, value_name = "PATH_OR_ID", default_value = predict::DEFAULT_CHECKPOINT)]
    checkpoint: String,

    /// A sentence with {} where the class goes; several are averaged. A path to a file with one
    /// a line is read.
    #[arg(long, value_name = "TEXT", default_value = predict::DEFAULT_TEMPLATE)]
    templates: Vec<String>,

    /// How many frames to look at, evenly over the video.
    #[arg(long, value_name = "T", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    frames: u16,

    /// How many classes to print.
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,

    /// One JSON object a video, a line each.
    #[arg(long)]
    json: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: runtime::DeviceChoice,

    /// The backbone's precision.
    #[arg(long, value_enum, default_value_t = runtime::Precision::Fp32)]
    precision: runtime::Precision,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let labels = match (&arguments.labels, &arguments.labels_file) {
        (Some(list), _) => Labels::parse(list)?,
        (None, Some(path)) => Labels::read(path)?,
        (None, None) => bail!("no labels: give --labels or --labels-file"),
    };
    let templates = Templates::parse(&arguments.templates)?;
    let device = arguments.device.resolve()?;
    let recogniser = predict::ZeroShot::open(
        &arguments.checkpoint,
        labels,
        &templates,
        device,
        arguments.precision.kind(),
    )
    .with_context(|| format!("cannot use the checkpoint {}", arguments.checkpoint))?;

    let progress = progress_bar(&arguments);
    let total = arguments.videos.len();
    let mut printer = Printer::new(&arguments);
    let mut answered = 0;
    let clips = predict::decode_ahead(
        arguments.videos.clone(),
        usize::from(arguments.frames),
        recogniser.preprocess(),
    );
    for (path, clip) in clips {
        let answer = clip
            .map_err(anyhow::Error::from)
            .and_then(|clip| Ok(recogniser.answer(&path, &clip, usize::from(arguments.top))?));
        let flow = progress.suspend(|| match &answer {
            Ok(answer) => printer.answer(answer),
            Err(error) => printer.failure(&path.to_string_lossy(), error),
        });
        match flow {
            Ok(()) => {}
            // The reader has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(error).context("cannot write the answers"),
        }
        answered += usize::from(answer.is_ok());
        progress.inc(1);
    }
    progress.finish_and_clear();
    let failed = total - answered;
    if failed > 0 && total > 1 {
        eprintln!("{failed} of {total} videos could not be answered");
    }
    Ok(ExitCode::from(match (answered, failed) {
        (_, 0) => exit::DONE,
        (0, _) => exit::FAILED,
        _ => exit::PARTIAL,
    }))
}

/// A bar where a person waits for several videos; elsewhere nothing.
fn progress_bar(arguments: &Arguments) -> ProgressBar {
    let several = arguments.videos.len() > 1 && io::stderr().is_terminal();
    let target = if several {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(arguments.videos.len() as u64), target);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {pos}/{len} videos, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

/// Writes answers in the form that was asked for.
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

    fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        let mut out = self.out.lock();
        match self.form {
            Form::Table { columns } => write!(out, "{}", answer.table(columns))?,
            Form::Plain => write!(out, "{}", answer.plain())?,
            Form::Json => writeln!(out, "{}", serde_json::to_string(answer)?)?,
        }
        out.flush()
    }

    fn failure(&mut self, video: &str, error: &anyhow::Error) -> io::Result<()> {
        eprintln!("error: {}", predict::printable(&format!("{error:#}")));
        if matches!(self.form, Form::Json) {
            let object = serde_json::json!({ "video": video, "error": format!("{error:#}") });
            writeln!(self.out.lock(), "{object}")?;
        }
        Ok(())
    }
}
