//! Opening a path as a plain file, whatever its name looks like.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use super::Error;

/// Opens a regular, non-empty file. Never waits: a pipe is refused, not read.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let refused = |source: io::Error| {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Missing { path },
            io::ErrorKind::PermissionDenied => Error::Forbidden { path },
            _ => Error::Io { path, source },
        }
    };
    // Asked before opening, since opening a device may already do something; and again of
    // what was opened, since the name may mean another file by then.
    check_kind(path, &std::fs::metadata(path).map_err(refused)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK);
    }
    let file = options.open(path).map_err(refused)?;
    let metadata = file.metadata().map_err(refused)?;
    check_kind(path, &metadata)?;
    if metadata.len() == 0 {
        return Err(Error::Empty {
            path: path.to_path_buf(),
        });
    }
    Ok(file)
}

fn check_kind(path: &Path, metadata: &std::fs::Metadata) -> Result<(), Error> {
    let path = || path.to_path_buf();
    if metadata.is_dir() {
        return Err(Error::Folder { path: path() });
    }
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path() });
    }
    Ok(())
}
