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
    /// libtorch refused an operation, for want of memory as a rule.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}
