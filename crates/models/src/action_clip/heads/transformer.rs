//! [`Head::Transformer`](super::Head::Transformer).

use layers::init::normal;
use layers::{
    Activation, FeedForward, LayerNorm, Linear, LinearInit, MultiHeadAttention, NormOrder,
    TransformerLayer,
};
use tch::Tensor;
use tch::nn::Path;

use super::{HEADS, STD, Temporal, check, mean_of};
use crate::Result;

const LAYERS: i64 = 6;
/// Rows of the position table: CLIP's context length.
const POSITIONS: i64 = 77;
/// Added to the variance, as in the official blocks.
const EPS: f64 = 1e-12;

#[derive(Debug)]
pub(super) struct Transformer {
    /// `[77, D]`
    positions: Tensor,
    blocks: Vec<TransformerLayer>,
}

impl Transformer {
    pub(super) fn new(path: &Path<'_>, frames: i64, width: i64) -> Result<Self> {
        check("frames", frames, POSITIONS)?;
        let table = path / "frame_position_embeddings";
        let blocks = path / "transformer" / "resblocks";
        Ok(Self {
            positions: table.f_var("weight", &[POSITIONS, width], normal(STD))?,
            blocks: (0..LAYERS)
                .map(|i| block(&(&blocks / i), width))
                .collect::<Result<_>>()?,
        })
    }
}

impl Temporal for Transformer {
    fn forward(&self, frames: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = frames + self.positions.narrow(0, 0, frames.size()[1]);
        for block in &self.blocks {
            x = block.forward(&x, train)?;
        }
        Ok(mean_of(&(x + frames)))
    }
}

fn block(path: &Path<'_>, width: i64) -> Result<TransformerLayer> {
    let (mlp, hidden, init) = (path / "mlp", 4 * width, LinearInit::Normal(STD));
    Ok(TransformerLayer {
        norm1: LayerNorm::new(&(path / "ln_1"), width, EPS)?,
        attention: MultiHeadAttention::new(&(path / "attn"), width, HEADS, init)?,
        norm2: LayerNorm::new(&(path / "ln_2"), width, EPS)?,
        feed_forward: FeedForward {
            linear1: Linear::new(&(&mlp / "c_fc"), width, hidden, init)?,
            activation: Activation::QuickGelu,
            linear2: Linear::new(&(&mlp / "c_proj"), hidden, width, init)?,
        },
        order: NormOrder::Pre,
        dropout: 0.0,
    })
}
