//! [`Head::TransformerCls`](super::Head::TransformerCls).

use layers::init::normal;
use layers::{
    Activation, FeedForward, LayerNorm, Linear, LinearInit, MultiHeadAttention, NormOrder,
    TransformerLayer,
};
use tch::Tensor;
use tch::nn::Path;

use super::{HEADS, STD, Temporal};
use crate::Result;

const LAYERS: i64 = 6;
/// Feed-forward width, dropout and norms of PyTorch's `TransformerEncoderLayer`.
const HIDDEN: i64 = 2048;
const DROPOUT: f64 = 0.1;
const EPS: f64 = 1e-5;

#[derive(Debug)]
pub(super) struct TransformerCls {
    /// `[1, 1, D]`
    class: Tensor,
    /// `[1, 1 + T, D]`
    positions: Tensor,
    layers: Vec<TransformerLayer>,
    norm: LayerNorm,
}

impl TransformerCls {
    pub(super) fn new(path: &Path<'_>, frames: i64, width: i64) -> Result<Self> {
        let path = path / "transformer";
        let encoder = &path / "transformer_enc";
        Ok(Self {
            class: path.f_var("cls_token", &[1, 1, width], normal(STD))?,
            positions: path.f_var("pos_embed", &[1, frames + 1, width], normal(STD))?,
            layers: (0..LAYERS)
                .map(|i| layer(&(&encoder / "layers" / i), width))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(&(&encoder / "norm"), width, EPS)?,
        })
    }
}

impl Temporal for TransformerCls {
    fn forward(&self, frames: &Tensor, train: bool) -> Result<Tensor> {
        let (batch, width) = (frames.size()[0], self.class.size()[2]);
        let class = self.class.expand([batch, 1, width], false);
        let mut x = Tensor::cat(&[&class, frames], 1) + &self.positions; // (B, 1 + T, D)
        for layer in &self.layers {
            x = layer.forward(&x, train)?;
        }
        Ok(self.norm.forward(&x.select(1, 0)))
    }
}

fn layer(path: &Path<'_>, width: i64) -> Result<TransformerLayer> {
    let init = LinearInit::Normal(STD);
    Ok(TransformerLayer {
        attention: MultiHeadAttention::new(&(path / "self_attn"), width, HEADS, init)?,
        feed_forward: FeedForward {
            linear1: Linear::new(&(path / "linear1"), width, HIDDEN, init)?,
            activation: Activation::Relu,
            linear2: Linear::new(&(path / "linear2"), HIDDEN, width, init)?,
        },
        norm1: LayerNorm::new(&(path / "norm1"), width, EPS)?,
        norm2: LayerNorm::new(&(path / "norm2"), width, EPS)?,
        order: NormOrder::Post,
        dropout: DROPOUT,
    })
}
