//! Errors, with expected and actual values.

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has the wrong shape.
    #[error("{op}: expected {expected}, got {got:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The expected shape.
        expected: String,
        /// The actual shape.
        got: Vec<i64>,
    },
    /// An invalid configuration.
    #[error("{field} is {got:?}; expected {expected}")]
    Config {
        /// The field, with its path inside the configuration.
        field: &'static str,
        /// Its valid values.
        expected: String,
        /// Its value.
        got: String,
    },
    /// An exchange with the processes that compute the same batch failed.
    #[error("the other processes: {0}")]
    Mates(String),
    /// A template that leaves the labels no room.
    #[error(
        "template {template:?} has {tokens} tokens of the {most} that fit, so that labels {:?} and \
         {:?} are the same; shorten it",
        labels[0], labels[1]
    )]
    TemplateLength {
        /// The template.
        template: String,
        /// Its tokens without a label.
        tokens: i64,
        /// The tokens that fit.
        most: usize,
        /// Two labels that become the same.
        labels: [String; 2],
    },
    /// Features or scores that are not finite.
    #[error("{tensor}: not finite (NaN or infinite)")]
    NotFinite {
        /// The first such tensor on the way to the scores.
        tensor: &'static str,
    },
    /// A target is not a class of the task.
    #[error("target class: expected 0 to {most}, got {got}")]
    TargetClass {
        /// K - 1.
        most: i64,
        /// The actual class.
        got: i64,
    },
    /// A solved head has no training clip of a class.
    #[error("label {label:?} has no training clip; expected at least 1 of every label")]
    NoClips {
        /// The label.
        label: String,
    },
    /// A frozen model cannot be trained.
    #[error("{model} is frozen: it has no training loss")]
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
    /// A layer could not be built, or its input does not fit.
    #[error(transparent)]
    Layers(#[from] layers::Error),
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl Error {
    /// For a field of an invalid configuration: its dotted path in the model's
    /// configuration, the expected and the actual value.
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
