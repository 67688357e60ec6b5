//! Commands beside other programs: with two busy loops per processor, and two runs side by side.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::predict::trainer;
use super::turns::{median, whole_process};
use super::{Bench, Result, reference_data};
use crate::{Error, places, workspace};

/// Busy loops per processor.
const LOOPS: usize = 2;

/// Clips per class: 8 classes.
const CLIPS: usize = 3;

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let data = reference_data(bench.root);
    let (weights, videos) = (
        data.join("weights/deit-tiny-dual"),
        data.join("ucf8/UCF-101"),
    );
    if !weights.exists() || !videos.exists() {
        return Ok("Skipped: the reference data is needed.".into());
    }
    let trainer = trainer(bench)?;
    let place = workspace::target(bench.root).join("bench/busy");
    let clips = copy_clips(&videos, &place.join("videos"))?;
    let commands = Commands {
        trainer,
        weights,
        place,
        clips,
    };
    // The features that training uses.
    whole_process(commands.command("fit", 0)?)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "DeiT-Tiny dual encoder, {} clips of 8 classes, {processors} processors, {LOOPS} busy loops \
         on each, scheduler's autogrouping {}; whole processes, medians of {} rounds, ratios of each \
         round.\n\n\
         | command | alone, s | beside busy loops | two side by side |\n|---|---|---|---|\n",
        commands.clips.len(),
        autogrouping(),
        bench.rounds,
    );
    for name in ["predict", "extract", "fit", "train"] {
        eprintln!("{name}");
        let (mut alone, mut busy, mut pair) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds.max(1) {
            let (seconds, _) = whole_process(commands.command(name, 0)?)?;
            let loops = BusyLoops::start(LOOPS * processors)?;
            let (beside, _) = whole_process(commands.command(name, 0)?)?;
            drop(loops);
            alone.push(seconds);
            busy.push(beside / seconds);
            pair.push(commands.side_by_side(name)? / seconds);
        }
        text += &format!(
            "| {name} | {:.1} | {:.2} x | {:.2} x |\n",
            median(alone),
            median(busy),
            median(pair)
        );
    }
    Ok(text)
}

/// The measured commands.
struct Commands {
    trainer: PathBuf,
    weights: PathBuf,
    place: PathBuf,
    clips: Vec<PathBuf>,
}

impl Commands {
    /// The command `name` with the output folder of process `number`.
    fn command(&self, name: &str, number: usize) -> Result<Command> {
        let out = self.place.join(format!("{name}-{number}"));
        places::empty_folder(&out)?;
        let videos = self.place.join("videos");
        let set = |key: &str, value: &Path| format!("{key}={}", value.display());
        let mut command = Command::new(&self.trainer);
        command.arg(name).stderr(Stdio::null());
        match name {
            "predict" => {
                command.arg("--checkpoint").arg(&self.weights);
                command.args(["--labels", "archery,biking,bowling,diving,drumming,fencing"]);
                command.args(&self.clips);
                return Ok(command);
            }
            "fit" => command
                .arg("--hold-out")
                .arg(&videos)
                .arg("--out")
                .arg(&out),
            _ => command.args(["--dataset", "folder", "--root"]).arg(&videos),
        };
        if name == "train" {
            command.arg("--out").arg(&out);
        }
        if name != "fit" {
            let few = [
                "data.unsplit=hold-out",
                "protocol.name=closed-set",
                "protocol.seeds=[0]",
            ];
            command.args(few.iter().flat_map(|key| ["--set", key]));
        }
        let cache = match name {
            "extract" => out.join("features"),
            _ => self.place.join("features"),
        };
        command.arg("--weights").arg(&self.weights).arg("--quiet");
        command.args(["--set", "train.epochs=1", "--set", "train.min_steps=100"]);
        command.args(["--set", &set("data.cache", &cache)]);
        Ok(command)
    }

    /// The seconds until two processes that start together have both ended.
    fn side_by_side(&self, name: &str) -> Result<f64> {
        let start = Instant::now();
        let mut both = Vec::new();
        for number in 0..2 {
            let mut command = self.command(name, number)?;
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let child = command.spawn().map_err(|e| Error::program(&command, e))?;
            both.push((command, child));
        }
        for (command, child) in &mut both {
            match child.wait() {
                Ok(status) if status.success() => {}
                Ok(status) => return Err(Error::program(command, status)),
                Err(error) => return Err(Error::program(command, error)),
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Copies the first clips of each class.
fn copy_clips(videos: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    let mut clips = Vec::new();
    for class in sorted(videos)? {
        let folder = to.join(class.file_name().unwrap_or_default());
        places::make_folder(&folder)?;
        // One clip of each of several recordings.
        for clip in sorted(&class)?.iter().step_by(5).take(CLIPS) {
            let copy = folder.join(clip.file_name().unwrap_or_default());
            std::fs::copy(clip, &copy).map_err(Error::io("cannot copy to", &copy))?;
            clips.push(copy);
        }
    }
    Ok(clips)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.sort();
    Ok(all)
}

/// Processes that use all the time they get, until dropped.
struct BusyLoops(Vec<Child>);

impl BusyLoops {
    fn start(count: usize) -> Result<Self> {
        let mut loops = Self(Vec::new());
        for _ in 0..count {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]);
            let child = command.spawn().map_err(|e| Error::program(&command, e))?;
            loops.0.push(child);
        }
        Ok(loops)
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended needs no end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Linux may give each session the same share, however many processes it has.
fn autogrouping() -> &'static str {
    let state = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
    match state.as_deref().map(str::trim) {
        Ok("0") => "off",
        Ok(_) => "on (all in one session)",
        Err(_) => "absent",
    }
}
