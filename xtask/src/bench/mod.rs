//! `cargo xtask bench`: the measurements of `docs/performance.md`.
//!
//! Each part is a table. Contenders take turns, the values are medians, and only ratios within one
//! run are comparable. With `--peers`, the scripts in `tests/peers` do the same work in Python.

mod blocks;
mod busy;
mod commands;
mod decode;
mod extract;
mod image;
pub(crate) mod machine;
mod predict;
mod ranks;
mod step;
mod turns;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::workspace::output;
use crate::{Error, Result, places, setup, workspace};

/// Options of the benchmarks.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Parts to run [default: all]
    #[arg(value_enum)]
    pub parts: Vec<Part>,

    /// Python interpreter to compare with, with torch, transformers, `open_clip`, `cv2`, `av`, `decord`, `torchcodec`
    #[arg(long, value_name = "PYTHON")]
    pub peers: Option<PathBuf>,

    /// Video for `predict` and `commands` [default: one of the reference data]
    #[arg(long, value_name = "FILE")]
    pub clip: Option<PathBuf>,

    /// Turns of each contender
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,

    /// Markdown file to write [default: target/bench.md]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The image tower at batch 8 and 32, and the matrix product that limits it
    Image,
    /// The text side of a training step: seconds and memory of four paths in two precisions
    Text,
    /// The motion modelling block and the communication block
    Blocks,
    /// A few-shot step on cached features, whole and in lanes, and the share of the text side
    Step,
    /// A step on two ranks beside one alone and two independent ones; sums over ranks
    Ranks,
    /// `predict` as a whole process
    Predict,
    /// Decoding of video files on one core
    Decode,
    /// `extract`, and each of its two stages alone
    Extract,
    /// Time and peak memory of each command at the paper's shapes
    Commands,
    /// Commands beside busy programs, and two side by side
    Busy,
    /// The server under load and abuse, some eight minutes
    Serve,
}

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::Image => "Image tower",
            Self::Text => "Text side of a training step",
            Self::Blocks => "Motion modelling and communication blocks",
            Self::Step => "A few-shot step",
            Self::Ranks => "Two ranks",
            Self::Predict => "Predict, as a whole process",
            Self::Decode => "Decoding",
            Self::Extract => "Extract and its stages alone",
            Self::Commands => "Each command",
            Self::Busy => "On a busy machine",
            Self::Serve => "The server under load and abuse",
        }
    }
}

/// The common settings of the parts.
struct Bench<'a> {
    root: &'a Path,
    peers: Option<&'a Path>,
    rounds: usize,
}

/// Runs the parts and prints their tables, which are also written to a file after each part.
///
/// # Errors
/// A program does not build, start or answer, or the file cannot be written.
pub fn run(options: &Options) -> Result<()> {
    setup::ensure()?;
    let root = workspace::root();
    let default = workspace::target(&root).join("bench.md");
    let out = options.out.as_ref().unwrap_or(&default);
    let bench = Bench {
        root: &root,
        peers: options.peers.as_deref(),
        rounds: options.rounds,
    };
    let parts = match options.parts.as_slice() {
        [] => Part::value_variants(),
        some => some,
    };
    let mut text = machine::describe(&root);
    workspace::print(&text);
    let class = machine::class();
    for part in parts {
        eprintln!("== {}", part.title());
        let table = match part {
            Part::Image => image::table(&bench)?,
            Part::Text => bench.printed("prompts", "text_table", &[&bench.rounds.to_string()])?,
            Part::Blocks => blocks::table(&bench)?,
            Part::Predict => with_clip(options, &bench, predict::table)?,
            Part::Step => step::table(&bench)?,
            Part::Ranks => ranks::table(&bench)?,
            Part::Decode => decode::table(&bench)?,
            Part::Extract => extract::table(&bench)?,
            Part::Commands => with_clip(options, &bench, commands::table)?,
            Part::Busy => busy::table(&bench)?,
            Part::Serve => bench.printed("trainer", "serve", &[])?,
        };
        let section = format!("\n## {} ({class})\n\n{}\n", part.title(), table.trim());
        workspace::print(&section);
        text.push_str(&section);
        places::write_whole(out, text.as_bytes())?;
    }
    eprintln!("written: {}", out.display());
    Ok(())
}

/// The table on the given video, or on one of the reference data.
fn with_clip(
    options: &Options,
    bench: &Bench<'_>,
    table: fn(&Bench<'_>, &Path) -> Result<String>,
) -> Result<String> {
    let reference = reference_data(bench.root).join("clips/arm_wrestling.mp4");
    let clip = options.clip.as_ref().unwrap_or(&reference);
    match clip.exists() {
        true => table(bench, clip),
        false => Ok(format!(
            "Skipped: {} does not exist; name a video with --clip.",
            clip.display()
        )),
    }
}

fn reference_data(root: &Path) -> PathBuf {
    workspace::shared(root).join("data")
}

impl Bench<'_> {
    /// Builds a benchmark of a package and returns its path.
    fn program(&self, package: &str, bench: &str) -> Result<PathBuf> {
        let mut cargo = workspace::cargo(self.root);
        cargo
            .args(["bench", "--quiet", "--no-run", "--message-format=json"])
            .args(["--package", package, "--bench", bench])
            .stderr(Stdio::inherit());
        executable(&output(&mut cargo)?, bench).ok_or_else(|| {
            let what = format!("cargo bench --package {package} --bench {bench}");
            Error::invalid(what, "no executable was built")
        })
    }

    /// The table that a benchmark prints.
    fn printed(&self, package: &str, bench: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.program(package, bench)?);
        command
            .args(arguments)
            .current_dir(self.root)
            .stderr(Stdio::inherit());
        output(&mut command)
    }

    /// A script of `tests/peers`, if there is an interpreter for it.
    fn peer(&self, script: &str) -> Option<Command> {
        let mut command = Command::new(self.peers?);
        command.arg(self.root.join("tests/peers").join(script));
        Some(command)
    }
}

/// The executable of `bench` in cargo's messages.
fn executable(messages: &str, bench: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == bench)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_executable_of_the_benchmark_is_found() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"decode"},"executable":"/t/decode-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "decode"), Some("/t/decode-1".into()));
        assert_eq!(executable(messages, "lib"), None);
    }
}
