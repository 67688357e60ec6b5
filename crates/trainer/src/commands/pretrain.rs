//! `trainer pretrain`: makes the demo's backbone.

use std::path::PathBuf;

use anyhow::Result;
use clips::Ended;
use demo::pretrain::{Options, pretrain};
use demo::quality;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit;

/// Pre-train the demo's small CLIP on captioned stills (minutes on a CPU).
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder for the checkpoint, in Hugging Face's layout.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of the first weights and of the stills.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// Updates.
    #[arg(long, default_value_t = Options::default().steps)]
    steps: u64,
    /// Pictures per batch.
    #[arg(long, default_value_t = Options::default().batch)]
    batch: usize,
    /// Highest learning rate.
    #[arg(long, default_value_t = Options::default().rate)]
    rate: f64,
    /// libtorch threads; pictures are drawn on another one. Their number affects rounding, and so
    /// the weights.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=256))]
    threads: i32,
}

/// Seed of the stills for measuring the result.
const MEASURED: u64 = 1_000;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    tch::set_num_threads(arguments.threads);
    let options = Options {
        seed: arguments.seed,
        steps: arguments.steps,
        batch: arguments.batch,
        rate: arguments.rate,
    };
    let bar = ProgressBar::new(options.steps);
    bar.set_style(ProgressStyle::with_template(
        "{bar:24} {pos}/{len} updates, {eta} left, {msg}",
    )?);
    let interrupt = super::install_interrupt()?;
    let ended = pretrain(&options, &arguments.out, &interrupt, |step| {
        bar.inc(1);
        bar.set_message(format!("loss {:.3}", step.loss));
        if step.step % 25 == 0 {
            let line = format!(
                "update {:5}  loss {:.3}  own caption nearest {:.1} %",
                step.step,
                step.loss,
                100.0 * step.accuracy
            );
            // A hidden bar prints nothing.
            match bar.is_hidden() {
                true => eprintln!("{line}"),
                false => bar.println(line),
            }
        }
    })?;
    bar.finish_and_clear();
    if ended == Ended::Stopped {
        eprintln!("stopped; no weights were written");
        return Ok(exit::INTERRUPTED);
    }
    println!("{}", quality::measure(&arguments.out, MEASURED)?);
    println!("{}", arguments.out.display());
    Ok(exit::DONE)
}
