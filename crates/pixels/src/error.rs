//! Errors, with the operation, the expected and the actual value.

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Invalid pictures and options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of range.
    #[error("{name}: expected {expected}, got {got}")]
    Option {
        /// The option.
        name: &'static str,
        /// Its range.
        expected: String,
        /// Its value.
        got: String,
    },

    /// A picture does not have the size required by an operation.
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
