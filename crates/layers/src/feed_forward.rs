//! The feed-forward network of a transformer layer.

use tch::Tensor;

use crate::attention::drop_elements;
use crate::{Activation, Linear};

/// Linear, activation, linear.
#[derive(Debug)]
pub struct FeedForward {
    /// To the hidden width.
    pub linear1: Linear,
    /// The non-linearity between the two.
    pub activation: Activation,
    /// Back to the outer width.
    pub linear2: Linear,
}

impl FeedForward {
    /// Maps `[.., in]` to `[.., out]`, without a residual. Each hidden unit is dropped with
    /// probability `dropout`; 0 outside training. A tensor of another width panics, as in all of
    /// tch's operators.
    pub fn forward(&self, x: &Tensor, dropout: f64) -> Tensor {
        let hidden = self.activation.apply(&self.linear1.forward(x));
        self.linear2.forward(&drop_elements(hidden, dropout))
    }
}
