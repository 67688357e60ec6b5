//! Unpacking archives that may be damaged or malicious: no entry is written outside the target
//! folder, and a failure leaves nothing behind.

pub(crate) mod rar;
pub(crate) mod tar;
pub(crate) mod zip;

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path};

use crate::places::{empty_folder, make_folder};
use crate::{Error, Result};

/// Empties the folder `into` for `unpack`, and removes it if that fails.
fn staged<T>(into: &Path, unpack: impl FnOnce() -> Result<T>) -> Result<T> {
    empty_folder(into)?;
    unpack().inspect_err(|_| drop(fs::remove_dir_all(into)))
}

/// An entry's path must be relative, without `..` and without the separator of Windows.
fn check_inside(archive: &Path, entry: &str) -> Result<()> {
    let relative = Path::new(entry)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if relative && !entry.is_empty() && !entry.contains('\\') {
        return Ok(());
    }
    Err(refused(archive, entry, "points outside the folder"))
}

fn refused(archive: &Path, entry: impl Display, fault: &str) -> Error {
    let reason = format!("entry '{entry}' {fault}; nothing was unpacked");
    Error::invalid(archive.display(), reason)
}

/// Writes `entry` of `size` bytes to `path` below `into`.
fn write_entry(
    archive: &Path,
    entry: &mut impl Read,
    size: u64,
    into: &Path,
    path: &Path,
) -> Result<()> {
    let invalid = |reason: String| {
        let reason = format!("entry '{}': {reason}", path.display());
        Error::invalid(archive.display(), reason)
    };
    let target = into.join(path);
    if let Some(folder) = target.parent() {
        make_folder(folder)?;
    }
    let mut out = File::create_new(&target).map_err(Error::io("cannot create", &target))?;
    let written = std::io::copy(&mut entry.take(size.saturating_add(1)), &mut out)
        .map_err(|e| invalid(e.to_string()))?;
    match written {
        _ if written == size => Ok(()),
        _ if written > size => Err(invalid(format!("expected {size} bytes, got more"))),
        _ => Err(invalid(format!("expected {size} bytes, got {written}"))),
    }
}
