//! The temporal heads: T frame features to one video feature.

mod conv1d;
mod lstm;
mod mean;
mod transformer;
mod transformer_cls;

use serde::{Deserialize, Serialize};
use tch::nn::Path;
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Attention heads.
const HEADS: i64 = 8;
/// Standard deviation of initial weights and positions.
const STD: f64 = 0.02;

/// The temporal head.
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
    /// All heads.
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

/// The computation of a head.
trait Temporal: std::fmt::Debug + Send {
    /// Frame features `[B, T, D]` of the sizes it was made for to video features `[B, D]`; `train`
    /// enables dropout.
    fn forward(&self, frames: &Tensor, train: bool) -> Result<Tensor>;
}

/// A temporal head with its parameters, named as in the official `fusion_model_state_dict`.
#[derive(Debug)]
pub struct TemporalHead {
    temporal: Box<dyn Temporal>,
    width: i64,
    frames: i64,
}

impl TemporalHead {
    /// A head over `frames` (T) features of `width` (D).
    ///
    /// # Errors
    /// [`Error::Config`] if a size is out of range; [`Error::Layers`] if the width is not divisible
    /// by the number of heads.
    pub fn new(path: &Path<'_>, head: Head, frames: i64, width: i64) -> Result<Self> {
        check("frames", frames, 1 << 16)?;
        check("width", width, 1 << 20)?;
        Ok(Self {
            temporal: match head {
                Head::Mean => Box::new(mean::Mean),
                Head::Conv1d => Box::new(conv1d::Conv1d::new(path, width)?),
                Head::Lstm => Box::new(lstm::Lstm::new(path, width)?),
                Head::Transformer => Box::new(transformer::Transformer::new(path, frames, width)?),
                Head::TransformerCls => {
                    Box::new(transformer_cls::TransformerCls::new(path, frames, width)?)
                }
            },
            width,
            frames,
        })
    }

    /// Frame features `[B, T, D]` to video features `[B, D]`; `train` enables dropout.
    ///
    /// # Errors
    /// [`Error::Shape`] if `frames` is not `[B, T, D]` with B >= 1.
    pub fn forward(&self, frames: &Tensor, train: bool) -> Result<Tensor> {
        let size = frames.size();
        if size.len() != 3 || size[0] < 1 || size[1..] != [self.frames, self.width] {
            return Err(Error::Shape {
                op: "temporal head",
                expected: format!("[B, {}, {}] with B >= 1", self.frames, self.width),
                got: size,
            });
        }
        self.temporal.forward(frames, train)
    }
}

/// The mean over the tokens: `[B, L, D]` to `[B, D]`.
fn mean_of(tokens: &Tensor) -> Tensor {
    tokens.mean_dim(1, false, Kind::Float)
}

fn check(field: &'static str, got: i64, most: i64) -> Result<()> {
    match (1..=most).contains(&got) {
        true => Ok(()),
        false => Err(Error::Config {
            field,
            expected: format!("1 to {most}"),
            got: got.to_string(),
        }),
    }
}
