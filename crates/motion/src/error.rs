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
    /// A configuration that describes no block.
    #[error("motion.{field} is {got}; expected {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it may hold.
        expected: String,
        /// What it holds.
        got: String,
    },
    /// A layer could not be built, or was given a tensor that does not fit.
    #[error(transparent)]
    Layers(#[from] layers::Error),
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] layers::tch::TchError),
}

/// Refuses a field.
pub(crate) fn invalid(
    field: &'static str,
    expected: impl Into<String>,
    got: impl ToString,
) -> Error {
    Error::Config {
        field,
        expected: expected.into(),
        got: got.to_string(),
    }
}
