//! One file per command.

mod check_videos;
mod config;
mod demo;
mod earlier;
mod eval;
pub(crate) mod exit;
mod export;
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
use clap::Parser as _;
use cli::{Arguments, Command};
use clips::Interrupt;
pub(crate) use remedy::remedy;

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
        Command::Export(arguments) => export::run(&arguments),
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
            // Clean-up beside threads that still compute would crash.
            trainer::runtime::leave(exit::INTERRUPTED);
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// The command line knows no library that needs libtorch or FFmpeg, and so states their defaults.
    #[test]
    fn the_defaults_of_the_command_line_are_those_of_the_libraries() {
        let parsed = |words: &str| Arguments::parse_from(words.split(' ')).command;
        let Some(Command::Predict(predict)) = parsed("trainer predict a.mp4") else {
            unreachable!("another command");
        };
        let limits = trainer::config::VideoLimits::from(predict.limits);
        assert_eq!(limits, trainer::config::VideoLimits::default());
        let Some(Command::Pretrain(pretrain)) = parsed("trainer pretrain --out a") else {
            unreachable!("another command");
        };
        let options = ::demo::pretrain::Options::default();
        assert_eq!(
            (pretrain.seed, pretrain.steps, pretrain.batch, pretrain.rate),
            (options.seed, options.steps, options.batch, options.rate)
        );
        for name in ["auto", "fp32", "bf16", "fp16"] {
            let words = ["trainer", "predict", "a.mp4", "--precision", name];
            assert!(Arguments::try_parse_from(words).is_ok());
            assert!(name.parse::<clips::PrecisionChoice>().is_ok());
        }
    }
}
