//! Errors from a checkpoint and a video to an answer.

use std::path::{Path, PathBuf};

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run's checkpoint that does not verify or does not fit.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The expected and the actual content.
        reason: String,
    },
    /// A path that belongs to a run and is not a trained one.
    #[error("{}: {reason}", path.display())]
    NotTrained {
        /// The path.
        path: PathBuf,
        /// What it is, and what to give.
        reason: String,
    },
    /// The model has no answer for a video.
    #[error("{}: no answer", video.display())]
    NoAnswer {
        /// The video.
        video: PathBuf,
        /// The reason.
        source: Box<models::Error>,
    },
    /// A trained parameter that is not finite.
    #[error("trained parameter {name}: not finite (NaN or infinite)")]
    NotFinite {
        /// The first such parameter.
        name: String,
    },
    /// Tensors or numbers that do not match.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// The value compared.
        what: String,
        /// The expected value.
        expected: String,
        /// The actual value.
        got: String,
    },
    /// There are no labels.
    #[error("no labels: expected at least one, got none{}", in_file(from.as_deref()))]
    NoLabels {
        /// The file without labels.
        from: Option<PathBuf>,
    },
    /// A label between two separators is empty.
    #[error("label {position} is empty")]
    EmptyLabel {
        /// Its place, from 1.
        position: usize,
    },
    /// A file of labels that begins with the name of a column.
    #[error("{}: the first label, '{label}', is the name of a column; remove that line", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Its first label.
        label: String,
    },
    /// Two labels are one class.
    #[error("labels {one:?} and {other:?} are two spellings of one class; give one of them")]
    RepeatedLabel {
        /// The first.
        one: String,
        /// The second.
        other: String,
    },
    /// A table of class names that cannot be used.
    #[error(transparent)]
    Labels(#[from] data::Error),
    /// Neither a sentence with a placeholder for the class nor a file.
    #[error("template {0:?}: expected a sentence with {{}} for the class, or a file")]
    NoPlace(String),
    /// A template file that cannot be used.
    #[error("templates in {}: {reason}", path.display())]
    Templates {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// Text that is not a duration.
    #[error(transparent)]
    NoSpan(data::Error),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A video without frames.
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
    /// The error of the video itself, if it is one.
    #[must_use]
    pub fn video(&self) -> Option<&video::Error> {
        match self {
            Self::Video(error) | Self::Clips(clips::Error::Video(error)) => Some(error),
            Self::Clips(clips::Error::Source(error)) => error.downcast_ref(),
            _ => None,
        }
    }

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
