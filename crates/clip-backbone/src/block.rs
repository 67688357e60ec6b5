//! The transformer block that both towers are made of.

use layers::{
    Activation, LayerNorm, Linear, QUICK_GELU, attend, attend_flat, causal_bias, join_heads,
    split_heads,
};
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::linear::PackedLinear;
use crate::packed::Epilogue;
use crate::parameters::{Builder, Usage};

/// The keys that a query may attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    None,
    /// Those at its own position and earlier.
    Causal,
}

/// As [`attend`] for `[N, heads, L, d]`: the heads of all items are one batch of products.
fn attend_batched(q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let shape = q.size();
    let flat = |x: &Tensor| x.reshape([-1, x.size()[2], shape[3]]);
    attend_flat(&flat(q), &flat(k), &flat(v), bias).view(shape.as_slice())
}

/// Multi-head self-attention with one fused projection.
#[derive(Debug)]
pub struct SelfAttention {
    /// `[3 * width, width]`: queries, keys, values.
    pub qkv: PackedLinear,
    /// `[width, width]`
    pub out: PackedLinear,
    /// Number of heads.
    pub heads: i64,
    /// If frozen, the two parts of `qkv` that the first token's output needs.
    parts: Option<[PackedLinear; 2]>,
}

impl SelfAttention {
    /// Maps `[N, L, width]` to the same shape.
    pub fn forward(&self, x: &Tensor, mask: Mask) -> Tensor {
        let qkv = self.qkv.forward(x); // (N, L, 3 W)
        self.out.forward(&self.mix_all(&qkv, mask))
    }

    /// `residual` + attention, without gradients.
    fn infer(&self, x: &Tensor, mask: Mask, residual: &Tensor) -> Tensor {
        let qkv = self.qkv.infer(x, Epilogue::Identity);
        let mixed = self.mix_all(&qkv, mask);
        self.out.infer(&mixed, Epilogue::Add(residual))
    }

    /// The output for the first token alone: `[N, L, width]` to `[N, 1, width]`.
    pub fn forward_first(&self, x: &Tensor) -> Tensor {
        // Views of a trainable weight are not cached: one made without gradients would
        // never get any.
        let [query, keys_values] = self.cut();
        let q = query.forward(&x.narrow(1, 0, 1));
        self.out
            .forward(&self.mix_first(&q, &keys_values.forward(x)))
    }

    /// As [`forward_first`](Self::forward_first), with the first token's `residual` added,
    /// without gradients.
    fn infer_first(&self, x: &Tensor, residual: &Tensor) -> Tensor {
        let Some([query, keys_values]) = &self.parts else {
            return residual + self.forward_first(x);
        };
        let q = query.forward(&x.narrow(1, 0, 1));
        let mixed = self.mix_first(&q, &keys_values.infer(x, Epilogue::Identity));
        self.out.infer(&mixed, Epilogue::Add(residual))
    }

    /// The projection to queries, and that to keys and values.
    fn cut(&self) -> [Linear; 2] {
        let width = self.out.weight.size()[0];
        [self.qkv.rows(0, width), self.qkv.rows(width, 2 * width)]
    }

    /// `[N, L, 3 W]` to the heads' outputs, `[N, L, W]`.
    fn mix_all(&self, qkv: &Tensor, mask: Mask) -> Tensor {
        let width = qkv.size()[2] / 3;
        let part = |i: i64| split_heads(&qkv.narrow(2, i * width, width), self.heads);
        join_heads(&self.mix(&part(0), &part(1), &part(2), mask)) // of (N, h, L, d)
    }

    /// One query, `[N, 1, W]`, on keys and values, `[N, L, 2 W]`, to `[N, 1, W]`.
    fn mix_first(&self, q: &Tensor, kv: &Tensor) -> Tensor {
        let width = q.size()[2];
        let k = split_heads(&kv.narrow(2, 0, width), self.heads);
        let v = split_heads(&kv.narrow(2, width, width), self.heads);
        join_heads(&self.mix(&split_heads(q, self.heads), &k, &v, Mask::None))
    }

    fn mix(&self, q: &Tensor, k: &Tensor, v: &Tensor, mask: Mask) -> Tensor {
        let bias =
            || (mask == Mask::Causal).then(|| causal_bias(q.size()[2], q.kind(), q.device()));
        // libtorch's fused kernel is its fastest in fp32 and on a GPU; in bf16 on the CPU
        // two products and a softmax take half its time forward and a fraction of it backward.
        if q.requires_grad() || k.requires_grad() {
            return attend(q, k, v, bias().as_ref());
        }
        if q.kind() == Kind::BFloat16 && q.device() == Device::Cpu {
            return attend_batched(q, k, v, bias().as_ref());
        }
        let causal = mask == Mask::Causal;
        Tensor::scaled_dot_product_attention(q, k, v, None::<&Tensor>, 0.0, causal, None, false)
    }

    fn take(builder: &mut Builder<'_>, name: &str, width: i64, heads: i64) -> Result<Self> {
        let mut stacked = |what: &str, shape: &[i64]| -> Result<Tensor> {
            let parts = ["q", "k", "v"]
                .iter()
                .map(|which| builder.find(&format!("{name}.{which}_proj.{what}"), shape))
                .collect::<Result<Vec<_>>>()?;
            let all = [&[3 * width], &shape[1..]].concat();
            let (name, kind) = (format!("{name}.qkv_proj.{what}"), builder.kind);
            builder.make(&name, &all, kind, |to| {
                let mut places = to.chunk(3, 0);
                let mut parts = parts.iter().zip(&mut places);
                parts.try_for_each(|(part, place)| part.write(place, None))
            })
        };
        let weight = stacked("weight", &[width, width])?;
        let bias = Some(stacked("bias", &[width])?);
        let mut attention = Self {
            qkv: PackedLinear::new(Linear { weight, bias }),
            out: PackedLinear::take(builder, &format!("{name}.out_proj"), width, width)?,
            heads,
            parts: None,
        };
        if builder.usage == Usage::Frozen {
            attention.parts = Some(attention.cut().map(PackedLinear::new));
        }
        Ok(attention)
    }

    fn shallow_clone(&self) -> Self {
        let parts = self.parts.as_ref();
        Self {
            qkv: self.qkv.shallow_clone(),
            out: self.out.shallow_clone(),
            heads: self.heads,
            parts: parts.map(|parts| parts.each_ref().map(PackedLinear::shallow_clone)),
        }
    }
}

/// The feed-forward network: Linear, activation, Linear.
#[derive(Debug)]
pub struct Mlp {
    fc1: PackedLinear,
    fc2: PackedLinear,
    form: MlpForm,
}

/// The computation of the network's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MlpForm {
    /// As written.
    Literal(Activation),
    /// `QuickGELU` with its constant folded into the weights: with W₁ and b₁ times 1.702 and
    /// W₂ divided by it, x σ(1.702 x) becomes SiLU, one pass over the data instead of three.
    FoldedQuickGelu,
}

impl Mlp {
    /// Maps `[.., width]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let mut hidden = self.fc1.forward(x);
        let hidden = match self.form {
            MlpForm::Literal(activation) => activation.apply(&hidden),
            MlpForm::FoldedQuickGelu if hidden.requires_grad() => hidden.silu(),
            MlpForm::FoldedQuickGelu => hidden.silu_(),
        };
        self.fc2.forward(&hidden)
    }

    /// `residual` + network, without gradients.
    fn infer(&self, x: &Tensor, residual: &Tensor) -> Tensor {
        let hidden = match self.form {
            MlpForm::Literal(activation) => {
                activation.apply(&self.fc1.infer(x, Epilogue::Identity))
            }
            MlpForm::FoldedQuickGelu => self.fc1.infer(x, Epilogue::Silu),
        };
        self.fc2.infer(&hidden, Epilogue::Add(residual))
    }

    fn take(
        builder: &mut Builder<'_>,
        name: &str,
        width: i64,
        hidden: i64,
        activation: Activation,
    ) -> Result<Self> {
        let names = ["fc1", "fc2"].map(|layer| format!("{name}.{layer}"));
        let [fc1, fc2] = &names;
        if builder.usage == Usage::Frozen && activation == Activation::QuickGelu {
            let factor = QUICK_GELU;
            return Ok(Self {
                fc1: PackedLinear::scaled(builder, fc1, [hidden, width], [factor, factor])?,
                fc2: PackedLinear::scaled(builder, fc2, [width, hidden], [factor.recip(), 1.0])?,
                form: MlpForm::FoldedQuickGelu,
            });
        }
        Ok(Self {
            fc1: PackedLinear::take(builder, fc1, width, hidden)?,
            fc2: PackedLinear::take(builder, fc2, hidden, width)?,
            form: MlpForm::Literal(activation),
        })
    }

    fn shallow_clone(&self) -> Self {
        Self {
            fc1: self.fc1.shallow_clone(),
            fc2: self.fc2.shallow_clone(),
            form: self.form,
        }
    }
}

/// A pre-norm transformer block: x + attention(norm x), then x + mlp(norm x).
#[derive(Debug)]
pub struct Block {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attention: SelfAttention,
    /// Before the feed-forward network.
    pub norm2: LayerNorm,
    /// Feed-forward network.
    pub mlp: Mlp,
    usage: Usage,
}

/// The shape of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockConfig {
    pub(crate) width: i64,
    pub(crate) heads: i64,
    pub(crate) mlp_width: i64,
    pub(crate) activation: Activation,
    pub(crate) norm_eps: f64,
}

impl Block {
    /// Maps `[N, L, width]` to the same shape. Without gradients it uses oneDNN
    /// with prepacked weights.
    pub fn forward(&self, x: &Tensor, mask: Mask) -> Tensor {
        if self.needs_gradient(x) {
            return self.forward_literal(x, mask);
        }
        let x = self.attention.infer(&self.norm1.forward(x), mask, x);
        self.mlp.infer(&self.norm2.forward(&x), &x)
    }

    /// As [`forward`](Self::forward), operation by operation: the reference for it.
    pub fn forward_literal(&self, x: &Tensor, mask: Mask) -> Tensor {
        self.feed_forward(&(x + self.attention.forward(&self.norm1.forward(x), mask)))
    }

    /// The output for the first token alone: `[N, L, width]` to `[N, 1, width]`.
    pub fn forward_first(&self, x: &Tensor) -> Tensor {
        let (normed, first) = (self.norm1.forward(x), x.narrow(1, 0, 1));
        if self.needs_gradient(x) {
            return self.feed_forward(&(first + self.attention.forward_first(&normed)));
        }
        let x = self.attention.infer_first(&normed, &first.contiguous());
        self.mlp.infer(&self.norm2.forward(&x), &x)
    }

    fn needs_gradient(&self, x: &Tensor) -> bool {
        x.requires_grad() || self.usage == Usage::FineTuned
    }

    /// The block's second half: x + mlp(norm x).
    pub fn feed_forward(&self, x: &Tensor) -> Tensor {
        x + self.mlp.forward(&self.norm2.forward(x))
    }

    pub(crate) fn take(
        builder: &mut Builder<'_>,
        name: &str,
        config: &BlockConfig,
    ) -> Result<Self> {
        let BlockConfig {
            width,
            heads,
            mlp_width,
            activation,
            norm_eps,
        } = *config;
        Ok(Self {
            norm1: builder.norm(&format!("{name}.layer_norm1"), width, norm_eps)?,
            attention: SelfAttention::take(builder, &format!("{name}.self_attn"), width, heads)?,
            norm2: builder.norm(&format!("{name}.layer_norm2"), width, norm_eps)?,
            mlp: Mlp::take(
                builder,
                &format!("{name}.mlp"),
                width,
                mlp_width,
                activation,
            )?,
            usage: builder.usage,
        })
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            norm1: self.norm1.shallow_clone(),
            attention: self.attention.shallow_clone(),
            norm2: self.norm2.shallow_clone(),
            mlp: self.mlp.shallow_clone(),
            usage: self.usage,
        }
    }
}
