//! `cargo xtask torture`: builds the trainer and the campaign's program, and runs it.

mod edits;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::bench::machine;
use crate::places::write_between;
use crate::{Error, Result, setup, workspace};

/// Options of the campaign.
#[derive(Debug, Clone, Default, clap::Args, Serialize)]
pub struct Options {
    /// Blocks by name or number; all if left out
    #[arg(value_name = "BLOCK")]
    pub blocks: Vec<String>,
    /// Stop after so many minutes, divided among the blocks
    #[arg(long, value_name = "N")]
    pub minutes: Option<f64>,
    /// Seed of all cases
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Run mixed commands for so many minutes, too
    #[arg(long, value_name = "MINUTES")]
    pub soak: Option<u64>,
    /// Run one case of one block again
    #[arg(long, value_name = "N", conflicts_with = "cases")]
    pub case: Option<u64>,
    /// As many cases a block instead of its own number
    #[arg(long, value_name = "N")]
    pub cases: Option<u64>,
    /// Run the share of the test command, with its build
    #[arg(long)]
    pub share: bool,
    /// Test the campaign: apply each edit of tests/torture/edits, or those named instead of blocks, to a
    /// copy, and see which block finds it (minutes an edit)
    #[arg(long, conflicts_with_all = ["minutes", "soak", "case", "cases", "share"])]
    #[serde(skip)]
    pub edits: bool,
    /// Write the table into docs/reliability.md, too
    #[arg(long, conflicts_with_all = ["case", "share"])]
    #[serde(skip)]
    pub write: bool,
}

/// The page of the published table.
const PAGE: &str = "docs/reliability.md";

/// The settings that the campaign's program is passed.
#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    options: &'a Options,
    root: &'a Path,
    trainer: PathBuf,
    xtask: PathBuf,
    folder: PathBuf,
    /// Whether the first failure ends it.
    first: bool,
}

/// Runs the campaign; whether every case kept its promise.
///
/// # Errors
/// The machine cannot be set up, a program does not build, or none can be started.
pub fn run(options: &Options) -> Result<bool> {
    if options.edits {
        return edits::run(&options.blocks, options.write);
    }
    setup::ensure()?;
    let root = workspace::root();
    let machine = machine::describe(&root);
    let mut command = prepared(options, &root)?;
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Error::program(&command, error))?;
    let table = String::from_utf8_lossy(&output.stdout);
    workspace::print(table.trim_end());
    if options.write {
        write_between(&root.join(PAGE), "torture", &format!("{machine}\n{table}"))?;
    }
    Ok(output.status.success())
}

/// This program, also where a test has built it anew since it was started.
fn own_program() -> Result<PathBuf> {
    let path = std::env::current_exe().map_err(Error::io("cannot find", Path::new("xtask")))?;
    let replaced = path
        .to_str()
        .and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(replaced.map_or(path.clone(), PathBuf::from))
}

/// The campaign's program, built, with its settings.
///
/// # Errors
/// A program does not build.
pub(crate) fn prepared(options: &Options, root: &Path) -> Result<Command> {
    let profile = match options.share {
        true => "debug",
        false => "release",
    };
    let mut build = workspace::cargo(root);
    build.args(["build", "--package", "trainer", "--package", "torture"]);
    if !options.share {
        build.arg("--release");
    }
    let status = build
        .stdout(Stdio::null())
        .status()
        .map_err(|error| Error::program(&build, error))?;
    if !status.success() {
        return Err(Error::program(&build, status));
    }
    let target = workspace::target(root);
    let programs = target.join(profile);
    let settings = Settings {
        options,
        root,
        trainer: programs.join("trainer"),
        xtask: own_program()?,
        folder: target.join("torture"),
        first: false,
    };
    let settings = serde_json::to_string(&settings).map_err(|e| Error::invalid("settings", e))?;
    let mut command = Command::new(programs.join("torture"));
    command.arg(settings).current_dir(root);
    workspace::forget_cargo(&mut command);
    Ok(command)
}
