//! Errors of drawing, encoding and pre-training.

use std::path::PathBuf;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number is out of range.
    #[error("{what}: expected {expected}, got {got}")]
    Option {
        /// The option.
        what: &'static str,
        /// Its range.
        expected: String,
        /// Its value.
        got: String,
    },
    /// The loss is no longer a number.
    #[error("step {step}: the loss is {loss}; no weights were written")]
    NotFinite {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// A file with unexpected content.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The vocabulary cannot be learned.
    #[error("vocabulary: {0}")]
    Vocabulary(String),
    /// The weights cannot be stored.
    #[error("weights: {0}")]
    Weights(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A video cannot be written.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// The backbone.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// The drawing thread.
    #[error(transparent)]
    Clips(#[from] clips::Error),
    /// The optimiser.
    #[error(transparent)]
    Optim(#[from] optim::Error),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}
