//! One process per run folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Error, Result};

/// Locks the run's `folder`, which is created, until the file is dropped or the process ends,
/// however it ends.
///
/// # Errors
/// [`Error::InUse`] if another process holds it, and [`Error::Disk`].
pub(super) fn lock(folder: &Path) -> Result<File> {
    disk::make_folder(folder)?;
    let path = folder.join("run.lock");
    let file = File::create(&path).map_err(Error::file("cannot create", &path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::InUse {
            folder: folder.into(),
        }),
        // Some network disks have no locks.
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, "cannot lock {}", path.display());
            Ok(file)
        }
        Ok(()) => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let held = lock(&run).unwrap();
        let error = lock(&run).unwrap_err().to_string();
        assert!(error.contains("another process"), "{error}");
        drop(held);
        lock(&run).unwrap();
    }
}
