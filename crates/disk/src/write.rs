//! Files that are whole or absent: written under a temporary name, synced, renamed.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

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

/// Makes a folder and those above it. Each that was missing is synced with the one above it: what is
/// written there later is not lost with its folder.
///
/// # Errors
/// The system refuses.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let above = folder_of(path);
    if above != path {
        make_folder(above)?;
    }
    match fs::create_dir(path) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(Error::of("cannot create", path)),
    }?;
    RealDisk
        .sync_dir(above)
        .map_err(Error::of("cannot sync", above))
}

/// A temporary file that may become the one at `path`, beside it and with this ending. Missing
/// folders are made, and temporary files whose process was killed are removed.
///
/// # Errors
/// The system refuses.
pub fn temporary_for(path: &Path, ending: &str) -> Result<NamedTempFile, Error> {
    let folder = folder_of(path);
    make_folder(folder)?;
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

/// A folder that is filled under a temporary name and appears whole or not at all.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// Held as long as the folder is.
    _lock: File,
}

impl TemporaryFolder {
    /// One that may become the folder at `path`, beside it. Missing folders are made.
    ///
    /// # Errors
    /// The system refuses.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let parent = folder_of(path);
        make_folder(parent)?;
        sweep(parent);
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        loop {
            let folder = builder
                .tempdir_in(parent)
                .map_err(Error::of("cannot write in", parent))?;
            let lock = File::open(folder.path()).map_err(Error::of("cannot open", &folder))?;
            let _ = lock.lock();
            if folder.path().exists() {
                return Ok(Self {
                    folder,
                    _lock: lock,
                });
            }
        }
    }

    /// Its temporary place. Files are to be written with [`write()`], which syncs them.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Syncs it and gives it the name `path`, where there is nothing or an empty folder.
    ///
    /// # Errors
    /// The system refuses; nothing has changed then.
    pub fn persist(self, path: &Path) -> Result<(), Error> {
        let disk = RealDisk;
        let (from, parent) = (self.folder.path(), folder_of(path));
        disk.sync_dir(from)
            .map_err(Error::of("cannot sync", path))?;
        if path.exists() {
            fs::remove_dir(path).map_err(Error::of("cannot replace", path))?;
        }
        disk.rename(from, path)
            .map_err(Error::of("cannot rename to", path))?;
        disk.sync_dir(parent)
            .map_err(Error::of("cannot sync", parent))
    }
}

/// Removes the temporary files and folders in `folder` that no process fills any more. Remains that
/// cannot be removed do no harm.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type();
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            // A pipe of somebody else's would be waited for.
            && kind.is_ok_and(|kind| kind.is_file() || kind.is_dir())
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = match entry.path().is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
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
    fn a_folder_appears_whole_or_not_at_all() {
        let all = tempfile::tempdir().unwrap();
        let path = all.path().join("deep/exported");
        let remains = path.with_file_name(".part-killed");
        fs::create_dir_all(remains.join("half")).unwrap();
        let dropped = TemporaryFolder::of(&path).unwrap();
        write(&dropped.path().join("a"), b"a").unwrap();
        drop(dropped);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        // An empty folder may be there.
        fs::create_dir(&path).unwrap();
        let folder = TemporaryFolder::of(&path).unwrap();
        write(&folder.path().join("a"), b"a").unwrap();
        folder.persist(&path).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), b"a");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let folder = TemporaryFolder::of(&path).unwrap();
        assert!(folder.persist(&path).is_err(), "it holds a file");
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
