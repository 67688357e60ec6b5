//! The layers both towers are made of. They are public so that the blocks built on a CLIP
//! backbone need no second copy of them.

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::kernels;
use crate::packed::{PackedWeight, Then};
use crate::parameters::{Builder, Usage};

/// The non-linearity of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · σ(1.702 x), as in OpenAI's checkpoints.
    QuickGelu,
    /// The exact GELU, as in most of `open_clip`'s.
    Gelu,
    /// GELU's tanh approximation.
    GeluTanh,
    /// max(0, x), as in "Attention Is All You Need".
    Relu,
}

/// The constant inside `QuickGELU`.
const QUICK_GELU: f64 = 1.702;

impl Activation {
    /// The activation, element by element.
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Self::QuickGelu => x * (x * QUICK_GELU).sigmoid(),
            Self::Gelu => x.gelu("none"),
            Self::GeluTanh => x.gelu("tanh"),
            Self::Relu => x.relu(),
        }
    }
}

/// y = x Wᵀ + b.
#[derive(Debug)]
pub struct Linear {
    /// `[out, in]`. A frozen one must not be changed in place once it has been used: its copy laid
    /// out for inference would not follow.
    pub weight: Tensor,
    /// `[out]`
    pub bias: Option<Tensor>,
    /// The weight laid out for inference by oneDNN, at first use.
    packed: OnceCell<Option<PackedWeight>>,
}

impl Linear {
    /// A layer of `weight`, `[out, in]`, and `bias`, `[out]`.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            weight,
            bias,
            packed: OnceCell::new(),
        }
    }

    /// Maps `[.., in]` to `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }

    /// As [`forward`](Self::forward) for what needs no gradient, with what follows done in the
    /// same pass over the result: by a kernel of our own where it is the faster one, else by
    /// oneDNN with the weight laid out once.
    fn infer(&self, x: &Tensor, then: Then<'_>) -> Tensor {
        let bias = self.bias.as_ref();
        let packed = || {
            let packed = self.packed.get_or_init(|| PackedWeight::new(&self.weight));
            packed.as_ref()?.product(x, bias, then)
        };
        kernels::product(x, &self.weight, bias, then)
            .or_else(packed)
            .unwrap_or_else(|| {
                let mut plain = self.forward(x);
                match then {
                    Then::Nothing => plain,
                    Then::Silu => plain.silu_(),
                    Then::Add(to) => plain.g_add_(to),
                }
            })
    }

    /// The rows `start .. start + length` of the output alone.
    pub fn rows(&self, start: i64, length: i64) -> Self {
        let bias = self.bias.as_ref();
        Self::new(
            self.weight.narrow(0, start, length),
            bias.map(|bias| bias.narrow(0, start, length)),
        )
    }

    fn take(builder: &mut Builder<'_>, name: &str, inputs: i64, outputs: i64) -> Result<Self> {
        Ok(Self::new(
            builder.take(&format!("{name}.weight"), &[outputs, inputs])?,
            Some(builder.take(&format!("{name}.bias"), &[outputs])?),
        ))
    }

    /// With the weight and the bias each times a factor.
    fn scaled(
        builder: &mut Builder<'_>,
        name: &str,
        [outputs, inputs]: [i64; 2],
        [weight, bias]: [f64; 2],
    ) -> Result<Self> {
        Ok(Self::new(
            builder.scaled(&format!("{name}.weight"), &[outputs, inputs], weight)?,
            Some(builder.scaled(&format!("{name}.bias"), &[outputs], bias)?),
        ))
    }
}

/// Layer normalisation over the last dimension, with gain and shift.
#[derive(Debug)]
pub struct LayerNorm {
    /// `[width]`
    pub weight: Tensor,
    /// `[width]`
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Maps `[.., width]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            false,
        )
    }

    pub(crate) fn take(
        builder: &mut Builder<'_>,
        name: &str,
        width: i64,
        eps: f64,
    ) -> Result<Self> {
        Ok(Self {
            weight: builder.take(&format!("{name}.weight"), &[width])?,
            bias: builder.take(&format!("{name}.bias"), &[width])?,
            eps,
        })
    }
}

/// Which keys a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    None,
    /// Those at its own position and before.
    Causal,
}

/// softmax(q kᵀ / √d) v for every head.
///
/// `q` is `[.., heads, Lq, d]`, `k` and `v` are `[.., heads, Lk, d]`; `bias`, added to the
/// scores, broadcasts to `[.., heads, Lq, Lk]`. The result has the shape of `q`.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let width = q.size().last().copied().unwrap_or(1).max(1);
    let scores = (q * (width as f64).powf(-0.5)).matmul(&k.transpose(-2, -1));
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    scores.softmax(-1, q.kind()).matmul(v)
}

/// As [`attend`] for `[N, heads, L, d]` without gradients: the heads of all items are one batch
/// of products, scaled where they are made.
fn attend_batched(q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (shape, keys) = (q.size(), k.size()[2]);
    let (batch, queries, width) = (shape[0] * shape[1], shape[2], shape[3]);
    let q = q.reshape([batch, queries, width]);
    let k = k.reshape([batch, keys, width]).transpose(1, 2);
    let scale = (width.max(1) as f64).powf(-0.5);
    let scores = match bias {
        Some(bias) => bias
            .expand([1, queries, keys], false)
            .baddbmm(&q, &k, 1.0, scale),
        None => Tensor::zeros([1, 1, 1], (q.kind(), q.device())).baddbmm(&q, &k, 0.0, scale),
    };
    let weights = scores.softmax(-1, q.kind());
    weights
        .bmm(&v.reshape([batch, keys, width]))
        .view(shape.as_slice())
}

/// `[N, L, heads * d]` to `[N, heads, L, d]`.
pub fn split_heads(x: &Tensor, heads: i64) -> Tensor {
    let size = x.size();
    let (n, l, width) = (size[0], size[1], size[2]);
    x.view([n, l, heads, width / heads]).transpose(1, 2)
}

/// `[N, heads, L, d]` to `[N, L, heads * d]`.
pub fn join_heads(x: &Tensor) -> Tensor {
    let size = x.size();
    let (n, heads, l, d) = (size[0], size[1], size[2], size[3]);
    x.transpose(1, 2).reshape([n, l, heads * d])
}

/// A causal mask to add to scores: 0 on and below the diagonal, -inf above. `[length, length]`
pub fn causal_bias(length: i64, kind: Kind, device: tch::Device) -> Tensor {
    Tensor::full([length, length], f64::NEG_INFINITY, (kind, device)).triu(1)
}

/// Multi-head self-attention with one fused projection.
#[derive(Debug)]
pub struct SelfAttention {
    /// `[3 * width, width]`: queries, keys, values.
    pub qkv: Linear,
    /// `[width, width]`
    pub out: Linear,
    /// Number of heads.
    pub heads: i64,
    /// The two parts of `qkv` that the first token's output needs.
    parts: OnceCell<[Linear; 2]>,
}

impl SelfAttention {
    /// Maps `[N, L, width]` to the same shape.
    pub fn forward(&self, x: &Tensor, mask: Mask) -> Tensor {
        let qkv = self.qkv.forward(x); // (N, L, 3 W)
        self.out.forward(&self.mix_all(&qkv, mask))
    }

    /// `residual` + attention, for what needs no gradient.
    fn infer(&self, x: &Tensor, mask: Mask, residual: &Tensor) -> Tensor {
        let qkv = self.qkv.infer(x, Then::Nothing);
        let fused = match mask {
            Mask::None => kernels::attention(&qkv, self.heads),
            Mask::Causal => None,
        };
        let mixed = fused.unwrap_or_else(|| self.mix_all(&qkv, mask));
        self.out.infer(&mixed, Then::Add(residual))
    }

    /// The output for the first token alone: `[N, L, width]` to `[N, 1, width]`.
    pub fn forward_first(&self, x: &Tensor) -> Tensor {
        // Rows of a weight that learns are cut anew: a view kept from a pass without gradients
        // would keep them from it for good.
        let [query, keys_values] = self.cut();
        let q = query.forward(&x.narrow(1, 0, 1));
        self.out
            .forward(&self.mix_first(&q, &keys_values.forward(x)))
    }

    /// As [`forward_first`](Self::forward_first), with the first token's `residual` added, for
    /// what needs no gradient.
    fn infer_first(&self, x: &Tensor, residual: &Tensor) -> Tensor {
        let [query, keys_values] = self.parts();
        let q = query.forward(&x.narrow(1, 0, 1));
        let mixed = self.mix_first(&q, &keys_values.infer(x, Then::Nothing));
        self.out.infer(&mixed, Then::Add(residual))
    }

    /// The projection to queries, and that to keys and values, kept with their layout where oneDNN
    /// has one.
    fn parts(&self) -> &[Linear; 2] {
        self.parts.get_or_init(|| self.cut())
    }

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
        // Of libtorch's ways its fused kernel is the fastest in fp32 and on a GPU; in bf16 on the CPU
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
        let out = Linear::take(builder, &format!("{name}.out_proj"), width, width)?;
        Ok(Self {
            qkv: Linear::new(weight, bias),
            out,
            heads,
            parts: OnceCell::new(),
        })
    }
}

/// The feed-forward network: Linear, activation, Linear.
#[derive(Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    form: MlpForm,
}

/// How the network's activation is computed.
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

    /// `residual` + network, for what needs no gradient.
    fn infer(&self, x: &Tensor, residual: &Tensor) -> Tensor {
        let hidden = match self.form {
            MlpForm::Literal(activation) => activation.apply(&self.fc1.infer(x, Then::Nothing)),
            MlpForm::FoldedQuickGelu => self.fc1.infer(x, Then::Silu),
        };
        self.fc2.infer(&hidden, Then::Add(residual))
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
                fc1: Linear::scaled(builder, fc1, [hidden, width], [factor, factor])?,
                fc2: Linear::scaled(builder, fc2, [width, hidden], [factor.recip(), 1.0])?,
                form: MlpForm::FoldedQuickGelu,
            });
        }
        Ok(Self {
            fc1: Linear::take(builder, fc1, width, hidden)?,
            fc2: Linear::take(builder, fc2, hidden, width)?,
            form: MlpForm::Literal(activation),
        })
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
    /// Maps `[N, L, width]` to the same shape. What needs no gradient takes the kernels, or
    /// oneDNN with weights laid out once.
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
            norm1: LayerNorm::take(builder, &format!("{name}.layer_norm1"), width, norm_eps)?,
            attention: SelfAttention::take(builder, &format!("{name}.self_attn"), width, heads)?,
            norm2: LayerNorm::take(builder, &format!("{name}.layer_norm2"), width, norm_eps)?,
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
}
