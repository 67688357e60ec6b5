//! The command line of `cargo xtask`.

use std::process::ExitCode;

use anyhow::Error;
use clap::{Parser, Subcommand};
use xtask::prepare::{self, Tools};
use xtask::supply_chain::Advisories;
use xtask::{
    bench, check, demo, dist, docs, doctor, download_clip, gpu_check, setup, supply_chain, torture,
    workspace,
};

/// Development tasks: set-up, diagnosis, checks, data sets, benchmarks.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 80
)]
#[command(
    after_help = "Exit status: 0 success, 1 failure, 2 invalid arguments, 4 missing from this machine."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up this machine: system packages, libtorch, link flags, vocabulary
    Setup(setup::Options),
    /// Set up, build and run the built-in experiment: results and a report in minutes
    Demo(demo::Options),
    /// Check the installation and suggest fixes
    Doctor(doctor::Options),
    /// Run all checks: fmt, layering, hygiene, licences, unused dependencies, pages, clippy, tests, docs
    Test,
    /// Check the dependencies for known vulnerabilities; needs the network
    Advisories,
    /// Check the documentation, build it as a book, and run its shell blocks
    Docs,
    /// Run the benchmarks and write their tables as Markdown
    Bench(bench::Options),
    /// Strike the ranks of a training with 84 faults, and resume after each: 12 minutes, as root
    Faults,
    /// Strike programs and files by the thousand and check the promises of docs/reliability.md
    Torture(torture::Options),
    /// Build a release that stands on its own: an archive for x86_64 Linux, in 20 minutes
    Dist(dist::Options),
    /// Build the Python package: a wheel for x86_64 Linux that uses the libtorch of an installed torch
    Wheel(dist::wheel::Options),
    /// Build a release and check it: decoding, an empty root, licences, sizes, start-up times
    ReleaseCheck(dist::check::Options),
    /// Build a folder with the check of a GPU, to be run on another machine
    GpuCheck(gpu_check::Options),
    /// Download a CLIP checkpoint to the Hugging Face cache, resumable and verified
    DownloadClip(download_clip::Options),
    #[command(flatten)]
    Prepare(prepare::Prepare),
    /// Decode every video of a data set and list the bad ones (builds the trainer)
    CheckVideos(prepare::CheckOptions),
}

/// The exit statuses of `--help`, without clap's own for invalid arguments.
const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const MISSING: u8 = 4;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::run(&options).map(|()| SUCCESS),
        Command::Demo(options) => demo::run(&options).map(|never| match never {}),
        Command::Doctor(options) => {
            doctor::run(&options).map(|ok| if ok { SUCCESS } else { MISSING })
        }
        Command::Test => check::run().map(|ok| if ok { SUCCESS } else { FAILURE }),
        Command::Advisories => supply_chain::advisories(&workspace::root()).map(|checked| {
            workspace::print(&checked.to_string());
            match checked {
                Advisories::Clear => SUCCESS,
                Advisories::Skipped(_) => MISSING,
            }
        }),
        Command::Docs => docs::run().map(|ok| if ok { SUCCESS } else { FAILURE }),
        Command::Bench(options) => bench::run(&options).map(|()| SUCCESS),
        Command::Faults => check::faults().map(|ok| if ok { SUCCESS } else { FAILURE }),
        Command::Torture(options) => {
            torture::run(&options).map(|ok| if ok { SUCCESS } else { FAILURE })
        }
        Command::Dist(options) => dist::run(&options).map(|()| SUCCESS),
        Command::Wheel(options) => dist::wheel::run(&options).map(|()| SUCCESS),
        Command::ReleaseCheck(options) => dist::check::run(&options).map(|()| SUCCESS),
        Command::GpuCheck(options) => gpu_check::run(&options).map(|()| SUCCESS),
        Command::DownloadClip(options) => download_clip::run(&options).map(|()| SUCCESS),
        Command::Prepare(command) => command.run(&Tools::of_user()).map(|manifest| {
            workspace::print(&manifest.display().to_string());
            SUCCESS
        }),
        Command::CheckVideos(options) => {
            prepare::check_videos(&options).map(|never| match never {})
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = error.exit_code();
            let chain = format!("{:#}", Error::new(error));
            eprintln!("error: {}", data::message(&chain));
            ExitCode::from(code)
        }
    }
}
