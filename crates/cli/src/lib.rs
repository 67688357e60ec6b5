#![doc = include_str!("../README.md")]
// Comments on options are their help, printed as they are: brackets in them are no links.
#![allow(rustdoc::broken_intra_doc_links)]

pub mod check_videos;
pub mod config;
mod dash;
pub mod demo;
mod device;
pub mod eval;
pub mod export;
pub mod export_embeddings;
pub mod extract;
pub mod fit;
pub mod info;
mod limits;
mod paper;
pub mod predict;
pub mod pretrain;
pub mod report;
pub mod reproduce;
pub mod serve;
pub mod settings;
pub mod train;

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory as _, Parser, Subcommand};

pub use device::{DeviceChoice, UnknownDevice};
pub use limits::VideoLimits;
pub use paper::{Reported, Table};

/// The exit code for wrong arguments, as in clap.
pub const USAGE: u8 = 2;

/// Recognise human actions in video with CLIP. Without a command: the built-in experiment.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, max_term_width = 100)]
pub struct Arguments {
    /// The command.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// More messages on stderr; repeat for diagnostics. RUST_LOG has precedence.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[allow(
    missing_docs,
    reason = "the help of a command is that of its arguments"
)]
pub enum Command {
    Demo(demo::Arguments),
    Predict(predict::Arguments),
    Train(train::Arguments),
    Config(config::Arguments),
    Eval(eval::Arguments),
    Extract(extract::Arguments),
    ExportEmbeddings(export_embeddings::Arguments),
    CheckVideos(check_videos::Arguments),
    Info(info::Arguments),
    Export(export::Arguments),
    Report(report::Arguments),
    Reproduce(reproduce::Arguments),
    Fit(fit::Arguments),
    AddClass(fit::AddClass),
    Pretrain(pretrain::Arguments),
    Serve(serve::Arguments),
    /// One of the processes in which `serve` decodes videos.
    #[command(hide = true)]
    DecodeWorker,
    /// The process in which `serve` trains.
    #[command(hide = true)]
    TrainWorker(fit::Arguments),
}

/// The whole tree of commands.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses `arguments`, the first of which is the program's name. Prints help, the answer of `version`,
/// or an error of usage, and ends the process, unless there is something to do.
pub fn parse(arguments: &[OsString], version: impl FnOnce() -> String) -> ArgMatches {
    if let Some(message) = dash::file_like_option(arguments.iter().cloned()) {
        eprintln!("error: {message}");
        std::process::exit(USAGE.into());
    }
    command()
        .try_get_matches_from(arguments)
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::DisplayVersion => {
                // A reader that has left needs no version.
                let _ = writeln!(std::io::stdout(), "{}", version());
                std::process::exit(0)
            }
            _ => error.exit(),
        })
}
