//! A transformer encoder of a few layers that learns.

use clip_backbone::layers::{self, split_heads};
use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

use crate::Result;
use crate::config::{Activation, NormOrder};

const NORM_EPS: f64 = 1e-5;

/// The shape of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// D, width of the tokens.
    pub width: i64,
    /// Number of layers.
    pub layers: i64,
    /// Attention heads a layer; a divisor of `width`.
    pub heads: i64,
    /// Hidden width of a layer's feed-forward network.
    pub ffn_dim: i64,
    /// Its activation.
    pub activation: Activation,
    /// Where the layer norms stand.
    pub norm: NormOrder,
    /// Probability of dropping, in training.
    pub dropout: f64,
    /// Whether attention and feed-forward network start by adding nothing.
    pub identity: bool,
}

/// T_m or T_s of Eq. 5: multi-head self-attention and a feed-forward network, each with a
/// residual and a layer norm, as often as there are layers; no norm after the last.
#[derive(Debug)]
pub struct Encoder {
    layers: Vec<Layer>,
}

impl Encoder {
    /// An encoder whose first layer lies at `path`, each further one N at `path.layers.N`.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where libtorch cannot make a parameter.
    pub fn new(path: &Path<'_>, config: &EncoderConfig) -> Result<Self> {
        let layers = (0..config.layers)
            .map(|index| match index {
                0 => Layer::new(path, config),
                _ => Layer::new(&(path / "layers" / index), config),
            })
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// Maps `[B, L, D]` to the same shape; `train` turns dropout on.
    pub fn forward(&self, tokens: &Tensor, train: bool) -> Tensor {
        let mut x = tokens.shallow_clone();
        for layer in &self.layers {
            x = layer.forward(&x, train);
        }
        x
    }
}

#[derive(Debug)]
struct Layer {
    /// `[3 D, D]`: queries, keys, values.
    in_proj_weight: Tensor,
    in_proj_bias: Tensor,
    out_proj: Linear,
    linear1: Linear,
    linear2: Linear,
    norm1: Norm,
    norm2: Norm,
    activation: layers::Activation,
    norm: NormOrder,
    heads: i64,
    dropout: f64,
}

impl Layer {
    fn new(path: &Path<'_>, config: &EncoderConfig) -> Result<Self> {
        let width = config.width;
        // Glorot's bound over the fused matrix, as torch's attention has it.
        let bound = (6.0 / (4 * width) as f64).sqrt();
        let glorot = Init::Uniform {
            lo: -bound,
            up: bound,
        };
        let last = |start| match config.identity {
            true => Start::Zero,
            false => start,
        };
        Ok(Self {
            in_proj_weight: path.f_var("in_proj_weight", &[3 * width, width], glorot)?,
            in_proj_bias: path.f_zeros("in_proj_bias", &[3 * width])?,
            out_proj: Linear::new(&(path / "out_proj"), width, width, last(Start::ZeroBias))?,
            linear1: Linear::new(&(path / "linear1"), width, config.ffn_dim, Start::Uniform)?,
            linear2: Linear::new(
                &(path / "linear2"),
                config.ffn_dim,
                width,
                last(Start::Uniform),
            )?,
            norm1: Norm::new(&(path / "norm1"), width)?,
            norm2: Norm::new(&(path / "norm2"), width)?,
            activation: config.activation.into(),
            norm: config.norm,
            heads: config.heads,
            dropout: config.dropout,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        match self.norm {
            NormOrder::Post => {
                let x = self.norm1.forward(&(x + self.attention(x, train)));
                self.norm2.forward(&(&x + self.feed_forward(&x, train)))
            }
            NormOrder::Pre => {
                let x = x + self.attention(&self.norm1.forward(x), train);
                &x + self.feed_forward(&self.norm2.forward(&x), train)
            }
        }
    }

    fn attention(&self, x: &Tensor, train: bool) -> Tensor {
        let width = self.in_proj_bias.size()[0] / 3;
        let qkv = x.linear(&self.in_proj_weight, Some(&self.in_proj_bias)); // (B, L, 3 D)
        let part = |i: i64| split_heads(&qkv.narrow(2, i * width, width), self.heads);
        let (q, k, v) = (part(0), part(1), part(2)); // (B, h, L, d)
        let scale = ((width / self.heads) as f64).powf(-0.5);
        let scores = (q * scale).matmul(&k.transpose(-2, -1));
        let weights = self.drop(scores.softmax(-1, Kind::Float), train);
        let mixed = layers::join_heads(&weights.matmul(&v)); // (B, L, D)
        self.drop(self.out_proj.forward(&mixed), train)
    }

    fn feed_forward(&self, x: &Tensor, train: bool) -> Tensor {
        let hidden = self.activation.apply(&self.linear1.forward(x));
        self.drop(self.linear2.forward(&self.drop(hidden, train)), train)
    }

    fn drop(&self, x: Tensor, train: bool) -> Tensor {
        if train && self.dropout > 0.0 {
            x.dropout(self.dropout, true)
        } else {
            x
        }
    }
}

/// How a linear map starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Weight and bias uniform within 1 / √inputs.
    Uniform,
    /// The weight so, the bias at zero.
    ZeroBias,
    /// Both at zero.
    Zero,
}

/// y = x Wᵀ + b.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn new(path: &Path<'_>, inputs: i64, outputs: i64, start: Start) -> Result<Self> {
        let bound = (inputs as f64).powf(-0.5);
        let uniform = Init::Uniform {
            lo: -bound,
            up: bound,
        };
        let zero = Init::Const(0.0);
        let (weight, bias) = match start {
            Start::Uniform => (uniform, uniform),
            Start::ZeroBias => (uniform, zero),
            Start::Zero => (zero, zero),
        };
        Ok(Self {
            weight: path.f_var("weight", &[outputs, inputs], weight)?,
            bias: path.f_var("bias", &[outputs], bias)?,
        })
    }

    /// Takes first values; a bias that is not given stays as it is.
    pub(crate) fn start(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.weight.shallow_clone().f_copy_(weight)?;
        if let Some(bias) = bias {
            self.bias.shallow_clone().f_copy_(bias)?;
        }
        Ok(())
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(path: &Path<'_>, width: i64) -> Result<Self> {
        Ok(Self {
            weight: path.f_ones("weight", &[width])?,
            bias: path.f_zeros("bias", &[width])?,
        })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        x.layer_norm(self.weight.size(), weight, bias, NORM_EPS, false)
    }
}
