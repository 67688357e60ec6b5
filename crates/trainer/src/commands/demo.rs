//! `trainer demo`: the built-in experiment.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use cli::demo::Arguments;
use clips::Ended;
use demo::video_set::{self, Made, Recipe};
use indicatif::{ProgressBar, ProgressStyle};
use trainer::experiment::{self, Experiment};
use trainer::report::FinishedRun;

use super::{exit, report};

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let started = Instant::now();
    let interrupt = super::install_interrupt()?;
    let most = arguments.shots.iter().copied().max().unwrap_or(1);
    let options = Experiment {
        videos: arguments
            .videos
            .clone()
            .unwrap_or_else(video_set::default_root),
        backbone: arguments.backbone.clone().unwrap_or_else(committed),
        recipe: Recipe::new(arguments.scenes, most, arguments.test_clips.into()),
        out: arguments.out.clone(),
        shots: arguments.shots.clone(),
        seeds: arguments.seeds,
        steps: arguments.steps,
        threads: arguments.threads.into(),
        paper_rate: arguments.paper_rate,
        best_rate: arguments.best_rate,
    };
    if !options.backbone.join("model.safetensors").is_file() {
        bail!(
            "no backbone in {}; make one with `trainer pretrain --out DIR` and give it as \
             --backbone DIR",
            options.backbone.display()
        );
    }
    make_videos(&options)?;
    let bar = bar(0, "{bar:20} {pos}/{len} {msg}, {elapsed} so far")?;
    let ended = experiment::run(&options, &interrupt, |row, shots, done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(format!("{row}, {shots} clips per class"));
        if bar.is_hidden() {
            eprintln!("{done}/{all} {row}, {shots} clips per class");
        }
    })?;
    bar.finish_and_clear();
    let Ended::Done(table) = ended else {
        return Ok(super::stopped());
    };
    say!("{table}\n{READING}");
    let page = options.out.join("report.html");
    // The whole model first.
    let runs = table
        .runs
        .iter()
        .rev()
        .map(|folder| FinishedRun::read(folder))
        .collect::<trainer::Result<Vec<_>>>()?;
    let intro = format!("<h1>The built-in experiment</h1><pre>{table}\n{READING}</pre>");
    report::write_below(&intro, &runs, &page)?;
    say!("\nreport: {}", page.display());
    eprintln!("{:.0} s in all", started.elapsed().as_secs_f64());
    Ok(exit::DONE)
}

/// How to read the table.
const READING: &str = "\
Ten motions in pairs, one the reverse of the other: both clips of a pair have
the same frames. Chance is 10 %. Models that ignore the order of frames (CLIP,
the probe, Baseline and Baseline + MCB in paper) give both the same answer and
cannot exceed 50 %. k: training clips per class.";

/// The backbone of this installation, or that in the workspace this was built from.
pub(super) fn committed() -> PathBuf {
    let installed = disk::data_path("demo/backbone");
    match installed.is_dir() {
        true => installed,
        false => Path::new(env!("TRAINER_SOURCE")).join("datasets/demo/backbone"),
    }
}

fn make_videos(options: &Experiment) -> Result<()> {
    let bar = bar(0, "videos {bar:20} {pos}/{len}")?;
    let made = video_set::make(&options.videos, &options.recipe, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let place = options.videos.display();
    match made {
        Made::Found => eprintln!("videos: {place}, already there"),
        Made::Written => eprintln!("videos: {place}, drawn and encoded"),
    }
    Ok(())
}

fn bar(length: u64, template: &str) -> Result<ProgressBar> {
    Ok(ProgressBar::new(length).with_style(ProgressStyle::with_template(template)?))
}
