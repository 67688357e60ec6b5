//! Archives from a folder, or downloaded if the disk has enough space.

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::{Archive, Packing};
use hub::{Promise, Wanted};

use super::Tools;
use crate::places::{free_space, make_folder};
use crate::progress::bytes;
use crate::{Error, Result};

/// A file offered for download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    /// Its name on disk.
    pub(super) name: String,
    /// Its address.
    pub(super) url: String,
    /// The size of the unpacked files as a multiple of its own; 0 if it is not unpacked.
    pub(super) unpacked: u64,
}

/// The paths of the archives in `folder`.
///
/// # Errors
/// Some are missing; the error names all of them.
pub(super) fn from_folder(folder: &Path, archives: &[&Archive]) -> Result<Vec<PathBuf>> {
    let mut absent = Vec::new();
    for archive in archives {
        let name = match archive.packing {
            Packing::CutTar => format!("{}-00", archive.file),
            _ => archive.file.into(),
        };
        if !folder.join(&name).is_file() {
            absent.push(name);
        }
    }
    if absent.is_empty() {
        let paths = archives.iter().map(|archive| folder.join(archive.file));
        return Ok(paths.collect());
    }
    let reason = format!("missing: {}", absent.join(", "));
    Err(Error::invalid(folder.display(), reason))
}

/// Downloads the files that are not yet in `folder`, resuming incomplete ones.
///
/// # Errors
/// A download fails, or the disk is too full, which is checked first.
pub(super) fn download(tools: &Tools, folder: &Path, offered: &[Offered]) -> Result<Vec<PathBuf>> {
    make_folder(folder)?;
    let length = |path: PathBuf| fs::metadata(path).map(|metadata| metadata.len()).ok();
    let mut need = 0_u64;
    let mut sizes = Vec::with_capacity(offered.len());
    for file in offered {
        let complete = length(folder.join(&file.name));
        let size = match complete {
            Some(size) => Some(size),
            None => size_of(tools, &file.url)?,
        };
        let part = || length(folder.join(format!("{}.incomplete", file.name)));
        let downloaded = complete.or_else(part).unwrap_or(0);
        let known = size.unwrap_or(0);
        need = need
            .saturating_add(known.saturating_sub(downloaded))
            .saturating_add(known.saturating_mul(file.unpacked));
        sizes.push(size);
    }
    check_space(folder, need)?;
    let mut paths = Vec::with_capacity(offered.len());
    for (file, size) in offered.iter().zip(sizes) {
        let target = folder.join(&file.name);
        // Only complete files have this name.
        if !target.exists() {
            let wanted = Wanted {
                url: &file.url,
                promise: Promise::Nothing,
                bytes: size,
                authorization: None,
                label: &file.name,
            };
            let sha256 = tools.client.file(&wanted, &target)?;
            eprintln!("{}: sha256 {sha256}", file.name);
        }
        paths.push(target);
    }
    Ok(paths)
}

/// # Errors
/// The disk of `folder` has less than `need` free bytes.
pub(super) fn check_space(folder: &Path, need: u64) -> Result<()> {
    let free = free_space(folder)?;
    if need <= free {
        return Ok(());
    }
    Err(Error::DiskSpace {
        folder: folder.into(),
        need: bytes(need),
        free: bytes(free),
    })
}

/// The size stated by the server, if any.
pub(super) fn size_of(tools: &Tools, url: &str) -> Result<Option<u64>> {
    let head = tools.client.head(url, None)?;
    let length = head
        .get("content-length")
        .and_then(|text| text.parse().ok());
    Ok(length.filter(|_| (200..300).contains(&head.status)))
}
