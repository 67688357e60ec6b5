//! The temporal heads: T frame features to one video feature.

use clip_backbone::layers::{Activation, attend, join_heads, split_heads};
use serde::{Deserialize, Serialize};
use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Layers of the two transformers.
const LAYERS: i64 = 6;
/// Rows of the position table of [`Head::Transformer`]: CLIP's context length.
const POSITIONS: i64 = 77;
/// Feed-forward width and dropout of [`Head::TransformerCls`], torch's defaults.
const CLS_FFN: i64 = 2048;
const CLS_DROPOUT: f64 = 0.1;
/// Spread of weights and positions at the start.
const STD: f64 = 0.02;

/// Which temporal head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// The mean over the frames.
    Mean,
    /// A depthwise convolution over time that starts as a temporal shift; residual; mean.
    Conv1d,
    /// One recurrent layer; residual; mean.
    Lstm,
    /// Six pre-norm blocks over the frames and their positions; residual; mean.
    Transformer,
    /// A class token through six post-norm layers.
    TransformerCls,
}

impl Head {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Mean,
        Self::Conv1d,
        Self::Lstm,
        Self::Transformer,
        Self::TransformerCls,
    ];
}

impl std::fmt::Display for Head {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Mean => "mean",
            Self::Conv1d => "conv1d",
            Self::Lstm => "lstm",
            Self::Transformer => "transformer",
            Self::TransformerCls => "transformer_cls",
        })
    }
}

/// A temporal head with its parameters, named as in the official `fusion_model_state_dict`.
#[derive(Debug)]
pub struct TemporalHead {
    form: Form,
    width: i64,
    frames: i64,
}

#[derive(Debug)]
enum Form {
    Mean,
    Conv1d(Tensor),
    Lstm([Tensor; 4]),
    Transformer {
        positions: Tensor,
        blocks: Vec<PreNormBlock>,
    },
    TransformerCls {
        class: Tensor,
        positions: Tensor,
        layers: Vec<PostNormLayer>,
        norm: Norm,
    },
}

impl TemporalHead {
    /// A head over `frames` (T) features of `width` (D).
    ///
    /// # Errors
    /// [`Error::Config`] where a size is out of range or the width cannot be split in heads.
    pub fn new(path: &Path<'_>, head: Head, frames: i64, width: i64) -> Result<Self> {
        let most = if head == Head::Transformer {
            POSITIONS
        } else {
            1 << 16
        };
        if !(1..=most).contains(&frames) {
            return Err(invalid("frames", format!("1 to {most}"), frames));
        }
        if !(1..=1 << 20).contains(&width) {
            return Err(invalid("width", "1 to 1,048,576", width));
        }
        let form = match head {
            Head::Mean => Form::Mean,
            Head::Conv1d => Form::Conv1d(temporal_shift(&(path / "shift"), width)?),
            Head::Lstm => Form::Lstm(lstm(&(path / "lstm_visual"), width)?),
            Head::Transformer => Form::Transformer {
                positions: (path / "frame_position_embeddings").f_var(
                    "weight",
                    &[POSITIONS, width],
                    normal(),
                )?,
                blocks: (0..LAYERS)
                    .map(|i| PreNormBlock::new(&(path / "transformer" / "resblocks" / i), width))
                    .collect::<Result<_>>()?,
            },
            Head::TransformerCls => {
                let at = path / "transformer";
                Form::TransformerCls {
                    class: at.f_var("cls_token", &[1, 1, width], normal())?,
                    positions: at.f_var("pos_embed", &[1, frames + 1, width], normal())?,
                    layers: (0..LAYERS)
                        .map(|i| {
                            let layer = &at / "transformer_enc" / "layers" / i;
                            PostNormLayer::new(&layer, width)
                        })
                        .collect::<Result<_>>()?,
                    norm: Norm::new(&(&at / "transformer_enc" / "norm"), width, 1e-5)?,
                }
            }
        };
        Ok(Self {
            form,
            width,
            frames,
        })
    }

    /// Frame features `[B, T, D]` to video features `[B, D]`; `train` turns dropout on.
    ///
    /// # Errors
    /// [`Error::Shape`] where `frames` is not `[B, T, D]` with B >= 1.
    pub fn forward(&self, frames: &Tensor, train: bool) -> Result<Tensor> {
        let size = frames.size();
        if size.len() != 3 || size[0] < 1 || size[1..] != [self.frames, self.width] {
            return Err(Error::Shape {
                op: "temporal head",
                expected: format!("[B, {}, {}] with B >= 1", self.frames, self.width),
                got: size,
            });
        }
        let batch = size[0];
        let mean = |x: &Tensor| x.mean_dim(1, false, Kind::Float);
        Ok(match &self.form {
            Form::Mean => mean(frames),
            Form::Conv1d(taps) => {
                let by_channel = frames.transpose(1, 2); // (B, D, T)
                let shifted = by_channel
                    .conv1d(taps, None::<&Tensor>, 1, 1, 1, self.width)
                    .transpose(1, 2);
                mean(&(shifted + frames))
            }
            Form::Lstm(parameters) => {
                let zero = Tensor::zeros([1, batch, self.width], (frames.kind(), frames.device()));
                let (states, _, _) = frames.lstm(
                    &[&zero, &zero],
                    &parameters.each_ref(),
                    true,
                    1,
                    0.0,
                    train,
                    false,
                    true,
                );
                mean(&(states + frames))
            }
            Form::Transformer { positions, blocks } => {
                let mut x = frames + positions.narrow(0, 0, self.frames);
                for block in blocks {
                    x = block.forward(&x);
                }
                mean(&(x + frames))
            }
            Form::TransformerCls {
                class,
                positions,
                layers,
                norm,
            } => {
                let class = class.expand([batch, 1, self.width], false);
                let mut x = Tensor::cat(&[&class, frames], 1) + positions; // (B, 1 + T, D)
                for layer in layers {
                    x = layer.forward(&x, train);
                }
                norm.forward(&x.select(1, 0))
            }
        })
    }
}

/// `[D, 1, 3]`: the first quarter of the channels looks one frame back, the middle half at the
/// frame itself, the last quarter one frame ahead.
fn temporal_shift(path: &Path<'_>, width: i64) -> Result<Tensor> {
    let start = Tensor::zeros([width, 1, 3], (Kind::Float, path.device()));
    let (quarter, half) = (width / 4, width / 2);
    for (from, count, tap) in [
        (0, quarter, 0),
        (quarter, half, 1),
        (quarter + half, width - quarter - half, 2),
    ] {
        let _ = start.narrow(0, from, count).select(2, tap).fill_(1.0);
    }
    Ok(path.f_var_copy("weight", &start)?)
}

/// torch's names, shapes and start of an LSTM's parameters.
fn lstm(path: &Path<'_>, width: i64) -> Result<[Tensor; 4]> {
    let bound = (width as f64).powf(-0.5);
    let make = |name: &str, shape: &[i64]| {
        path.f_var(
            name,
            shape,
            Init::Uniform {
                lo: -bound,
                up: bound,
            },
        )
    };
    Ok([
        make("weight_ih_l0", &[4 * width, width])?,
        make("weight_hh_l0", &[4 * width, width])?,
        make("bias_ih_l0", &[4 * width])?,
        make("bias_hh_l0", &[4 * width])?,
    ])
}

fn normal() -> Init {
    Init::Randn {
        mean: 0.0,
        stdev: STD,
    }
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    fn new(path: &Path<'_>, width: i64, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: path.f_ones("weight", &[width])?,
            bias: path.f_zeros("bias", &[width])?,
            eps,
        })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            false,
        )
    }
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(path: &Path<'_>, inputs: i64, outputs: i64) -> Result<Self> {
        Ok(Self {
            weight: path.f_var("weight", &[outputs, inputs], normal())?,
            bias: path.f_zeros("bias", &[outputs])?,
        })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

/// Multi-head self-attention under torch's names.
#[derive(Debug)]
struct Attention {
    in_proj_weight: Tensor,
    in_proj_bias: Tensor,
    out_proj: Linear,
    heads: i64,
}

impl Attention {
    fn new(path: &Path<'_>, width: i64, heads: i64) -> Result<Self> {
        if heads < 1 || width % heads != 0 {
            return Err(invalid(
                "heads",
                format!("a divisor of the width {width}"),
                heads,
            ));
        }
        // Glorot's bound over the fused matrix, torch's own start.
        let bound = (6.0 / (4 * width) as f64).sqrt();
        let glorot = Init::Uniform {
            lo: -bound,
            up: bound,
        };
        Ok(Self {
            in_proj_weight: path.f_var("in_proj_weight", &[3 * width, width], glorot)?,
            in_proj_bias: path.f_zeros("in_proj_bias", &[3 * width])?,
            out_proj: Linear::new(&(path / "out_proj"), width, width)?,
            heads,
        })
    }

    /// Maps `[B, L, D]` to the same shape; `dropout` acts on the attention's weights.
    fn forward(&self, x: &Tensor, dropout: f64, train: bool) -> Tensor {
        let width = self.in_proj_bias.size()[0] / 3;
        let qkv = x.linear(&self.in_proj_weight, Some(&self.in_proj_bias)); // (B, L, 3 D)
        let part = |i: i64| split_heads(&qkv.narrow(2, i * width, width), self.heads);
        let (q, k, v) = (part(0), part(1), part(2)); // (B, h, L, d)
        let mixed = if train && dropout > 0.0 {
            let scale = ((width / self.heads) as f64).powf(-0.5);
            let weights = (q * scale)
                .matmul(&k.transpose(-2, -1))
                .softmax(-1, Kind::Float);
            weights.dropout(dropout, true).matmul(&v)
        } else {
            attend(&q, &k, &v, None)
        };
        self.out_proj.forward(&join_heads(&mixed))
    }
}

/// A block of [`Head::Transformer`].
#[derive(Debug)]
struct PreNormBlock {
    ln_1: Norm,
    attn: Attention,
    ln_2: Norm,
    c_fc: Linear,
    c_proj: Linear,
}

impl PreNormBlock {
    /// The official blocks add 1e-12 to the variance and take one head for each 64 channels.
    fn new(path: &Path<'_>, width: i64) -> Result<Self> {
        let eps = 1e-12;
        Ok(Self {
            ln_1: Norm::new(&(path / "ln_1"), width, eps)?,
            attn: Attention::new(&(path / "attn"), width, 8)?,
            ln_2: Norm::new(&(path / "ln_2"), width, eps)?,
            c_fc: Linear::new(&(path / "mlp" / "c_fc"), width, 4 * width)?,
            c_proj: Linear::new(&(path / "mlp" / "c_proj"), 4 * width, width)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let x = x + self.attn.forward(&self.ln_1.forward(x), 0.0, false);
        let hidden = Activation::QuickGelu.apply(&self.c_fc.forward(&self.ln_2.forward(&x)));
        &x + self.c_proj.forward(&hidden)
    }
}

/// A layer of [`Head::TransformerCls`]: torch's `TransformerEncoderLayer`.
#[derive(Debug)]
struct PostNormLayer {
    self_attn: Attention,
    linear1: Linear,
    linear2: Linear,
    norm1: Norm,
    norm2: Norm,
}

impl PostNormLayer {
    fn new(path: &Path<'_>, width: i64) -> Result<Self> {
        Ok(Self {
            self_attn: Attention::new(&(path / "self_attn"), width, 8)?,
            linear1: Linear::new(&(path / "linear1"), width, CLS_FFN)?,
            linear2: Linear::new(&(path / "linear2"), CLS_FFN, width)?,
            norm1: Norm::new(&(path / "norm1"), width, 1e-5)?,
            norm2: Norm::new(&(path / "norm2"), width, 1e-5)?,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let mixed = self
            .self_attn
            .forward(x, CLS_DROPOUT, train)
            .dropout(CLS_DROPOUT, train);
        let x = self.norm1.forward(&(x + mixed));
        let hidden = self.linear1.forward(&x).relu().dropout(CLS_DROPOUT, train);
        let out = self.linear2.forward(&hidden).dropout(CLS_DROPOUT, train);
        self.norm2.forward(&(&x + out))
    }
}

fn invalid(field: &'static str, expected: impl Into<String>, got: i64) -> Error {
    Error::Config {
        field,
        expected: expected.into(),
        got: got.to_string(),
    }
}
