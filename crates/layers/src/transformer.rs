//! A transformer's encoder layer.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::attention::drop_elements;
use crate::error::expect_tokens;
use crate::{FeedForward, LayerNorm, MultiHeadAttention, Result};

/// The position of a layer's norms; in a configuration `post` or `pre`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormOrder {
    /// norm(x + f(x)), as in "Attention Is All You Need".
    Post,
    /// x + f(norm(x)), as in CLIP.
    Pre,
}

/// Self-attention and a feed-forward network, each with a residual and a layer norm.
///
/// The caller makes the parts, so that their parameters have the names that its checkpoints use.
#[derive(Debug)]
pub struct TransformerLayer {
    /// The attention.
    pub attention: MultiHeadAttention,
    /// The attention's norm.
    pub norm1: LayerNorm,
    /// The feed-forward network.
    pub feed_forward: FeedForward,
    /// The feed-forward network's norm.
    pub norm2: LayerNorm,
    /// Whether the norms precede or follow.
    pub order: NormOrder,
    /// The probability of dropping an attention weight, a hidden unit or an element of a residual
    /// branch in training: 0 to below 1.
    pub dropout: f64,
}

impl TransformerLayer {
    /// Maps `[B, L, width]` to the same shape; `train` turns dropout on.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for tokens of another shape.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        expect_tokens("transformer layer", x, self.attention.width())?;
        let dropout = if train { self.dropout } else { 0.0 };
        let attention = |x: &Tensor| -> Result<Tensor> {
            let mixed = self.attention.forward(x, dropout)?;
            Ok(drop_elements(mixed, dropout))
        };
        let feed_forward =
            |x: &Tensor| drop_elements(self.feed_forward.forward(x, dropout), dropout);
        Ok(match self.order {
            NormOrder::Post => {
                let x = self.norm1.forward(&(x + attention(x)?));
                self.norm2.forward(&(&x + feed_forward(&x)))
            }
            NormOrder::Pre => {
                let x = x + attention(&self.norm1.forward(x))?;
                &x + feed_forward(&self.norm2.forward(&x))
            }
        })
    }
}
