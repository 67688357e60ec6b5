//! Errors from video to features.

use std::path::PathBuf;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shard of features cannot be claimed among the processes that compute them.
    #[error("cannot claim features to compute: {0}")]
    Claim(String),
    /// An invalid number or name given by the caller.
    #[error("{name}: expected {expected}, got {got}")]
    Option {
        /// The option.
        name: &'static str,
        /// Its range.
        expected: String,
        /// Its value.
        got: String,
    },

    /// The frames of a clip could not be read.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),

    /// A clip could not be turned into pixels.
    #[error("{id}: {reason}")]
    Clip {
        /// The clip's id, or its file.
        id: String,
        /// The reason.
        reason: String,
    },

    /// A worker panicked.
    #[error("decoding panicked")]
    Panicked,

    /// None of the requested clips can be decoded.
    #[error("0 of {of} clips can be decoded; {id}: {reason}")]
    NothingDecodes {
        /// Number of requested clips.
        of: usize,
        /// The first of them.
        id: String,
        /// The reason.
        reason: String,
    },

    /// Stored features were made with other settings.
    #[error(
        "the features in {} were made with other settings:\n{}\nextract them again into another \
         folder, or use the settings they were made with",
        path.display(), differences.join("\n")
    )]
    Fingerprint {
        /// The folder of features.
        path: PathBuf,
        /// One line per field that differs.
        differences: Vec<String>,
    },

    /// Stored features are damaged or incomplete.
    #[error("features in {}: {what}", path.display())]
    Features {
        /// The file or folder.
        path: PathBuf,
        /// The fault.
        what: String,
    },

    /// A file that cannot be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The data set.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A video.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// A picture.
    #[error(transparent)]
    Picture(#[from] ::pixels::Error),
    /// The backbone.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl Error {
    pub(crate) fn io(
        op: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let named = disk::Error::of(op, path);
        move |error| Self::Disk(named(error))
    }
}
