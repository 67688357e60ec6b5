//! Errors of an optimizer.

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A state or a gradient that does not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A saved state of other parameters.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// The tensor.
        what: String,
        /// The expected shape.
        expected: String,
        /// The shape in the saved state.
        got: String,
    },
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
