//! Files that are whole or absent: written under a temporary name, synced, renamed.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::{Disk as _, Error, RealDisk};

/// The start of the names of temporary files.
const PREFIX: &str = ".part-";

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
/// folders are made, and temporary files whose process was killed are removed.
///
/// # Errors
/// The system refuses.
pub fn temporary_for(path: &Path, ending: &str) -> Result<NamedTempFile, Error> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(Error::of("cannot create", folder))?;
    sweep(folder);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(ending);
    // A temporary file is its owner's alone; the result is as public as the user's mask lets it be.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder
            .tempfile_in(folder)
            .map_err(Error::of("cannot write in", folder))?;
        // Held until the file is closed, however its process ends. Some network disks have no locks,
        // and no file is swept there.
        let _ = file.as_file().lock();
        // Another process may have swept it before it was locked.
        if file.path().exists() {
            return Ok(file);
        }
    }
}

/// Removes the temporary files in `folder` that no process writes any more. Remains that cannot be
/// removed do no harm.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Ok(file) = fs::File::options().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
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
    fn remains_of_a_killed_process_go_and_files_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        let remains = folder.path().join(".part-killed");
        fs::write(&remains, "half").unwrap();
        let in_use = temporary_for(&path, "").unwrap();
        assert!(!remains.exists());
        write(&path, b"other").unwrap();
        persist(in_use, &path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
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
