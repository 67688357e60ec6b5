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
    #[error("mcb.{field} is {got}; expected {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it may hold.
        expected: String,
        /// What it holds.
        got: String,
    },
    /// The configured form of SMA reads tokens that were not handed in.
    #[error("SMA over {sma_kv:?}: expected {missing} tokens, got none")]
    MissingTokens {
        /// What SMA was to read.
        sma_kv: crate::SmaKeys,
        /// Which tokens are missing.
        missing: &'static str,
    },
    /// A layer could not be built, or was given a tensor that does not fit.
    #[error(transparent)]
    Layers(#[from] layers::Error),
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] layers::tch::TchError),
}
