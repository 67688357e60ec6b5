//! Errors of the server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address to listen on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// An address that others can reach, without a token.
    #[error("{address} can be reached from other machines: expected a token, got none")]
    NoToken {
        /// The address.
        address: String,
    },
    /// A token that is too easy to guess, or not one line of text.
    #[error("{}: expected one line of 16 to 256 printable characters, got {got}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is in it.
        got: String,
    },
    /// An FFmpeg with known weaknesses.
    #[error(
        "FFmpeg {got} is too old to decode videos from anyone: expected {least} or later of its \
         series; update the system's packages"
    )]
    Ffmpeg {
        /// The version of its libraries.
        got: String,
        /// The first one that is accepted.
        least: String,
    },
    /// The system failed.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A model that is not loaded.
    #[error("no model {0:?}")]
    NoModel(String),
    /// An answer could not be computed: libtorch failed, usually for lack of memory.
    #[error("an answer could not be computed")]
    Failed,
    /// The model takes too long.
    #[error("the model takes more than {} s", .0.as_secs_f64())]
    Late(Duration),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// A model or a clip.
    #[error(transparent)]
    Recogniser(#[from] recogniser::Error),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}
