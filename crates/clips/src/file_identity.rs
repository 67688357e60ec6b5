//! The identity of the files behind a data set's clips.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use data::Manifest;
use sha2::{Digest as _, Sha256};

/// Data sets of more clips are identified by sizes alone: opening every file of Kinetics on a
/// network disk takes longer than training.
const MANY: usize = 20_000;

/// Bytes hashed at either end of a file.
const SAMPLE: usize = 16 << 10;

/// The identity of each clip's file, in the order of the manifest: its size and a hash of both
/// its ends, so that a copy of a file is the same and a file replaced under its name is not. Of more
/// than 20,000 clips, the size alone. A file that cannot be read has an identity by which nothing
/// is found again.
#[must_use]
pub fn file_identities(manifest: &Manifest) -> Vec<String> {
    let sampled = manifest.clips().len() <= MANY;
    let files = manifest.clips().iter().map(|clip| manifest.file(clip));
    files.map(|file| file_identity(&file, sampled)).collect()
}

/// The identity of one file: `sampled` by both its ends, or by its size alone.
pub(crate) fn file_identity(path: &Path, sampled: bool) -> String {
    identity(path, sampled).unwrap_or_else(|error| error.to_string())
}

fn identity(path: &Path, sampled: bool) -> std::io::Result<String> {
    if !sampled {
        return Ok(std::fs::metadata(path)?.len().to_string());
    }
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut ends = Vec::new();
    (&mut file).take(SAMPLE as u64).read_to_end(&mut ends)?;
    if size > SAMPLE as u64 {
        file.seek(SeekFrom::Start(size.saturating_sub(SAMPLE as u64)))?;
        file.take(SAMPLE as u64).read_to_end(&mut ends)?;
    }
    let hash = disk::hex(Sha256::digest(&ends));
    Ok(format!("{size}-{}", hash.get(..16).unwrap_or(&hash)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_is_the_same_and_another_film_of_the_same_size_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            identity(&path, true).unwrap()
        };
        let mut film = vec![7u8; 3 * SAMPLE];
        let first = write("a.mp4", &film);
        assert_eq!(write("copy.mp4", &film), first);
        film[3 * SAMPLE - 1] = 8;
        assert_ne!(write("b.mp4", &film), first);
        assert_ne!(write("empty.mp4", b""), first);
        assert!(identity(&folder.path().join("none.mp4"), true).is_err());
    }
}
