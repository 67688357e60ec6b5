//! The few operations by which results reach the disk, so that tests can make each one fail.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::{Error, Result};

/// Writing that survives a crash at any point, when used in order.
pub(crate) trait Disk {
    /// Makes a folder that must not exist yet.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Writes a new file and syncs it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Syncs a folder's entries.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file or folder its final name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a folder and all in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// The real file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Windows cannot open a folder as a file, and needs no sync of one.
        if cfg!(unix) {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

/// Replaces the file at `path`: a temporary name in the same folder, synced, renamed, the
/// folder synced. Missing folders above it are made.
///
/// # Errors
/// [`Error::File`]; the file that was there before is whole then.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(Error::file("cannot create", folder))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(name);
    let written = RealDisk
        .write(&temporary, bytes)
        .map_err(Error::file("cannot write", &temporary))
        .and_then(|()| {
            RealDisk
                .rename(&temporary, path)
                .map_err(Error::file("cannot rename to", path))
        });
    if written.is_err() {
        // The first error is the one to tell; a file that cannot be removed either is a trifle.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    RealDisk
        .sync_dir(folder)
        .map_err(Error::file("cannot sync", folder))
}

#[cfg(test)]
pub(crate) mod faults {
    //! A disk that fails at its n-th operation and remembers the order of all.

    use std::cell::{Cell, RefCell};

    use super::*;

    pub(crate) struct FaultyDisk {
        pub(crate) fail_at: usize,
        pub(crate) sticky: bool,
        count: Cell<usize>,
        pub(crate) trace: RefCell<Vec<String>>,
    }

    impl FaultyDisk {
        pub(crate) fn new(fail_at: usize, sticky: bool) -> Self {
            Self {
                fail_at,
                sticky,
                count: Cell::new(0),
                trace: RefCell::default(),
            }
        }

        pub(crate) fn operations(&self) -> usize {
            self.count.get()
        }

        fn enter(&self, op: &str, path: &Path) -> io::Result<()> {
            let index = self.count.get();
            self.count.set(index + 1);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.trace.borrow_mut().push(format!("{op} {name}"));
            if index == self.fail_at || (self.sticky && index > self.fail_at) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            Ok(())
        }
    }

    impl Disk for FaultyDisk {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.enter("create", path)?;
            RealDisk.create_dir(path)
        }

        fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            if let Err(full) = self.enter("write", path) {
                // What a full disk leaves: the first half.
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                let _ = fs::write(path, half);
                return Err(full);
            }
            RealDisk.write(path, bytes)
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.enter("sync", path)?;
            RealDisk.sync_dir(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.enter("rename", to)?;
            RealDisk.rename(from, to)
        }

        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            self.enter("remove", path)?;
            RealDisk.remove_dir(path)
        }
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
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_in_the_way_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write_file(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
