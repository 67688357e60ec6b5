//! One file per command.

mod check_videos;
mod config;
mod dash;
mod demo;
mod earlier;
mod eval;
pub(crate) mod exit;
mod export_embeddings;
mod extract;
mod fit;
mod group;
mod info;
mod predict;
mod pretrain;
mod remedy;
mod report;
mod reproduce;
mod serve;
mod settings;
mod summary;
mod train;

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use clips::Interrupt;
pub(crate) use dash::file_like_option;
pub(crate) use remedy::remedy;

/// Recognise human actions in video with CLIP. Without a command: the built-in experiment.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// More messages on stderr; repeat for diagnostics. RUST_LOG has precedence.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Predict(predict::Arguments),
    Train(train::Arguments),
    Config(config::Arguments),
    Eval(eval::Arguments),
    Extract(extract::Arguments),
    ExportEmbeddings(export_embeddings::Arguments),
    CheckVideos(check_videos::Arguments),
    Info(info::Arguments),
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

/// Runs the given command.
pub(crate) fn run(arguments: Arguments) -> Result<u8> {
    let Some(command) = arguments.command else {
        return run(Arguments::parse_from(["trainer", "demo"]));
    };
    match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Extract(arguments) => extract::run(&arguments),
        Command::ExportEmbeddings(arguments) => export_embeddings::run(&arguments),
        Command::CheckVideos(arguments) => check_videos::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Reproduce(arguments) => reproduce::run(&arguments),
        Command::Fit(arguments) => fit::run(&arguments),
        Command::AddClass(arguments) => fit::add_class(&arguments),
        Command::Pretrain(arguments) => pretrain::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::DecodeWorker => {
            ::serve::decode_worker()
                .context("decode-worker: its standard input is not a server")?;
            Ok(exit::DONE)
        }
        Command::TrainWorker(arguments) => fit::run_confined(&arguments),
    }
}

/// Ctrl-C, SIGTERM and SIGHUP: the first stops after a checkpoint, the second immediately.
fn install_interrupt() -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    // Another process of a group may have asked already.
    let pressed = AtomicBool::new(false);
    let handler = move || {
        asked.ask();
        if pressed.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after a checkpoint; again to stop immediately");
    };
    ctrlc::set_handler(handler).context("cannot handle Ctrl-C")?;
    Ok(interrupt)
}

/// Reports a stopped command.
fn stopped() -> u8 {
    eprintln!("stopped; the same command resumes");
    exit::INTERRUPTED
}
