//! What can go wrong, with what was expected and what was found.

use std::path::PathBuf;

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor of the wrong shape was handed in.
    #[error("{op}: expected {expected}, got {got:?}")]
    Shape {
        /// The operation that refused.
        op: &'static str,
        /// The shape it takes.
        expected: String,
        /// The shape it was given.
        got: Vec<i64>,
    },
    /// A configuration that describes no model.
    #[error("config: {field} is {got}; expected {expected}")]
    Config {
        /// The field, with its path inside the configuration.
        field: String,
        /// What the field may hold.
        expected: String,
        /// What it holds.
        got: String,
    },
    /// A parameter that the model needs is not there.
    #[error("weights: {name} {shape:?} is missing")]
    MissingParameter {
        /// The parameter's name, in Hugging Face's spelling.
        name: String,
        /// The shape the configuration asks for.
        shape: Vec<i64>,
    },
    /// A parameter has another shape than the configuration asks for.
    #[error("weights: {name} should be {expected:?}, is {got:?}")]
    ParameterShape {
        /// The parameter's name, in Hugging Face's spelling.
        name: String,
        /// The shape the configuration asks for.
        expected: Vec<i64>,
        /// The shape found.
        got: Vec<i64>,
    },
    /// A file could not be used.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file is not what it should be: cut off, damaged or made to do harm.
    #[error("{}: {item}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The part of it that was refused.
        item: String,
        /// Why.
        reason: String,
    },
    /// A configuration file holds a value that is impossible or of the wrong type.
    #[error("{}: {field} is {got}; expected {expected}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// The field, with its path inside the file.
        field: String,
        /// What it may hold.
        expected: String,
        /// What it holds.
        got: String,
    },
    /// A checkpoint of an architecture that is not built here.
    #[error("{}: {item}: {what} is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field or parameter that gives it away.
        item: String,
        /// What it is.
        what: String,
    },
    /// There is no checkpoint at a place, or a part of it is missing.
    #[error("{}: no checkpoint there: expected {expected}", path.display())]
    NoCheckpoint {
        /// The file or folder asked for.
        path: PathBuf,
        /// What would have been taken.
        expected: String,
    },
    /// A checkpoint's parameters are not those of its configuration.
    #[error("{}: {}", path.display(), differences(missing, unused, wrong))]
    Parameters {
        /// The file, or the folder of several.
        path: PathBuf,
        /// Parameters the configuration asks for that are not there, in Hugging Face's spelling.
        missing: Vec<String>,
        /// Parameters that are there and belong to nothing.
        unused: Vec<String>,
        /// Parameters of the wrong shape or element type, each with what was expected and got.
        wrong: Vec<String>,
    },
    /// A checkpoint on a hub that is neither cached nor can be fetched, or a cached file that is
    /// damaged.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// No vocabulary for a checkpoint that brings none.
    #[error(
        "no tokenizer: {} is not there; name a tokenizer.json, a vocab.json beside its merges.txt, or OpenAI's bpe_simple_vocab_16e6.txt.gz",
        path.display()
    )]
    NoTokenizer {
        /// Where the vocabulary was looked for.
        path: PathBuf,
    },
    /// A precision that the device cannot compute in.
    #[error("{kind:?} on {device:?}: expected fp32 or bf16, or fp16 on CUDA")]
    Precision {
        /// The precision asked for.
        kind: tch::Kind,
        /// The device.
        device: tch::Device,
    },
    /// A file that cannot be mapped.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A picture that cannot be resized.
    #[error(transparent)]
    Picture(#[from] pixels::Error),
    /// libtorch refused an operation, for want of memory as a rule.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// Missing, unused and wrong parameters in one sentence each.
fn differences(missing: &[String], unused: &[String], wrong: &[String]) -> String {
    const SHOWN: usize = 20;
    let sentence = |what: &str, names: &[String]| {
        let more = names.len().saturating_sub(SHOWN);
        let shown = names[..names.len() - more].join(", ");
        match (names.len(), more) {
            (0, _) => None,
            (count, 0) => Some(format!("{count} {what}: {shown}")),
            (count, more) => Some(format!("{count} {what}: {shown} and {more} more")),
        }
    };
    [
        sentence("parameters are missing", missing),
        sentence("parameters belong to nothing", unused),
        sentence("parameters are wrong", wrong),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}
