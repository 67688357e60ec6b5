//! The workspace's own commands: `cargo xtask setup`, `doctor`, `test`, `download-clip`.

use std::process::ExitCode;

use anyhow::Error;
use clap::{Parser, Subcommand};
use xtask::{check, doctor, hub, setup};

/// What stands around the product: set-up, diagnosis, the whole check, downloads.
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
    /// Say what is there and what is wrong, each with its cure
    Doctor(doctor::Options),
    /// Run the whole check: fmt, layering, hygiene, licences, clippy, tests, docs
    Test,
    /// Fetch a CLIP checkpoint into the Hugging Face cache, resumable and verified
    DownloadClip(hub::Options),
}

/// The exit statuses that `--help` names; clap has its own for wrong arguments.
const WELL: u8 = 0;
const FAILED: u8 = 1;
const LACKS: u8 = 4;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::run(&options).map(|()| WELL),
        Command::Doctor(options) => {
            doctor::run(&options).map(|well| if well { WELL } else { LACKS })
        }
        Command::Test => check::run().map(|well| if well { WELL } else { FAILED }),
        Command::DownloadClip(options) => hub::run(&options).map(|()| WELL),
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
