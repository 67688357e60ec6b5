//! Errors, with the operation and the path.

use std::io;
use std::path::{Path, PathBuf};

/// A file system operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{op} {}: {reason}", path.display())]
pub struct Error {
    /// The operation, such as "cannot write".
    pub op: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's error.
    pub reason: io::Error,
}

impl Error {
    /// Adds the operation and the path to a system error.
    pub fn of(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |reason| Self { op, path, reason }
    }
}
