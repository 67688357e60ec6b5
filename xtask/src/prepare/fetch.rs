//! Archives: taken from a folder, or downloaded after a look at the disk.

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::{Archive, Packing};
use hub::{Promise, Wanted};

use super::Workplace;
use crate::progress::bytes;
use crate::{Error, Result};

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    /// Its name on disk.
    pub(super) name: String,
    /// Where it is offered.
    pub(super) url: String,
    /// How much room it takes once unpacked, as a multiple of its own size (0: it is not
    /// unpacked).
    pub(super) unpacked: u64,
}

/// The archives in `folder`.
///
/// # Errors
/// Some are not there; the error names all of them.
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
    Err(Error::Parse {
        what: folder.display().to_string(),
        reason: format!("there is no {}", absent.join(", no ")),
    })
}

/// Downloads what is not in `folder` yet, whole or continued.
///
/// # Errors
/// Too little room on the disk, said before the first byte; and what
/// [`Client::file`](hub::Client::file) refuses.
pub(super) fn download(
    place: &Workplace,
    folder: &Path,
    offered: &[Offered],
) -> Result<Vec<PathBuf>> {
    crate::places::make_folder(folder)?;
    let mut need = 0_u64;
    let mut sizes = Vec::with_capacity(offered.len());
    for file in offered {
        let target = folder.join(&file.name);
        let there = fs::metadata(&target).map(|metadata| metadata.len()).ok();
        let size = match there {
            Some(size) => Some(size),
            None => size_of(place, &file.url)?,
        };
        let part = folder.join(format!("{}.incomplete", file.name));
        let partly = fs::metadata(&part).map_or(0, |metadata| metadata.len());
        let here = there.unwrap_or(partly);
        let size_known = size.unwrap_or(0);
        need = need
            .saturating_add(size_known.saturating_sub(here))
            .saturating_add(size_known.saturating_mul(file.unpacked));
        sizes.push(size);
    }
    check_room(folder, need)?;
    let mut paths = Vec::with_capacity(offered.len());
    for (file, size) in offered.iter().zip(sizes) {
        let target = folder.join(&file.name);
        // Only whole files get this name.
        if !target.exists() {
            let wanted = Wanted {
                url: &file.url,
                promise: Promise::Nothing,
                bytes: size,
                authorization: None,
                label: &file.name,
            };
            let sha256 = place.client.file(&wanted, &target)?;
            eprintln!("{}: sha256 {sha256}", file.name);
        }
        paths.push(target);
    }
    Ok(paths)
}

/// # Errors
/// The disk of `folder` has less room than `need`.
pub(super) fn check_room(folder: &Path, need: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| Error::io("look at the disk of", folder)(error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if need <= free {
        return Ok(());
    }
    Err(Error::Room {
        folder: folder.into(),
        need: bytes(need),
        free: bytes(free),
    })
}

/// The size that the server states, where it does.
pub(super) fn size_of(place: &Workplace, url: &str) -> Result<Option<u64>> {
    let head = place.client.head(url, None)?;
    let length = head
        .get("content-length")
        .and_then(|text| text.parse().ok());
    Ok(length.filter(|_| (200..300).contains(&head.status)))
}
