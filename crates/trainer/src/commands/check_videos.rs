//! `trainer check-videos`: decode every video once, before training.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clips::Ended;
use clips::check_videos::{Progress, check_videos};
use data::{Dataset, counted, named};
use trainer::config;

use super::exit;
use super::settings::Settings;

/// Decode every video of a data set completely and list the bad ones.
///
/// A video is bad if it is missing, empty, undecodable or truncated (fewer than three quarters of
/// the frames in its header can be decoded). One with fewer frames than data.frames is named and
/// used: its frames repeat, in training as well. The list is for data.skip_list; in a prepared folder it is skip.txt, which is used automatically, and
/// the frame counts are added to the manifest. Checked videos are recorded beside the list, so
/// the same command resumes where it stopped. The keys data.limits.max_pixels, max_damaged,
/// max_packets and max_memory bound what a video may cost, here as in training.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// The list [default: skip.txt, in the prepared folder or the working directory].
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let config = arguments.settings.resolve()?;
    // Missing videos are reported, not refused.
    let data = config::Data {
        allow_missing: true,
        ..config.data.clone()
    };
    let mut dataset = data.read()?;
    for note in &dataset.notes {
        eprintln!("note: {note}");
    }
    let list = match (&arguments.out, &dataset.prepared) {
        (Some(list), _) => list.clone(),
        (None, Some(manifest)) => manifest.with_file_name(Dataset::SKIP),
        (None, None) => Dataset::SKIP.into(),
    };
    let bar = match arguments.settings.quiet {
        true => indicatif::ProgressBar::hidden(),
        false => trainer::log::progress_bar(
            dataset.manifest.clips().len() as u64,
            "checking {bar:20} {pos}/{len} videos, {per_sec}, {eta} left",
        ),
    };
    let interrupt = super::install_interrupt()?;
    let found = check_videos(
        &dataset.manifest,
        &dataset.missing,
        config.data.frames,
        &(&config.data.limits).into(),
        &list,
        &interrupt,
        &|progress| {
            let Progress { done, .. } = progress;
            bar.set_position(done as u64);
        },
    )?;
    bar.finish_and_clear();
    let Ended::Done(found) = found else {
        return Ok(super::stopped());
    };
    let mut kinds = String::new();
    for (fault, count) in &found.faults {
        kinds.push_str(&format!(", {count} {fault}"));
    }
    println!(
        "{}: {} good{kinds}; {} were checked before",
        counted(found.total, "video"),
        found.good,
        found.known
    );
    for (id, reason) in found.bad.iter() {
        println!("{id}: {reason}");
    }
    if dataset.keep_counts(&found.frames)? {
        eprintln!("the manifest holds {} frame counts", found.frames.len());
    }
    if !found.short.is_empty() {
        eprintln!(
            "note: {} shorter than the {} frames sampled; frames repeat: {}",
            counted(found.short.len(), "video"),
            config.data.frames,
            named(&found.short)
        );
    }
    if found.bad.is_empty() {
        return Ok(exit::DONE);
    }
    if found.limited > 0 {
        eprintln!(
            "{} exceed a limit: raise it with --set data.limits.NAME=VALUE",
            found.limited
        );
    }
    if arguments.out.is_some() || dataset.prepared.is_none() {
        eprintln!(
            "leave out the bad ones with --set data.skip_list={}",
            list.display()
        );
    }
    Ok(exit::PARTIAL)
}
