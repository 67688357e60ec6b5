//! The training process: it sees strangers' clips, and reaches nothing but them, its backbone and
//! its results.

use std::path::{Path, PathBuf};

use rustix::process::{Signal, getpid, kill_process};

use crate::sandbox;
use crate::wire::Kept;

/// How much nicer a training is than the server.
const NICER: i32 = 5;

/// Gives up everything that training on the clips in `clips` and the `weights` into `out` does not
/// need. `false` if the kernel does not enforce all of it.
#[must_use]
pub fn confine_training(clips: &Path, weights: &Path, out: &Path) -> bool {
    sandbox::close_inherited();
    let _ = rustix::process::nice(NICER);
    std::thread::spawn(end_with_input);
    // The list of the clips lies beside them, and so does the result.
    let folder = clips.parent().unwrap_or(clips);
    let system = ["/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev"].map(PathBuf::from);
    let mut readable: Vec<PathBuf> = system.into();
    readable.push(weights.into());
    readable.extend(hub_cache());
    // Made before the path can be given.
    let _ = std::fs::create_dir_all(out);
    let readable: Vec<&Path> = readable.iter().map(PathBuf::as_path).collect();
    let kept = sandbox::leave_paths(&readable, &[folder, Path::new("/dev/null")]);
    let filtered = sandbox::leave_training_calls();
    kept == Kept::Fully && filtered
}

/// Asks for the end of the training, at its next checkpoint, when the server closes standard input or
/// ends in whatever way.
fn end_with_input() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = kill_process(getpid(), Signal::TERM);
}

/// The folder in which Hugging Face's tools keep checkpoints.
fn hub_cache() -> Option<PathBuf> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    path("HF_HUB_CACHE")
        .or_else(|| path("HF_HOME"))
        .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
        .or_else(|| path("HOME").map(|home| home.join(".cache/huggingface")))
}
