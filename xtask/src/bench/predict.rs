//! A whole `predict`, from the start of the process to its answer, and what one more clip adds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::turns::{median, whole_process};
use super::{Bench, Result, output};
use crate::places::Places;
use crate::setup::vocabulary;
use crate::workspace;

/// Clips of the second command; what it takes longer than the first, one by one, is what a
/// warm process takes for a clip.
const MORE: usize = 6;

/// Whoever predicts.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Ours,
    Peer,
}

pub(super) fn table(bench: &Bench<'_>, clip: &Path) -> Result<String> {
    let checkpoint = checkpoint(bench)?;
    let labels = bench.root.join("datasets/hmdb51-classes.txt");
    let trainer = trainer(bench)?;
    let command = |who: Who, precision: &str, clips: usize| {
        let mut command = match who {
            Who::Ours => {
                let mut command = Command::new(&trainer);
                command.stderr(Stdio::null());
                command.arg("predict").arg("--checkpoint").arg(&checkpoint);
                command.arg("--labels-file").arg(&labels);
                command.args(["--precision", precision]);
                Some(command)
            }
            Who::Peer => bench.peer("predict.py").map(|mut command| {
                command.arg(&checkpoint).arg(&labels).arg(precision);
                command
            }),
        }?;
        command.args(std::iter::repeat_n(clip, clips));
        Some(command)
    };
    let mut text = format!(
        "ViT-B/16 with generated weights from a safetensors file of fp32, HMDB-51's 51 labels, \
         one clip ({}), from the start of the process to the answer; a further clip is the \
         {MORE} clips' time less the one's, by {}. Medians.\n\n\
         | precision | | one clip, s | ours against it | a further clip, s | ours against it | peak GiB |\n\
         |---|---|---|---|---|---|---|\n",
        clip.file_name().unwrap_or_default().to_string_lossy(),
        MORE - 1,
    );
    let contenders = [
        ("this project", Who::Ours),
        ("Hugging Face, PyAV", Who::Peer),
    ];
    for precision in ["fp32", "bf16"] {
        let mut cold = [Vec::new(), Vec::new()];
        let mut many = [Vec::new(), Vec::new()];
        let mut peaks = [0.0f64; 2];
        for _ in 0..bench.rounds.max(1) {
            for (index, (_, who)) in contenders.iter().enumerate() {
                for (clips, seconds) in [(1, &mut cold[index]), (MORE, &mut many[index])] {
                    if let Some(command) = command(*who, precision, clips) {
                        let (taken, peak) = whole_process(command)?;
                        seconds.push(taken);
                        peaks[index] = peaks[index].max(peak);
                    }
                }
            }
        }
        let (cold, many) = (cold.map(median), many.map(median));
        let further = [0, 1].map(|i| (many[i] - cold[i]) / (MORE - 1) as f64);
        for (index, (name, who)) in contenders.iter().enumerate() {
            if *who == Who::Peer && bench.peers.is_none() {
                continue;
            }
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {precision} | {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
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

/// The product, built in release mode.
pub(super) fn trainer(bench: &Bench<'_>) -> Result<PathBuf> {
    let mut cargo = workspace::cargo(bench.root);
    cargo
        .args(["build", "--quiet", "--release", "--package", "trainer"])
        .stderr(Stdio::inherit());
    output(cargo, "cargo build")?;
    Ok(workspace::target(bench.root).join("release/trainer"))
}

/// A checkpoint of generated weights, made once, with the tokenizer's files where a peer
/// makes them.
pub(super) fn checkpoint(bench: &Bench<'_>) -> Result<PathBuf> {
    let folder = workspace::target(bench.root).join("bench/vit-b-16");
    if !folder.join("config.json").exists() {
        let mut command = Command::new(bench.program("clip-backbone", "checkpoint")?);
        command.arg(&folder);
        output(command, "checkpoint")?;
    }
    if let Some(mut command) = bench.peer("predict.py")
        && !folder.join("merges.txt").exists()
    {
        let vocabulary = vocabulary::path(&Places::of_user()?);
        command.arg("tokenizer").arg(vocabulary).arg(&folder);
        output(command, "predict.py tokenizer")?;
    }
    Ok(folder)
}
