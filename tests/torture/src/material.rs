//! Inputs that the campaign makes itself, and the programs on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use video::{Frame, write_clip};

use crate::Context;

/// The classes of the drawn clips.
pub(crate) const CLASSES: [&str; 3] = ["Archery", "PushUps", "YoYo"];

/// Writes `frames` frames of a square on a ground: the class decides both colours, the number where
/// it starts.
pub(crate) fn draw(path: &Path, class: usize, number: usize, frames: usize) -> Result<()> {
    const SIDE: usize = 32;
    let shade = |at: usize| [40u8, 120, 220][at % 3];
    let colour = |at: usize| [shade(at), shade(at / 3), shade(at / 9)];
    let (ground, square) = (colour(5 * class + 1), colour(7 * class + 11));
    let frame = |index: usize| {
        let left = (3 * number + 2 * index) % (SIDE - 8);
        let inside = |x: usize, y: usize| (left..left + 8).contains(&x) && (12..20).contains(&y);
        let pixels = (0..SIDE * SIDE).flat_map(|at| match inside(at % SIDE, at / SIDE) {
            true => square,
            false => ground,
        });
        Frame {
            index,
            time: index as f64 / 10.0,
            width: SIDE,
            height: SIDE,
            rgb: pixels.collect(),
        }
    };
    let frames: Vec<Frame> = (0..frames).map(frame).collect();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(write_clip(path, &frames, 10)?)
}

/// Class folders `train` and `val` of drawn clips in `root`.
pub(crate) fn videos(root: &Path, train: usize, val: usize) -> Result<()> {
    for (class, name) in CLASSES.iter().enumerate() {
        for number in 0..train + val {
            let part = if number < train { "train" } else { "val" };
            let path = root.join(part).join(name).join(format!("{number:02}.avi"));
            draw(&path, class, number, 4)?;
        }
    }
    Ok(())
}

/// Keys of a training of Seeing in Flowing with all that draws or remembers.
pub(crate) const SEEING_IN_FLOWING: &[&str] = &[
    "model.preset=best",
    "model.sif.motion.max_step=1",
    "model.sif.motion.ffn_dim=32",
    "model.sif.motion.dropout=0.1",
    "train.mixup_alpha=0.2",
    "train.ema_decay=0.9",
    "train.judge_steps=false",
    "train.epochs=1",
    "train.min_steps=4",
];

/// Keys of a training whose last two checkpoints stay.
pub(crate) const TWO_KEPT: &[&str] = &[
    "model.preset=best",
    "model.sif.motion.max_step=1",
    "model.sif.motion.ffn_dim=32",
    "train.judge_steps=false",
    "train.epochs=1",
    "train.min_steps=4",
    "train.keep_checkpoints=2",
];

/// Keys of a training of ActionCLIP: the image tower is trained, too.
pub(crate) const ACTION_CLIP: &[&str] = &[
    "model.system=action-clip",
    "model.action_clip.head=transformer",
    "train.epochs=1",
    "train.min_steps=4",
];

/// The small CLIP that is part of every clone.
pub(crate) fn backbone(context: &Context) -> PathBuf {
    context.root.join("datasets/demo/backbone")
}

/// Keys of short clips, on one thread; features beside the run.
pub(crate) const FRAMES: &[&str] = &[
    "data.cache=features",
    "data.frames=2",
    "model.sif.motion.max_step=1",
    "threads=1",
    "train.batch_size=4",
    "train.save_every=2",
    "train.keep_checkpoints=1",
];

/// The same for the training of one seed.
pub(crate) const TRAINING: &[&str] = &[
    "data.cache=features",
    "data.frames=2",
    "threads=1",
    "train.batch_size=4",
    "train.save_every=2",
    "train.keep_checkpoints=1",
    "protocol.name=closed-set",
    "protocol.seeds=[0]",
];

/// `trainer` with these arguments, on one thread.
pub(crate) fn trainer<A: AsRef<std::ffi::OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.env("OMP_NUM_THREADS", "1");
    command
}

/// Adds `--set` for each key.
pub(crate) fn set(command: &mut Command, keys: &[&str]) {
    for key in keys {
        command.args(["--set", key]);
    }
}

/// All files below `folder` by their relative path, in order.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => folders.push(path),
                false => all.push(path),
            }
        }
    }
    all.sort();
    Ok(all)
}

/// A copy of `from`, whose files are links: they are replaced, never changed in place.
pub(crate) fn link_all(from: &Path, to: &Path) -> Result<()> {
    transfer(from, to, |from, to| fs::hard_link(from, to))
}

/// A copy of `from`.
pub(crate) fn copy_all(from: &Path, to: &Path) -> Result<()> {
    transfer(from, to, |from, to| fs::copy(from, to).map(|_| ()))
}

fn transfer(
    from: &Path,
    to: &Path,
    one: impl Fn(&Path, &Path) -> std::io::Result<()>,
) -> Result<()> {
    for file in files(from)? {
        let target = to.join(&file);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        one(&from.join(&file), &target)?;
    }
    Ok(())
}
