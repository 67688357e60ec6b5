//! Videos and their frames, kept from one run for another.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The variable that names a folder for videos and their frames, so that another FFmpeg, which may not
/// encode, can be compared with this one.
const KEPT: &str = "SIF_KEPT_VIDEOS";

/// The place of what is described by `what` in the folder for kept things.
pub(crate) fn place(what: &impl Hash, ending: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(KEPT)?);
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    Some(folder.join(format!("{:016x}.{ending}", hasher.finish())))
}

/// Takes the video `path` from an earlier run, or makes and keeps it. Whether it was made.
pub(crate) fn kept<E>(
    path: &Path,
    what: &(impl Debug + ?Sized),
    make: impl FnOnce() -> Result<bool, E>,
) -> Result<bool, E> {
    let place = place(&format!("{what:?}{:?}", path.file_name()), "video");
    if let Some(place) = place.as_ref().filter(|place| place.is_file()) {
        std::fs::copy(place, path).unwrap();
        return Ok(true);
    }
    let made = make()?;
    if let Some(place) = place.filter(|_| made) {
        std::fs::copy(path, place).unwrap();
    }
    Ok(made)
}
