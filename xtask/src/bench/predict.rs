//! `predict` as a whole process, and the time of one more clip.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::turns::{median, whole_process};
use super::{Bench, Result, machine};
use crate::places::Places;
use crate::setup::vocabulary;
use crate::workspace::{self, output};

/// The clips of the second command. Its further time per clip is that of a warm process.
const MORE: usize = 6;

#[derive(Clone, Copy, PartialEq)]
enum Stack {
    Ours,
    Peer,
}

pub(super) fn table(bench: &Bench<'_>, clip: &Path) -> Result<String> {
    let checkpoint = checkpoint(bench)?;
    let labels = bench.root.join("datasets/hmdb51-classes.txt");
    let trainer = trainer(bench)?;
    let command = |stack: Stack, precision: &str, clips: usize| {
        let mut command = match stack {
            Stack::Ours => {
                let mut command = Command::new(&trainer);
                command.stderr(Stdio::null());
                command.arg("predict").arg("--checkpoint").arg(&checkpoint);
                command.arg("--labels-file").arg(&labels);
                command.args(["--precision", precision]);
                Some(command)
            }
            Stack::Peer => bench.peer("predict.py").map(|mut command| {
                command.arg(&checkpoint).arg(&labels).arg(precision);
                command
            }),
        }?;
        command.args(std::iter::repeat_n(clip, clips));
        Some(command)
    };
    let mut text = format!(
        "ViT-B/16 with generated weights from a safetensors file of fp32, HMDB-51's 51 labels, \
         one clip ({}), for the whole process; a further clip is the difference to {MORE} clips \
         divided by {}. Medians.\n\n\
         | precision | | one clip, s | ours relative to it | a further clip, s | ours relative to it | peak GiB |\n\
         |---|---|---|---|---|---|---|\n",
        clip.file_name().unwrap_or_default().to_string_lossy(),
        MORE - 1,
    );
    let contenders = [
        ("this project", Stack::Ours),
        ("Hugging Face, PyAV", Stack::Peer),
    ];
    for &precision in machine::precisions() {
        let mut cold = [Vec::new(), Vec::new()];
        let mut many = [Vec::new(), Vec::new()];
        let mut peaks = [0.0f64; 2];
        for _ in 0..bench.rounds.max(1) {
            for (index, (_, stack)) in contenders.iter().enumerate() {
                for (clips, seconds) in [(1, &mut cold[index]), (MORE, &mut many[index])] {
                    if let Some(command) = command(*stack, precision, clips) {
                        let (taken, peak) = whole_process(command)?;
                        seconds.push(taken);
                        peaks[index] = peaks[index].max(peak);
                    }
                }
            }
        }
        let (cold, many) = (cold.map(median), many.map(median));
        let further = [0, 1].map(|i| (many[i] - cold[i]) / (MORE - 1) as f64);
        for (index, (name, stack)) in contenders.iter().enumerate() {
            if *stack == Stack::Peer && bench.peers.is_none() {
                continue;
            }
            text += &format!(
                "| {precision} | {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |\n",
                cold[index],
                cold[index] / cold[0],
                further[index],
                further[index] / further[0],
                peaks[index],
            );
        }
    }
    Ok(text)
}

/// Builds the trainer in release mode and returns its path.
pub(super) fn trainer(bench: &Bench<'_>) -> Result<PathBuf> {
    let mut cargo = workspace::cargo(bench.root);
    cargo
        .args(["build", "--quiet", "--release", "--package", "trainer"])
        .stderr(Stdio::inherit());
    output(&mut cargo)?;
    Ok(workspace::target(bench.root).join("release/trainer"))
}

/// Creates a checkpoint of generated weights once, with the tokenizer files for a peer.
pub(super) fn checkpoint(bench: &Bench<'_>) -> Result<PathBuf> {
    let folder = workspace::target(bench.root).join("bench/vit-b-16");
    if !folder.join("config.json").exists() {
        let mut command = Command::new(bench.program("clip-backbone", "checkpoint")?);
        output(command.arg(&folder))?;
    }
    if let Some(mut command) = bench.peer("predict.py")
        && !folder.join("merges.txt").exists()
    {
        let vocabulary = vocabulary::path(&Places::of_user()?);
        command.arg("tokenizer").arg(vocabulary).arg(&folder);
        output(&mut command)?;
    }
    Ok(folder)
}
