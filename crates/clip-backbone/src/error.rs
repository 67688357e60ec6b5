//! The errors of this crate, with the expected and the actual value.

use std::path::PathBuf;

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor of the wrong shape was passed in.
    #[error("{op}: expected {expected}, got {got:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The expected shape.
        expected: String,
        /// The given shape.
        got: Vec<i64>,
    },
    /// An invalid configuration.
    #[error("config: {field} is {got}; expected {expected}")]
    Config {
        /// The field, with its path inside the configuration.
        field: String,
        /// The allowed values.
        expected: String,
        /// The given value.
        got: String,
    },
    /// A parameter that the model needs is missing.
    #[error("weights: {name} {shape:?} is missing")]
    MissingParameter {
        /// The parameter's name, in Hugging Face's spelling.
        name: String,
        /// The shape required by the configuration.
        shape: Vec<i64>,
    },
    /// A parameter does not have the shape required by the configuration.
    #[error("weights: {name} should be {expected:?}, is {got:?}")]
    ParameterShape {
        /// The parameter's name, in Hugging Face's spelling.
        name: String,
        /// The shape required by the configuration.
        expected: Vec<i64>,
        /// The actual shape.
        got: Vec<i64>,
    },
    /// A file operation failed.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// The operation.
        op: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is truncated, damaged or malicious.
    #[error("{}: {item}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The faulty part of it.
        item: String,
        /// The fault.
        reason: String,
    },
    /// A file is shorter than it says.
    #[error("{}: cut off: {got} bytes {rest}", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        got: u64,
        /// The length that it should have, `of N` or `of at least N`, or the part that is missing.
        rest: String,
    },
    /// A file is something else: empty, a directory, a git-lfs pointer, a web page, another
    /// library's format.
    #[error("{}: {found}", path.display())]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// A configuration file holds a value that is impossible or of the wrong type.
    #[error("{}: {field} is {got}; expected {expected}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// The field, with its path inside the file.
        field: String,
        /// The allowed values.
        expected: String,
        /// The given value.
        got: String,
    },
    /// A checkpoint of an unsupported architecture.
    #[error("{}: {item}: {what} is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field or parameter that shows it.
        item: String,
        /// The unsupported feature.
        what: String,
    },
    /// There is no checkpoint at a path, or a part of it is missing.
    #[error("{}: no checkpoint found: expected {expected}", path.display())]
    NoCheckpoint {
        /// The requested file or folder.
        path: PathBuf,
        /// The accepted files.
        expected: String,
    },
    /// Weights that come without a configuration, and none was given.
    #[error(
        "{}: weights without a configuration: they do not state attention heads and activation{}",
        path.display(),
        like.map_or_else(String::new, |name| format!("; their shape is that of {name}"))
    )]
    NoArchitecture {
        /// The file.
        path: PathBuf,
        /// The preset with the same shapes.
        like: Option<&'static str>,
    },
    /// A checkpoint's parameters do not match its configuration.
    #[error("{}: {}", path.display(), differences(missing, unused, wrong))]
    Parameters {
        /// The file, or the folder of several.
        path: PathBuf,
        /// Missing parameters, in the file's spelling.
        missing: Vec<String>,
        /// Unexpected parameters.
        unused: Vec<String>,
        /// Parameters of the wrong shape or element type, each with expected and actual value.
        wrong: Vec<String>,
    },
    /// A checkpoint on a hub that is neither cached nor can be fetched, or a cached file that is
    /// damaged.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// No vocabulary for a checkpoint without one.
    #[error(
        "no tokenizer: {} does not exist; give a tokenizer.json, a vocab.json beside its merges.txt, or OpenAI's bpe_simple_vocab_16e6.txt.gz",
        path.display()
    )]
    NoTokenizer {
        /// The path searched for the vocabulary.
        path: PathBuf,
    },
    /// A parameter with numbers that are not finite.
    #[error(
        "{}{name} holds numbers that are not finite (NaN or infinite) or too large to compute \
         with{}",
        path.as_deref().map_or_else(String::new, |path| format!("{}: ", path.display())),
        in_kind(*kind)
    )]
    NotFinite {
        /// Its file, if it is not from memory.
        path: Option<PathBuf>,
        /// The first such parameter, as its file spells it.
        name: String,
        /// The precision it was read in.
        kind: tch::Kind,
    },
    /// A precision that the device cannot compute in.
    #[error("{kind:?} on {device:?}: expected fp32 or bf16, or fp16 on CUDA")]
    Precision {
        /// The requested precision.
        kind: tch::Kind,
        /// The device.
        device: tch::Device,
    },
    /// A picture that cannot be resized.
    #[error(transparent)]
    Picture(#[from] pixels::Error),
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// The precision, if the numbers may be finite in a wider one.
fn in_kind(kind: tch::Kind) -> &'static str {
    match kind {
        tch::Kind::Half => " in fp16",
        _ => "",
    }
}

/// Lists missing, unused and wrong parameters.
fn differences(missing: &[String], unused: &[String], wrong: &[String]) -> String {
    const SHOWN: usize = 5;
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
        sentence("missing parameters", missing),
        sentence("unexpected parameters", unused),
        sentence("wrong parameters", wrong),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}
