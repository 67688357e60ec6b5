//! Multi-head cross-attention that learns.

use clip_backbone::layers::{attend, join_heads, split_heads};
use tch::Tensor;
use tch::nn::{Init, Path};

use crate::Result;
use crate::config::CheckedMcb;

/// MHA(q, k = v): projections of queries, keys and values, and one of the result.
#[derive(Debug)]
pub struct CrossAttention {
    /// `[3 D, D]`: queries, keys, values.
    in_proj_weight: Tensor,
    /// `[3 D]`
    in_proj_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    heads: i64,
    width: i64,
}

impl CrossAttention {
    /// An attention whose parameters lie at `path`.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where libtorch cannot make a parameter.
    pub fn new(path: &Path<'_>, config: &CheckedMcb) -> Result<Self> {
        let width = config.width();
        let uniform = |bound: f64| Init::Uniform {
            lo: -bound,
            up: bound,
        };
        // Glorot's bound over the fused matrix, as torch's attention has it.
        let glorot = uniform((6.0 / (4 * width) as f64).sqrt());
        let out_start = match config.config().zero_init {
            true => Init::Const(0.0),
            false => uniform((width as f64).powf(-0.5)),
        };
        let out = path / "out_proj";
        Ok(Self {
            in_proj_weight: path.f_var("in_proj_weight", &[3 * width, width], glorot)?,
            in_proj_bias: path.f_zeros("in_proj_bias", &[3 * width])?,
            out_weight: out.f_var("weight", &[width, width], out_start)?,
            out_bias: out.f_zeros("bias", &[width])?,
            heads: config.config().heads,
            width,
        })
    }

    /// `queries` `[B, Lq, D]` read `tokens` `[B, Lk, D]`: `[B, Lq, D]`, without a residual.
    pub fn forward(&self, queries: &Tensor, tokens: &Tensor) -> Tensor {
        let d = self.width;
        let weight = self.in_proj_weight.split_with_sizes([d, 2 * d], 0);
        let bias = self.in_proj_bias.split_with_sizes([d, 2 * d], 0);
        let q = queries.linear(&weight[0], Some(&bias[0])); // (B, Lq, D)
        let kv = tokens.linear(&weight[1], Some(&bias[1])).chunk(2, -1); // 2 x (B, Lk, D)
        let heads = |x: &Tensor| split_heads(x, self.heads);
        let mixed = attend(&heads(&q), &heads(&kv[0]), &heads(&kv[1]), None);
        join_heads(&mixed).linear(&self.out_weight, Some(&self.out_bias))
    }
}
