//! What can go wrong, with what was expected and what was found.

use std::path::{Path, PathBuf};

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read, written, synced or renamed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A configuration key that does not exist.
    #[error("config: unknown key `{key}` in {origin}{}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// The key, dotted.
        key: String,
        /// The file or option that names it.
        origin: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A configuration value that cannot be used.
    #[error("config: {key} is {got}; expected {expected}")]
    Value {
        /// The key, dotted.
        key: String,
        /// What it may hold.
        expected: String,
        /// What it holds.
        got: String,
    },
    /// Text that is not TOML, JSON or `key=value`.
    #[error("{origin}: {reason}")]
    Syntax {
        /// The file or option.
        origin: String,
        /// What the parser says.
        reason: String,
    },
    /// A checkpoint that does not verify or does not fit.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// The loss or a gradient is no longer a number.
    #[error(
        "step {step}: the {what} is {value}; the last good checkpoint is kept. \
         A smaller train.learning_rate or a train.clip_norm helps as a rule"
    )]
    NotFinite {
        /// The step that was tried.
        step: u64,
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// What it became.
        value: f64,
    },
    /// Lengths, counts or classes that do not fit each other.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// The thing measured.
        what: String,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A folder without a finished run.
    #[error("{path}: {reason}")]
    NoResult {
        /// The folder or the result's file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A curve that cannot be drawn.
    #[error("cannot draw {what}: {reason}")]
    Picture {
        /// The curve.
        what: String,
        /// What the library says.
        reason: String,
    },
    /// The videos or their lists.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A picture.
    #[error(transparent)]
    Pixels(#[from] pixels::Error),
    /// A clip, its features or its backbone.
    #[error(transparent)]
    Clips(#[from] clips::Error),
    /// A checkpoint of a run.
    #[error(transparent)]
    Recogniser(#[from] recogniser::Error),
    /// The built-in experiment.
    #[error(transparent)]
    Demo(#[from] demo::Error),
    /// The optimiser.
    #[error(transparent)]
    Optim(#[from] optim::Error),
    /// The model refused.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// The backbone refused.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl Error {
    /// Names the operation and the file of an input or output error.
    pub(crate) fn file(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let named = disk::Error::of(op, path);
        move |error| Self::Disk(named(error))
    }

    /// A value that does not fit.
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

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
