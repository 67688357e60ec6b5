//! A folder as an archive whose bytes depend on its files alone.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tar::{Builder, EntryType, Header, HeaderMode};

use crate::{Error, Result};

/// zstd's level: the highest one for which packing takes half a minute.
const LEVEL: &str = "-12";

/// The files below `folder`, relative to it, in the order of their names.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        let entries = fs::read_dir(&next).map_err(Error::io("cannot list", &next))?;
        for entry in entries {
            let path = entry.map_err(Error::io("cannot list", &next))?.path();
            match path.is_dir() {
                true => waiting.push(path),
                false => all.extend(path.strip_prefix(folder).map(Path::to_owned)),
            }
        }
    }
    all.sort();
    Ok(all)
}

/// Packs the files below `folder`, all owned by root and of the time `time`, under the folder's
/// name: a tar that the program zstd compresses.
///
/// # Errors
/// A file cannot be read; zstd is missing or fails.
pub(super) fn pack(folder: &Path, time: u64, archive: &Path) -> Result<()> {
    let out = File::create(archive).map_err(Error::io("cannot pack", archive))?;
    let mut zstd = Command::new("zstd");
    zstd.args(["-q", "-T0", "--long=27", LEVEL])
        .stdin(Stdio::piped())
        .stdout(out);
    let mut child = zstd.spawn().map_err(|e| Error::program(&zstd, e))?;
    let stdin = child.stdin.take().map(BufWriter::new);
    let mut tar = Builder::new(stdin.ok_or_else(|| Error::program(&zstd, "it has no input"))?);
    let top = Path::new(folder.file_name().unwrap_or_default());
    for file in files(folder)? {
        let path = folder.join(&file);
        let content = File::open(&path).map_err(Error::io("cannot pack", &path))?;
        let metadata = content
            .metadata()
            .map_err(Error::io("cannot pack", &path))?;
        let mut header = Header::new_ustar();
        header.set_metadata_in_mode(&metadata, HeaderMode::Deterministic);
        header.set_entry_type(EntryType::Regular);
        header.set_mtime(time);
        header.set_size(metadata.len());
        tar.append_data(&mut header, top.join(&file), BufReader::new(content))
            .map_err(Error::io("cannot pack", &path))?;
    }
    let ended = tar.into_inner().and_then(|mut stdin| stdin.flush());
    ended.map_err(Error::io("cannot pack", archive))?;
    let status = child.wait().map_err(|e| Error::program(&zstd, e))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::program(&zstd, status)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::workspace::output;

    /// Packs two files that were written in this order, and returns the archive's bytes.
    fn packed(order: [&str; 2]) -> Vec<u8> {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("project-1.0");
        for name in order {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
        }
        let program = folder.join("bin/program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let archive = place.path().join("a.tar.zst");
        pack(&folder, 1_000_000_000, &archive).unwrap();
        let mut unpack = Command::new("tar");
        unpack.args(["--zstd", "-xf", "a.tar.zst", "-C", "."]);
        fs::remove_dir_all(&folder).unwrap();
        output(unpack.current_dir(place.path())).unwrap();
        let found = files(&folder).unwrap();
        assert_eq!(found, [Path::new("bin/program"), Path::new("share/words")]);
        assert_eq!(
            fs::metadata(program).unwrap().permissions().mode() & 0o777,
            0o755
        );
        fs::read(archive).unwrap()
    }

    #[test]
    fn the_same_files_are_the_same_bytes() {
        assert_eq!(
            packed(["bin/program", "share/words"]),
            packed(["share/words", "bin/program"])
        );
    }
}
