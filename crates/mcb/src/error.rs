//! The errors of this crate, with the expected and the actual value.

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
    #[error("mcb.{field} is {got}; expected {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// The allowed values.
        expected: String,
        /// The given value.
        got: String,
    },
    /// The configured form of SMA reads tokens that were not passed in.
    #[error("SMA over {sma_kv:?}: expected {missing} tokens, got none")]
    MissingTokens {
        /// The configured keys and values of SMA.
        sma_kv: crate::SmaKeys,
        /// The missing tokens.
        missing: &'static str,
    },
    /// A layer could not be built, or was given a tensor that does not fit.
    #[error(transparent)]
    Layers(#[from] layers::Error),
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] layers::tch::TchError),
}
