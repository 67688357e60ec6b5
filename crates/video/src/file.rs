//! Opening a path as a plain file, whatever its name looks like, and reading it from several places.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
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
    check(path, &file)?;
    Ok(file)
}

/// Refuses an open file that is not a regular one, or is empty.
pub(super) fn check(path: &Path, file: &File) -> Result<(), Error> {
    let path = path.to_path_buf();
    match file.metadata() {
        Err(source) => Err(Error::Io { path, source }),
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => Err(Error::Empty { path }),
        Ok(metadata) => check_kind(&path, &metadata),
    }
}

/// A reader of an open file with a position of its own, so that a file without a path can be read
/// from the start several times.
pub(super) struct Cursor {
    file: Arc<File>,
    at: u64,
}

impl Cursor {
    pub(super) fn new(file: &Arc<File>) -> Self {
        Self {
            file: file.clone(),
            at: 0,
        }
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.file.metadata()?.len(), by),
        };
        let at = from.checked_add_signed(by);
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
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
