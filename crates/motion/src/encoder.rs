//! A trainable transformer encoder of a few layers.

use layers::tch::Tensor;
use layers::tch::nn::Path;
use layers::{
    Activation, FeedForward, LayerNorm, Linear, LinearInit, MultiHeadAttention, NormOrder,
    TransformerLayer,
};

use crate::Result;

const NORM_EPS: f64 = 1e-5;

/// The shape of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// D, width of the tokens.
    pub width: i64,
    /// Number of layers.
    pub layers: i64,
    /// Attention heads per layer; a divisor of `width`.
    pub heads: i64,
    /// Hidden width of a layer's feed-forward network.
    pub ffn_dim: i64,
    /// Its activation.
    pub activation: Activation,
    /// The position of the layer norms.
    pub norm: NormOrder,
    /// Dropout probability, in training.
    pub dropout: f64,
    /// Whether attention and feed-forward network start with zero output.
    pub identity: bool,
}

/// T_m or T_s of Eq. 5: multi-head self-attention and a feed-forward network, each with a
/// residual and a layer norm, as often as there are layers; no norm after the last.
#[derive(Debug)]
pub struct Encoder {
    layers: Vec<TransformerLayer>,
}

impl Encoder {
    /// An encoder with its first layer at `path`, each further one N at `path.layers.N`.
    ///
    /// # Errors
    /// [`crate::Error::Layers`] if `heads` does not divide the width, or a parameter cannot be
    /// allocated.
    pub fn new(path: &Path<'_>, config: &EncoderConfig) -> Result<Self> {
        let layers = (0..config.layers)
            .map(|index| match index {
                0 => layer(path, config),
                _ => layer(&(path / "layers" / index), config),
            })
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// Maps `[B, L, D]` to the same shape; `train` enables dropout.
    ///
    /// # Errors
    /// [`crate::Error::Layers`] for tokens of another shape.
    pub fn forward(&self, tokens: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = tokens.shallow_clone();
        for layer in &self.layers {
            x = layer.forward(&x, train)?;
        }
        Ok(x)
    }
}

fn layer(path: &Path<'_>, config: &EncoderConfig) -> Result<TransformerLayer> {
    let (width, hidden) = (config.width, config.ffn_dim);
    let last = |init| match config.identity {
        true => LinearInit::Zero,
        false => init,
    };
    let out_init = last(LinearInit::UniformZeroBias);
    Ok(TransformerLayer {
        attention: MultiHeadAttention::new(path, width, config.heads, out_init)?,
        feed_forward: FeedForward {
            linear1: Linear::new(&(path / "linear1"), width, hidden, LinearInit::Uniform)?,
            activation: config.activation,
            linear2: Linear::new(
                &(path / "linear2"),
                hidden,
                width,
                last(LinearInit::Uniform),
            )?,
        },
        norm1: LayerNorm::new(&(path / "norm1"), width, NORM_EPS)?,
        norm2: LayerNorm::new(&(path / "norm2"), width, NORM_EPS)?,
        order: config.norm,
        dropout: config.dropout,
    })
}
