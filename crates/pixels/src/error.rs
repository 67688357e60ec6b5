//! Errors, with the operation, what was expected and what was given.

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Pictures and numbers that do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number given by the caller is out of range.
    #[error("{name}: expected {expected}, got {got}")]
    Option {
        /// The option.
        name: &'static str,
        /// Its range.
        expected: String,
        /// Its value.
        got: String,
    },

    /// A picture does not have the size that an operation needs.
    #[error("{op}: expected {expected}, got {got}")]
    Picture {
        /// The operation.
        op: &'static str,
        /// The size needed.
        expected: String,
        /// The size given.
        got: String,
    },
}
