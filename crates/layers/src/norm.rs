//! Layer normalisation.

use tch::Tensor;
use tch::nn::Path;

use crate::Result;

/// Layer normalisation over the last dimension, with gain and shift.
#[derive(Debug)]
pub struct LayerNorm {
    /// `[width]`
    pub weight: Tensor,
    /// `[width]`
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// A trainable norm with its parameters at `path.weight`, ones, and `path.bias`, zeros.
    ///
    /// # Errors
    /// [`Error::Torch`](crate::Error::Torch) if a parameter cannot be allocated.
    pub fn new(path: &Path<'_>, width: i64, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: path.f_ones("weight", &[width])?,
            bias: path.f_zeros("bias", &[width])?,
            eps,
        })
    }

    /// Maps `[.., width]` to the same shape. A tensor of another width panics, as in all of tch's
    /// operators.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        x.layer_norm(self.weight.size(), weight, bias, self.eps, false)
    }

    /// The same parameters, shared.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
            eps: self.eps,
        }
    }
}
