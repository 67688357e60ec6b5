//! A disk that fails at its n-th operation and records all operations in order.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::Path;

use crate::{Disk, RealDisk};

/// The real file system, except for one operation that fails as on a full disk.
#[derive(Debug)]
pub struct FaultyDisk {
    fail_at: usize,
    sticky: bool,
    count: Cell<usize>,
    /// Each operation so far, with the last part of its path.
    pub trace: RefCell<Vec<String>>,
}

impl FaultyDisk {
    /// Fails at operation `fail_at`, counted from 0; if `sticky`, at all later ones too.
    pub fn new(fail_at: usize, sticky: bool) -> Self {
        Self {
            fail_at,
            sticky,
            count: Cell::new(0),
            trace: RefCell::default(),
        }
    }

    /// Number of operations so far.
    pub fn operations(&self) -> usize {
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
