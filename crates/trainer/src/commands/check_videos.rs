//! `trainer check-videos`: decode every video once, before training meets a bad one.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use trainer::check_videos::{Progress, check_videos};
use trainer::dataset::Dataset;
use trainer::interrupt::Interrupt;

use super::exit;
use super::settings::Settings;

/// Decode every video of a data set from beginning to end, and list the bad ones.
///
/// The list is what data.skip takes. What was checked is kept beside it, so the same command
/// goes on where it stopped.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Where the list goes; beside it, with .checked appended, what was checked.
    #[arg(long, short, value_name = "FILE", default_value = "skip.txt")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let config = arguments.settings.resolve()?;
    let dataset = Dataset::read(&config.data)?;
    for note in &dataset.notes {
        eprintln!("note: {note}");
    }
    let bar = match arguments.settings.quiet {
        true => indicatif::ProgressBar::hidden(),
        false => trainer::log::progress_bar(
            dataset.manifest.clips().len() as u64,
            "checking {bar:20} {pos}/{len} videos, {per_sec}, {eta} left",
        ),
    };
    let interrupt = Interrupt::install()?;
    let found = check_videos(&dataset.manifest, &arguments.out, &interrupt, &|progress| {
        let Progress { done, .. } = progress;
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    println!(
        "{} videos: {} decode, {} do not; {} were checked before",
        found.total,
        found.good,
        found.bad.len(),
        found.known
    );
    for (id, reason) in found.bad.iter() {
        println!("{id}: {reason}");
    }
    if found.interrupted {
        eprintln!("stopped; the same command goes on");
        return Ok(ExitCode::from(exit::INTERRUPTED));
    }
    if found.bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "leave them out with --set data.skip={}",
        arguments.out.display()
    );
    Ok(ExitCode::from(exit::PARTIAL))
}
