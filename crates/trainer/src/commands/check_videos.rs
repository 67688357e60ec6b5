//! `trainer check-videos`: decode every video once, before training.

use anyhow::Result;
use cli::check_videos::Arguments;
use clips::Ended;
use clips::check_videos::{Progress, check_videos};
use data::{Dataset, counted, named};
use trainer::config;

use super::exit;
use super::settings::Configured as _;

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
    say!(
        "{}: {} good{kinds}; {} were checked before",
        counted(found.total, "video"),
        found.good,
        found.known
    );
    for (id, reason) in found.bad.iter() {
        say!("{id}: {reason}");
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
