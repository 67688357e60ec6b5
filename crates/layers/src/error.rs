//! The errors of this crate, with the expected and the actual value.

use tch::Tensor;

use crate::Result;

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
    /// The width of an attention cannot be split evenly into its heads.
    #[error("heads: expected a divisor of the width {width}, got {heads}")]
    Heads {
        /// The width.
        width: i64,
        /// The requested number of heads.
        heads: i64,
    },
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// `[B, L, width]` with B, L >= 1, or an error in the name of `op`.
pub(crate) fn expect_tokens(op: &'static str, tokens: &Tensor, width: i64) -> Result<()> {
    let got = tokens.size();
    match got[..] {
        [1..=i64::MAX, 1..=i64::MAX, last] if last == width => Ok(()),
        _ => Err(Error::Shape {
            op,
            expected: format!("[B, L, {width}] with B, L >= 1"),
            got,
        }),
    }
}
