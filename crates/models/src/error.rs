//! What can go wrong, with what was expected and what was found.

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
    #[error("{field} is {got}; expected {expected}")]
    Config {
        /// The field, with its path inside the configuration.
        field: &'static str,
        /// What it may hold.
        expected: String,
        /// What it holds.
        got: String,
    },
    /// A target is no class of the task.
    #[error("target class: expected 0 to {most}, got {got}")]
    TargetClass {
        /// K - 1.
        most: i64,
        /// The class given.
        got: i64,
    },
    /// A frozen model was asked to learn.
    #[error("{model} is frozen: it has no loss to train by")]
    Frozen {
        /// The model.
        model: &'static str,
    },
    /// The backbone failed.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// The motion modelling block failed.
    #[error(transparent)]
    Motion(#[from] motion::Error),
    /// The prompts failed.
    #[error(transparent)]
    Prompts(#[from] prompts::Error),
    /// The communication block failed.
    #[error(transparent)]
    Mcb(#[from] mcb::Error),
    /// A layer could not be built, or was given a tensor that does not fit.
    #[error(transparent)]
    Layers(#[from] layers::Error),
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl Error {
    /// Of a field of a configuration that describes no model: its dotted path in the model's
    /// configuration, what was expected, and what came.
    pub fn field(&self) -> Option<(String, &str, &str)> {
        let (part, field, expected, got) = match self {
            Self::Config {
                field,
                expected,
                got,
            } => ("", field, expected, got),
            Self::Motion(motion::Error::Config {
                field,
                expected,
                got,
            }) => ("motion.", field, expected, got),
            Self::Prompts(prompts::Error::Config {
                field,
                expected,
                got,
            }) => ("prompts.", field, expected, got),
            Self::Mcb(mcb::Error::Config {
                field,
                expected,
                got,
            }) => ("communication.", field, expected, got),
            _ => return None,
        };
        Some((format!("{part}{field}"), expected, got))
    }
}
