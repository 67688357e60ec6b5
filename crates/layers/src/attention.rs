//! Scaled dot-product attention (Vaswani et al., 2017).

use tch::nn::Path;
use tch::{Device, Kind, Tensor};

use crate::error::expect_tokens;
use crate::init::glorot;
use crate::{Error, Linear, LinearInit, Result};

/// Multi-head attention with the parameters of PyTorch's `MultiheadAttention`.
#[derive(Debug)]
pub struct MultiHeadAttention {
    /// `[3 width, width]`: queries, keys, values.
    in_proj: Linear,
    /// `[width, width]`
    out_proj: Linear,
    heads: i64,
}

impl MultiHeadAttention {
    /// A trainable attention with its parameters at `path.in_proj_weight`, `path.in_proj_bias`
    /// and `path.out_proj`, whose initial values `out_init` gives.
    ///
    /// # Errors
    /// [`Error::Heads`] unless `heads` divides `width`; [`Error::Torch`] where a parameter cannot
    /// be allocated.
    pub fn new(path: &Path<'_>, width: i64, heads: i64, out_init: LinearInit) -> Result<Self> {
        if heads < 1 || width % heads != 0 {
            return Err(Error::Heads { width, heads });
        }
        // The bound is that of the fused matrix, as PyTorch has it.
        let weight = path.f_var(
            "in_proj_weight",
            &[3 * width, width],
            glorot(width, 3 * width),
        )?;
        Ok(Self {
            in_proj: Linear {
                weight,
                bias: Some(path.f_zeros("in_proj_bias", &[3 * width])?),
            },
            out_proj: Linear::new(&(path / "out_proj"), width, width, out_init)?,
            heads,
        })
    }

    /// Self-attention: `[B, L, width]` to the same shape, without a residual. Each attention weight
    /// is dropped with probability `dropout`; 0 outside training.
    ///
    /// # Errors
    /// [`Error::Shape`] for tokens of another shape.
    pub fn forward(&self, tokens: &Tensor, dropout: f64) -> Result<Tensor> {
        expect_tokens("self-attention", tokens, self.width())?;
        let qkv = self.in_proj.forward(tokens); // (B, L, 3 W)
        let width = self.width();
        let part = |i: i64| split_heads(&qkv.narrow(2, i * width, width), self.heads);
        Ok(self.project(&part(0), &part(1), &part(2), dropout))
    }

    /// Cross-attention: `queries` `[B, Lq, width]` read `tokens` `[B, Lk, width]`, to
    /// `[B, Lq, width]`, without a residual.
    ///
    /// # Errors
    /// [`Error::Shape`] for tensors of another shape, or of two batch sizes.
    pub fn cross(&self, queries: &Tensor, tokens: &Tensor) -> Result<Tensor> {
        let width = self.width();
        expect_tokens("cross-attention, queries", queries, width)?;
        expect_tokens("cross-attention, tokens", tokens, width)?;
        if queries.size()[0] != tokens.size()[0] {
            return Err(Error::Shape {
                op: "cross-attention, tokens",
                expected: format!("[{}, L, {width}]", queries.size()[0]),
                got: tokens.size(),
            });
        }
        let split = |tensor: &Tensor| tensor.split_with_sizes([width, 2 * width], 0);
        let weight = split(&self.in_proj.weight);
        let bias: Vec<Tensor> = self.in_proj.bias.iter().flat_map(split).collect();
        let q = queries.linear(&weight[0], bias.first()); // (B, Lq, W)
        let kv = tokens.linear(&weight[1], bias.get(1)).chunk(2, -1); // 2 x (B, Lk, W)
        let heads = |x: &Tensor| split_heads(x, self.heads);
        Ok(self.project(&heads(&q), &heads(&kv[0]), &heads(&kv[1]), 0.0))
    }

    /// Heads `[B, heads, L, d]` to `[B, Lq, width]`.
    fn project(&self, q: &Tensor, k: &Tensor, v: &Tensor, dropout: f64) -> Tensor {
        let mixed = drop_elements(attention_weights(q, k, None), dropout).matmul(v);
        self.out_proj.forward(&join_heads(&mixed))
    }

    pub(crate) fn width(&self) -> i64 {
        self.out_proj.weight.size()[0]
    }
}

/// softmax(q kᵀ / √d) v for every head.
///
/// `q` is `[.., heads, Lq, d]`, `k` and `v` are `[.., heads, Lk, d]`; `bias`, added to the
/// scores, broadcasts to `[.., heads, Lq, Lk]`. The result has the shape of `q`. Shapes that do
/// not fit panic, as in all of tch's operators.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Tensor {
    attention_weights(q, k, bias).matmul(v)
}

/// As [`attend`] for heads and items in one dimension, `[N, L, d]`, scaled inside the product;
/// `bias` broadcasts to `[N, Lq, Lk]`.
pub fn attend_flat(q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let width = q.size().last().copied().unwrap_or(1).max(1);
    let (k, scale) = (k.transpose(1, 2), (width as f64).powf(-0.5));
    let scores = match bias {
        Some(bias) => bias.baddbmm(q, &k, 1.0, scale),
        None => Tensor::zeros([1, 1, 1], (q.kind(), q.device())).baddbmm(q, &k, 0.0, scale),
    };
    scores.softmax(-1, q.kind()).bmm(v)
}

/// softmax(q kᵀ / √d + bias): `[.., Lq, Lk]`.
fn attention_weights(q: &Tensor, k: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let width = q.size().last().copied().unwrap_or(1).max(1);
    let scores = (q * (width as f64).powf(-0.5)).matmul(&k.transpose(-2, -1));
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    scores.softmax(-1, q.kind())
}

/// `[N, L, heads * d]` to `[N, heads, L, d]`; another rank or width panics, as in all of tch's
/// operators.
pub fn split_heads(x: &Tensor, heads: i64) -> Tensor {
    let size = x.size();
    let (n, l, width) = (size[0], size[1], size[2]);
    x.view([n, l, heads, width / heads]).transpose(1, 2)
}

/// `[N, heads, L, d]` to `[N, L, heads * d]`; another rank panics, as in all of tch's operators.
pub fn join_heads(x: &Tensor) -> Tensor {
    let size = x.size();
    let (n, heads, l, d) = (size[0], size[1], size[2], size[3]);
    x.transpose(1, 2).reshape([n, l, heads * d])
}

/// A causal mask to add to scores: 0 on and below the diagonal, -inf above. `[length, length]`
pub fn causal_bias(length: i64, kind: Kind, device: Device) -> Tensor {
    Tensor::full([length, length], f64::NEG_INFINITY, (kind, device)).triu(1)
}

/// Drops each element with this probability and scales the others up.
pub(crate) fn drop_elements(x: Tensor, probability: f64) -> Tensor {
    if probability > 0.0 {
        x.dropout(probability, true)
    } else {
        x
    }
}
