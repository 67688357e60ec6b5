//! Tar files, compressed by gzip or not.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{check_inside, refused, staged, write_entry};
use crate::{Error, Result};

/// Unpacks the regular files of a tar into the emptied folder `into` and returns their paths. The
/// tar is the concatenation of `pieces`; errors name it `archive`.
///
/// # Errors
/// It is damaged or truncated, or contains links, devices, or paths outside the folder or that
/// appear twice.
pub(crate) fn unpack(archive: &Path, pieces: &[PathBuf], into: &Path) -> Result<Vec<PathBuf>> {
    staged(into, || unpack_entries(archive, pieces, into))
}

fn unpack_entries(archive: &Path, pieces: &[PathBuf], into: &Path) -> Result<Vec<PathBuf>> {
    let invalid = |error: io::Error| Error::invalid(archive.display(), error);
    let mut whole: Box<dyn Read> = Box::new(io::empty());
    for piece in pieces {
        let file = File::open(piece).map_err(Error::io("cannot open", piece))?;
        whole = Box::new(whole.chain(file));
    }
    let mut reader = BufReader::with_capacity(1 << 20, whole);
    let reader: Box<dyn Read> = match reader.fill_buf().map_err(invalid)? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(reader)),
        _ => Box::new(reader),
    };
    let mut tar = tar::Archive::new(reader);
    let mut files = Vec::new();
    for entry in tar.entries().map_err(invalid)? {
        let mut entry = entry.map_err(invalid)?;
        let path = entry.path().map_err(invalid)?.into_owned();
        check_inside(archive, &path.to_string_lossy())?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() && !kind.is_contiguous() {
            let fault = "is a link or not a regular file";
            return Err(refused(archive, path.display(), fault));
        }
        let normal = path.components().filter(|part| *part != Component::CurDir);
        let path: PathBuf = normal.collect();
        let size = entry.size();
        write_entry(archive, &mut entry, size, into, &path)?;
        files.push(path);
    }
    if files.is_empty() {
        return Err(Error::invalid(archive.display(), "contains no file"));
    }
    Ok(files)
}
