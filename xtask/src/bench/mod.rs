//! `cargo xtask bench`: every figure of `docs/performance.md`, from one command.
//!
//! Each part is a table of its own. Contenders take turns, figures are medians, and what
//! counts is their ratio within the run. With `--peers` the Python stack does the same work,
//! from the scripts in `tests/peers`.

mod blocks;
mod commands;
mod decode;
mod extract;
mod image;
mod machine;
mod predict;
mod turns;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::{Error, Result, places, setup, workspace};

/// What is measured, and beside whom.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The parts to run [default: all]
    #[arg(value_enum)]
    pub parts: Vec<Part>,

    /// An interpreter that has the Python stack: torch, transformers, `open_clip`, `cv2`, `av`, `decord`, `torchcodec`
    #[arg(long, value_name = "PYTHON")]
    pub peers: Option<PathBuf>,

    /// The video that `predict` and `commands` work on [default: one of the reference data]
    #[arg(long, value_name = "FILE")]
    pub clip: Option<PathBuf>,

    /// Turns of each contender
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,

    /// The Markdown file to write [default: target/bench.md]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The image tower at batch 8 and 32, beside the product that limits it
    Image,
    /// The text side of a training step: four paths, two precisions, seconds and memory
    Text,
    /// The motion modelling block and the communication block
    Blocks,
    /// A whole few-shot step on cached features, and what of it is the text side
    Step,
    /// `predict` from the start of its process to the answer
    Predict,
    /// Frames out of video files, a core
    Decode,
    /// `extract`, beside each of its two stages alone
    Extract,
    /// Time and peak memory of each command at the paper's shapes
    Commands,
}

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::Image => "Image tower",
            Self::Text => "Text side of a training step",
            Self::Blocks => "Motion modelling and communication blocks",
            Self::Step => "A few-shot step",
            Self::Predict => "Predict, as a whole process",
            Self::Decode => "Decoding",
            Self::Extract => "Extract, beside its stages alone",
            Self::Commands => "Each command",
        }
    }
}

/// What the parts share.
struct Bench<'a> {
    root: &'a Path,
    peers: Option<&'a Path>,
    rounds: usize,
}

/// Runs the parts and writes their tables, after each what there is so far; the same text
/// goes to stdout.
///
/// # Errors
/// A program that does not build, start or answer; a file that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    setup::ensure()?;
    let root = workspace::root();
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| workspace::target(&root).join("bench.md"));
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
    for part in parts {
        eprintln!("== {}", part.title());
        let table = match part {
            Part::Image => image::table(&bench)?,
            Part::Text => bench.printed("prompts", "text_table", &[&bench.rounds.to_string()])?,
            Part::Blocks => blocks::table(&bench)?,
            Part::Predict => match clip(options, &root) {
                Some(clip) => predict::table(&bench, &clip)?,
                None => "Skipped: no --clip given, and no reference data.".into(),
            },
            Part::Step => bench.printed("trainer", "step", &[&bench.rounds.to_string()])?,
            Part::Decode => decode::table(&bench)?,
            Part::Extract => extract::table(&bench)?,
            Part::Commands => match clip(options, &root) {
                Some(clip) => commands::table(&bench, &clip)?,
                None => "Skipped: no --clip given, and no reference data.".into(),
            },
        };
        let section = format!("\n## {}\n\n{}\n", part.title(), table.trim());
        workspace::print(&section);
        text.push_str(&section);
        places::write_whole(&out, text.as_bytes())?;
    }
    eprintln!("written: {}", out.display());
    Ok(())
}

/// Where the reference data lie, on a machine that has them.
fn reference_data(root: &Path) -> PathBuf {
    std::env::var_os("SIF_SHARED")
        .map_or_else(|| root.join("../shared"), PathBuf::from)
        .join("data")
}

/// The video that was named, or one of the reference data.
fn clip(options: &Options, root: &Path) -> Option<PathBuf> {
    let reference = || Some(reference_data(root).join("clips/arm_wrestling.mp4"));
    let named = options.clip.clone().or_else(reference)?;
    named.exists().then_some(named)
}

impl Bench<'_> {
    /// Builds a package's bench and says where it lies.
    fn program(&self, package: &str, bench: &str) -> Result<PathBuf> {
        let mut cargo = workspace::cargo(self.root);
        cargo
            .args(["bench", "--quiet", "--no-run", "--message-format=json"])
            .args(["--package", package, "--bench", bench])
            .stderr(Stdio::inherit());
        let out = output(cargo, package)?;
        executable(&out, bench).ok_or_else(|| Error::Parse {
            what: format!("cargo bench --package {package} --bench {bench}"),
            reason: "names no executable".into(),
        })
    }

    /// What a bench prints that makes its own table.
    fn printed(&self, package: &str, bench: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.program(package, bench)?);
        command
            .args(arguments)
            .current_dir(self.root)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        output(command, bench)
    }

    /// A peer's script, to be run by the interpreter that was given.
    fn peer(&self, script: &str) -> Option<Command> {
        let mut command = Command::new(self.peers?);
        command.arg(self.root.join("tests/peers").join(script));
        Some(command)
    }
}

/// What a program prints on stdout.
fn output(mut command: Command, program: &str) -> Result<String> {
    let failed = |reason: String| Error::Program {
        program: program.to_owned(),
        reason,
    };
    let out = command
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !out.status.success() {
        return Err(failed(out.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The executable that cargo's messages name for `bench`.
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
    fn the_executable_is_that_of_the_bench() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"decode"},"executable":"/t/decode-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "decode"), Some("/t/decode-1".into()));
        assert_eq!(executable(messages, "lib"), None);
    }
}
