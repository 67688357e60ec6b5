//! A hook for temporal modules inside the image tower.

use tch::Tensor;

/// Called with the hidden states before each block of the image tower.
///
/// Used by ActionCLIP's temporal shift, and by code that inspects the states.
pub trait BlockHook {
    /// The block's input in place of `tokens`.
    ///
    /// `tokens` is `[N, 1 + patches, width]`, class token first; the result has the same shape.
    fn before_block(&mut self, block: usize, tokens: Tensor) -> Tensor;
}

/// The hook that changes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHook;

impl BlockHook for NoHook {
    fn before_block(&mut self, _block: usize, tokens: Tensor) -> Tensor {
        tokens
    }
}
