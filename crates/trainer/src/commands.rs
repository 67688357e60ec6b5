//! One file a command.

pub(crate) mod exit;
mod predict;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Recognise human actions in video with CLIP.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Predict(predict::Arguments),
}

/// Runs the command that was asked for.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Predict(arguments) => predict::run(arguments),
    }
}
