//! The workspace's own commands: `cargo xtask setup`, `demo`, `doctor`, `test` and others.

use std::process::ExitCode;

use anyhow::Error;
use clap::{Parser, Subcommand};
use xtask::prepare::{self, Workplace};
use xtask::{bench, check, demo, doctor, download_clip, setup, workspace};

/// The workspace's tools around the product: set-up, diagnosis, the whole check, downloads.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 80
)]
#[command(
    after_help = "Exit status: 0 well, 1 failed, 2 wrong arguments, 4 the machine lacks something."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this machine ready: system packages, libtorch, link flags, vocabulary
    Setup(setup::Options),
    /// Run the built-in experiment: set up, build, train, table and report in minutes
    Demo(demo::Options),
    /// Say what is there and what is wrong, each with its cure
    Doctor(doctor::Options),
    /// Run the whole check: fmt, layering, hygiene, licences, clippy, tests, docs
    Test,
    /// Measure everything and write one Markdown table, beside the Python stack if asked
    Bench(bench::Options),
    /// Fetch a CLIP checkpoint into the Hugging Face cache, resumable and verified
    DownloadClip(download_clip::Options),
    #[command(flatten)]
    Prepare(prepare::Prepare),
    /// Decode every video of a data set and list the bad ones (builds the product)
    CheckVideos(prepare::CheckOptions),
}

/// The exit statuses that `--help` names; clap has its own for wrong arguments.
const WELL: u8 = 0;
const FAILED: u8 = 1;
const LACKS: u8 = 4;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::run(&options).map(|()| WELL),
        Command::Demo(options) => demo::run(&options),
        Command::Doctor(options) => {
            doctor::run(&options).map(|well| if well { WELL } else { LACKS })
        }
        Command::Test => check::run().map(|well| if well { WELL } else { FAILED }),
        Command::Bench(options) => bench::run(&options).map(|()| WELL),
        Command::DownloadClip(options) => download_clip::run(&options).map(|()| WELL),
        Command::Prepare(command) => command.run(&Workplace::of_user()).map(|manifest| {
            // The result of a preparation is its manifest.
            workspace::print(&manifest.display().to_string());
            WELL
        }),
        Command::CheckVideos(options) => prepare::check_videos(&options),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = error.exit_code();
            eprintln!("error: {:#}", Error::new(error));
            ExitCode::from(code)
        }
    }
}
