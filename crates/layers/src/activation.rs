//! Non-linearities.

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// The constant in [`Activation::QuickGelu`].
pub const QUICK_GELU: f64 = 1.702;

/// The non-linearity of a feed-forward network; in a configuration `relu`, `quick_gelu`, `gelu` or
/// `gelu_tanh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(0, x), as in "Attention Is All You Need".
    Relu,
    /// x · σ(1.702 x), as in OpenAI's CLIP.
    QuickGelu,
    /// The exact GELU, as in most of `open_clip`'s checkpoints.
    Gelu,
    /// GELU's tanh approximation.
    GeluTanh,
}

impl Activation {
    /// Applies it element-wise.
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Self::Relu => x.relu(),
            Self::QuickGelu => x * (x * QUICK_GELU).sigmoid(),
            Self::Gelu => x.gelu("none"),
            Self::GeluTanh => x.gelu("tanh"),
        }
    }
}
