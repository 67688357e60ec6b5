//! Errors of drawing, encoding and pre-training.

use std::path::PathBuf;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything this crate refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number out of range.
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
    /// A file that does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A vocabulary that cannot be learned.
    #[error("vocabulary: {0}")]
    Vocabulary(String),
    /// Weights that cannot be stored.
    #[error("weights: {0}")]
    Weights(String),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A video that cannot be written.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// The backbone.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// The thread that draws.
    #[error(transparent)]
    Clips(#[from] clips::Error),
    /// The optimiser.
    #[error(transparent)]
    Optim(#[from] optim::Error),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}
