//! Files that are whole or absent: written beside their place, synced, renamed.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `bytes` to `path` so that a reader, or a crash, meets the old file or the new
/// one and nothing between.
///
/// # Errors
/// The folder does not exist, or the disk refuses.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".part-");
    // A temporary file is its owner's alone; what is written here is as public as the
    // user's mask lets it be.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder
        .tempfile_in(folder)
        .map_err(Error::io("cannot write in", folder))?;
    file.write_all(bytes)
        .map_err(Error::io("cannot write", path))?;
    file.as_file()
        .sync_all()
        .map_err(Error::io("cannot write", path))?;
    file.persist(path)
        .map_err(|error| Error::io("cannot write", path)(error.error))?;
    // The name is safe on disk only when the folder is.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("cannot sync", folder))
}
