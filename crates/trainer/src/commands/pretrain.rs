//! `trainer pretrain`: makes the demo's backbone.

use anyhow::Result;
use cli::pretrain::Arguments;
use clips::Ended;
use demo::pretrain::{Options, pretrain};
use demo::quality;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit;

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
    say!("{}", quality::measure(&arguments.out, MEASURED)?);
    say!("{}", arguments.out.display());
    Ok(exit::DONE)
}
