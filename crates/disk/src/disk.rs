//! The file operations behind a trait, so that tests can make each one fail.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// File operations that, used in order, survive a crash at any point.
pub trait Disk {
    /// Creates a folder that must not exist yet.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Writes a new file and syncs it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Syncs a folder's entries.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or folder to its final name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a folder and all in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// The real file system.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

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
