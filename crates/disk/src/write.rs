//! Files that are whole or absent: written under a temporary name, synced, renamed.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::{Disk as _, Error, RealDisk};

/// Replaces the file at `path`, so that a reader or a crash meets the old file or the new one and
/// nothing between. Missing folders above it are made.
///
/// # Errors
/// The system refuses; the file that was there before is whole then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = temporary_for(path, "")?;
    file.write_all(bytes)
        .map_err(Error::of("cannot write", path))?;
    persist(file, path)
}

/// A temporary file that may become the one at `path`, beside it and with this ending. Missing
/// folders are made.
///
/// # Errors
/// The system refuses.
pub fn temporary_for(path: &Path, ending: &str) -> Result<NamedTempFile, Error> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(Error::of("cannot create", folder))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".part-").suffix(ending);
    // A temporary file is its owner's alone; the result is as public as the user's mask lets it be.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
        .tempfile_in(folder)
        .map_err(Error::of("cannot write in", folder))
}

/// Syncs a temporary file, gives it the name `path`, and syncs the folder.
///
/// # Errors
/// The system refuses; the file that was there before is whole then.
pub fn persist(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    file.as_file()
        .sync_all()
        .map_err(Error::of("cannot sync", path))?;
    file.persist(path)
        .map_err(|error| Error::of("cannot write", path)(error.error))?;
    // The name is safe only when the folder is.
    let folder = folder_of(path);
    RealDisk
        .sync_dir(folder)
        .map_err(Error::of("cannot sync", folder))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/result.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_in_the_way_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
