//! The function that every head fits.

use tch::Tensor;

/// Scores a unit-length feature x: x W + b, plus the cache's share if there is one.
#[derive(Debug)]
pub(super) struct Scorer {
    /// W, `[D, K]`.
    pub weights: Tensor,
    /// b, `[K]`, if not zero.
    pub bias: Option<Tensor>,
    /// The training clips that are looked up.
    pub cache: Option<Cache>,
}

/// Adds exp(-β (1 - x keysᵀ)) values.
#[derive(Debug)]
pub(super) struct Cache {
    /// `[N, D]`
    pub keys: Tensor,
    /// `[N, K]`
    pub values: Tensor,
    /// β
    pub sharpness: f64,
}

impl Scorer {
    /// Scores of `x`, `[B, D]`, before softmax: `[B, K]`.
    pub(super) fn logits(&self, x: &Tensor) -> Tensor {
        let mut logits = x.matmul(&self.weights);
        if let Some(bias) = &self.bias {
            logits += bias;
        }
        if let Some(cache) = &self.cache {
            logits += affinity(x, &cache.keys, cache.sharpness).matmul(&cache.values);
        }
        logits
    }

    /// The same tensors.
    pub(super) fn shallow_clone(&self) -> Self {
        Self {
            weights: self.weights.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            cache: self.cache.as_ref().map(|cache| Cache {
                keys: cache.keys.shallow_clone(),
                values: cache.values.shallow_clone(),
                sharpness: cache.sharpness,
            }),
        }
    }

    /// The same with its scores multiplied by `factor`.
    pub(super) fn scaled(self, factor: f64) -> Self {
        Self {
            weights: self.weights * factor,
            bias: self.bias.map(|bias| bias * factor),
            cache: self.cache.map(|cache| Cache {
                values: cache.values * factor,
                ..cache
            }),
        }
    }
}

/// exp(-β (1 - cos)) of unit-length features: `[B, N]`.
pub(super) fn affinity(x: &Tensor, keys: &Tensor, sharpness: f64) -> Tensor {
    ((x.matmul(&keys.tr()) - 1.0) * sharpness).exp()
}
