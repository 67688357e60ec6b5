//! The errors of this crate, with the URL or path.

use std::path::{Path, PathBuf};

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read, written, locked or renamed.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// The operation, as a verb: "read", "create".
        op: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file could not be replaced.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// No response from a server: no network, no such host, a connection that kept breaking.
    #[error("no response from {url}: {reason}")]
    Unreachable {
        /// The requested URL.
        url: String,
        /// The failure of the last attempt.
        reason: String,
    },
    /// A server answered with a status other than success.
    #[error("{url} answered {status}{}", hint(*status))]
    Status {
        /// The requested URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A response, or a fetched index of shards, in an unexpected format.
    #[error("{from}: {reason}")]
    Answer {
        /// The requested URL, or the index's path.
        from: String,
        /// The fault.
        reason: String,
    },
    /// Fetched content does not match its expected size or hash.
    #[error("{what} does not match: expected {expected}, got {got}")]
    Content {
        /// The file's URL or path.
        what: String,
        /// The expected size or hash.
        expected: String,
        /// The received size or hash.
        got: String,
    },
    /// A cached file no longer has the hash that names it.
    #[error("{}: expected hash {expected}, got {got}; remove it and fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The hash that names it.
        expected: String,
        /// The hash of its content.
        got: String,
    },
    /// Not a valid repository id.
    #[error("{0:?} is not an id of the form org/name[@revision]")]
    Id(String),
    /// A repository without the selected files.
    #[error("{id} does not contain a {wanted}: expected {expected}")]
    Repository {
        /// The repository's id.
        id: String,
        /// The name of the selection.
        wanted: &'static str,
        /// The accepted files.
        expected: String,
    },
    /// A repository that is not cached, in offline mode.
    #[error(
        "{id} is not in the cache {}, and HF_HUB_OFFLINE forbids fetching it",
        cache.display()
    )]
    Offline {
        /// The repository's id.
        id: String,
        /// The cache's folder.
        cache: PathBuf,
    },
    /// A repository that cannot be fetched.
    #[error("cannot fetch {id}{}", advice(source))]
    Fetch {
        /// The repository's id.
        id: String,
        /// The cause.
        source: Box<Error>,
    },
    /// No variable gives a location for the cache.
    #[error("no folder for the cache: set HF_HUB_CACHE, HF_HOME or HOME")]
    NoCache,
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { op, path, source }
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => " (no access; a token may be needed)",
        404 | 410 => " (no such file)",
        _ => "",
    }
}

fn advice(source: &Error) -> &'static str {
    match source {
        Error::Unreachable { .. } => {
            "; check the network and the proxy variables, name a mirror in HF_ENDPOINT, or copy \
             the files into a folder and name that"
        }
        Error::Status {
            status: 401 | 403, ..
        } => "; the id may be misspelled, or the repository needs HF_TOKEN",
        Error::Status { status: 404, .. } => "; there is no such repository, revision or file",
        _ => "",
    }
}
