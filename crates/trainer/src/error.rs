//! The errors of this crate, with the expected and the actual value.

use std::path::{Path, PathBuf};

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read, written, synced or renamed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// An unknown configuration key.
    #[error("config: unknown key `{key}` in {origin}{}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// The key, dotted.
        key: String,
        /// The file or option that names it.
        origin: String,
        /// The nearest known key.
        nearest: Option<String>,
    },
    /// An invalid configuration value.
    #[error("{}: expected {expected}", typed(key, got))]
    Value {
        /// The key, dotted.
        key: String,
        /// The expected value.
        expected: String,
        /// The actual value; empty if there is none.
        got: String,
    },
    /// Malformed TOML, JSON or `key=value`.
    #[error("{origin}: {reason}")]
    Syntax {
        /// The file or option.
        origin: String,
        /// The parser's message.
        reason: String,
    },
    /// A checkpoint that is damaged or does not match.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The expected and the actual value.
        reason: String,
    },
    /// The loss or a gradient is not finite.
    #[error(
        "step {step}: the {what} is {value}{whose}; the last good checkpoint is kept. \
         A smaller `--set train.learning_rate=…` or a `--set train.clip_norm=…` usually helps"
    )]
    NotFinite {
        /// The failed step.
        step: u64,
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// Its value.
        value: f64,
        /// ` on rank 1 (...)`, the processes it comes from, if several train.
        whose: String,
    },
    /// A folder that is not on a disk that all processes share.
    #[error(
        "{} on {others} is not that of {first}: put it on a disk that all ranks share",
        folder.display()
    )]
    NotShared {
        /// The folder.
        folder: PathBuf,
        /// Rank 0.
        first: String,
        /// The ranks that see another.
        others: String,
    },
    /// The group of processes.
    #[error(transparent)]
    Dist(#[from] dist::Error),
    /// Lengths, counts or classes that do not match.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// The quantity.
        what: String,
        /// The expected value.
        expected: String,
        /// The actual value.
        got: String,
    },
    /// A folder that holds a run with other inputs than the one asked for.
    #[error("{} holds another run:\n{}", folder.display(), indented(differences))]
    OtherRun {
        /// The run's folder.
        folder: PathBuf,
        /// One line per difference.
        differences: Vec<String>,
    },
    /// A folder for new files that holds others.
    #[error("{}: expected a new or an empty folder, got one with files", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process works in the run's folder.
    #[error("{}: another process is training there; wait for it, or choose another folder", folder.display())]
    InUse {
        /// The run's folder.
        folder: PathBuf,
    },
    /// A folder without a finished run.
    #[error("{path}: {reason}")]
    NoResult {
        /// The folder or the result's file.
        path: PathBuf,
        /// The missing or invalid part.
        reason: String,
    },
    /// A curve that cannot be drawn.
    #[error("cannot draw {what}: {reason}")]
    Picture {
        /// The curve.
        what: String,
        /// The library's message.
        reason: String,
    },
    /// The data set.
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
    /// Threads cannot be started.
    #[error(transparent)]
    Threads(#[from] parallel::Error),
    /// The model.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// The backbone.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl Error {
    /// Adds operation and path to an I/O error.
    pub(crate) fn file(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let named = disk::Error::of(op, path);
        move |error| Self::Disk(named(error))
    }

    pub(crate) fn other_run(folder: &Path, differences: Vec<String>) -> Self {
        Self::OtherRun {
            folder: folder.into(),
            differences,
        }
    }

    /// [`Error::Mismatch`] from anything printable.
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

fn indented(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// A key and its value as one types them.
fn typed(key: &str, got: &str) -> String {
    match got {
        "" => format!("`--set {key}=…` is missing"),
        _ if got.contains(|c: char| c.is_whitespace() || "\"'[]{}".contains(c)) => {
            format!("`--set '{key}={got}'`")
        }
        _ => format!("`--set {key}={got}`"),
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
