//! Errors between a checkpoint, a video and an answer.

use std::path::{Path, PathBuf};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything this crate refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A checkpoint of a run that does not verify or does not fit.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// Tensors or numbers that do not fit each other.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// The thing compared.
        what: String,
        /// Its value here.
        expected: String,
        /// Its value there.
        got: String,
    },
    /// There is not one label.
    #[error("no labels: expected at least one, got none{}", in_file(from.as_deref()))]
    NoLabels {
        /// The file that should hold them.
        from: Option<PathBuf>,
    },
    /// A label between two separators is empty.
    #[error("label {position} is empty")]
    EmptyLabel {
        /// Its place, from 1.
        position: usize,
    },
    /// A label appears twice.
    #[error("label {label:?} appears twice; each class needs a name of its own")]
    RepeatedLabel {
        /// The label.
        label: String,
    },
    /// Neither a sentence with a place for the class nor a file.
    #[error("template {0:?}: expected a sentence with {{}} where the class goes, or a file")]
    NoPlace(String),
    /// A file of templates that cannot be used.
    #[error("templates in {}: {reason}", path.display())]
    Templates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Text that is not a length of time.
    #[error("expected a time above zero with its unit, such as 2s, 500ms or 1.5m; got {0:?}")]
    NoSpan(String),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A video that gives no frames.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// A picture that cannot be resized.
    #[error(transparent)]
    Picture(#[from] pixels::Error),
    /// A clip or its backbone.
    #[error(transparent)]
    Clips(#[from] clips::Error),
    /// The backbone.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// The model.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl Error {
    pub(crate) fn mismatch(
        what: impl Into<String>,
        expected: impl ToString,
        got: impl ToString,
    ) -> Self {
        Self::Mismatch {
            what: what.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }
}

fn in_file(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| format!(" in {}", path.display()))
}
