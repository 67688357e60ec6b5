//! The shapes of a CLIP model, and the presets of the published ones.

use crate::{Error, Result};
use layers::Activation;

/// A CLIP model: two towers and the width of the space they share.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The image tower.
    pub vision: VisionConfig,
    /// The text tower.
    pub text: TextConfig,
    /// D, the width of the joint space (512 for ViT-B).
    pub joint_width: i64,
}

/// The image tower: a pre-norm vision transformer with a class token.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Side of the square input in pixels.
    pub image_size: i64,
    /// Side of a square patch in pixels.
    pub patch_size: i64,
    /// Width of the hidden states.
    pub width: i64,
    /// Number of blocks.
    pub layers: i64,
    /// Attention heads a block.
    pub heads: i64,
    /// Hidden width of a block's feed-forward network.
    pub mlp_width: i64,
    /// The feed-forward network's activation.
    pub activation: Activation,
    /// Layer-norm epsilon.
    pub norm_eps: f64,
    /// Whether the patch embedding has a bias (OpenAI's has none).
    pub patch_bias: bool,
    /// Whether a layer norm precedes the first block (OpenAI's `ln_pre`).
    pub norm_before: bool,
}

impl VisionConfig {
    /// Patches of one frame.
    pub fn patches(&self) -> i64 {
        let side = self.image_size / self.patch_size;
        side * side
    }
}

/// The text tower: a pre-norm transformer with a causal mask.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// C, the context length in tokens (77).
    pub context: i64,
    /// Number of token ids (49,408).
    pub vocabulary: i64,
    /// Width of the hidden states.
    pub width: i64,
    /// Number of blocks.
    pub layers: i64,
    /// Attention heads a block.
    pub heads: i64,
    /// Hidden width of a block's feed-forward network.
    pub mlp_width: i64,
    /// The feed-forward network's activation.
    pub activation: Activation,
    /// Layer-norm epsilon.
    pub norm_eps: f64,
}

impl Config {
    /// OpenAI's ViT-B/32.
    pub fn vit_b_32() -> Self {
        Self::openai(vit(224, 32, 768, 12), 512, 8)
    }

    /// OpenAI's ViT-B/16, the backbone of both papers: 149,620,737 parameters.
    pub fn vit_b_16() -> Self {
        Self::openai(vit(224, 16, 768, 12), 512, 8)
    }

    /// OpenAI's ViT-L/14.
    pub fn vit_l_14() -> Self {
        Self::openai(vit(224, 14, 1024, 24), 768, 12)
    }

    /// OpenAI's ViT-L/14 at 336 pixels.
    pub fn vit_l_14_336() -> Self {
        Self::openai(vit(336, 14, 1024, 24), 768, 12)
    }

    /// The presets by their names in `open_clip`.
    pub const PRESETS: [&'static str; 4] = ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"];

    /// The preset called `name`, as OpenAI, `open_clip` and the papers spell it: `ViT-B/16`,
    /// `ViT-B-16`, `ViT-L/14@336px` … It has OpenAI's activation, QuickGELU, also under
    /// `open_clip`'s name `ViT-B-16-quickgelu`; `ViT-B-16-gelu` has GELU, as most of `open_clip`'s
    /// own weights need it.
    pub fn preset(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let asked: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
        let asked = asked.strip_suffix("quickgelu").unwrap_or(&asked);
        let (asked, gelu) = match asked.strip_suffix("gelu") {
            Some(rest) => (rest, true),
            None => (asked, false),
        };
        let mut config = match asked {
            "vitb32" => Self::vit_b_32(),
            "vitb16" => Self::vit_b_16(),
            "vitl14" => Self::vit_l_14(),
            "vitl14336" | "vitl14336px" => Self::vit_l_14_336(),
            _ => return None,
        };
        if gelu {
            config.vision.activation = Activation::Gelu;
            config.text.activation = Activation::Gelu;
        }
        Some(config)
    }

    /// Name and shape of every parameter, in Hugging Face's spelling.
    pub fn parameters(&self) -> Vec<(String, Vec<i64>)> {
        let (v, t, joint) = (&self.vision, &self.text, self.joint_width);
        let mut all: Vec<(String, Vec<i64>)> = vec![
            ("logit_scale".into(), vec![]),
            ("visual_projection.weight".into(), vec![joint, v.width]),
            ("text_projection.weight".into(), vec![joint, t.width]),
        ];
        let mut add = |name: String, shape: &[i64]| all.push((name, shape.to_vec()));

        let embeddings = "vision_model.embeddings";
        add(format!("{embeddings}.class_embedding"), &[v.width]);
        add(
            format!("{embeddings}.position_embedding.weight"),
            &[1 + v.patches(), v.width],
        );
        let kernel = [v.width, 3, v.patch_size, v.patch_size];
        add(format!("{embeddings}.patch_embedding.weight"), &kernel);
        if v.patch_bias {
            add(format!("{embeddings}.patch_embedding.bias"), &[v.width]);
        }
        let embeddings = "text_model.embeddings";
        add(
            format!("{embeddings}.token_embedding.weight"),
            &[t.vocabulary, t.width],
        );
        add(
            format!("{embeddings}.position_embedding.weight"),
            &[t.context, t.width],
        );

        let mut norms = vec![
            ("vision_model.post_layernorm".to_owned(), v.width),
            ("text_model.final_layer_norm".to_owned(), t.width),
        ];
        if v.norm_before {
            norms.push(("vision_model.pre_layrnorm".to_owned(), v.width));
        }
        let mut linears = Vec::new();
        for (tower, layers, width, mlp_width) in [
            ("vision_model", v.layers, v.width, v.mlp_width),
            ("text_model", t.layers, t.width, t.mlp_width),
        ] {
            for layer in 0..layers {
                let block = format!("{tower}.encoder.layers.{layer}");
                for norm in ["layer_norm1", "layer_norm2"] {
                    norms.push((format!("{block}.{norm}"), width));
                }
                for which in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                    linears.push((format!("{block}.self_attn.{which}"), width, width));
                }
                linears.push((format!("{block}.mlp.fc1"), width, mlp_width));
                linears.push((format!("{block}.mlp.fc2"), mlp_width, width));
            }
        }
        for (name, width) in norms {
            add(format!("{name}.weight"), &[width]);
            add(format!("{name}.bias"), &[width]);
        }
        for (name, inputs, outputs) in linears {
            add(format!("{name}.weight"), &[outputs, inputs]);
            add(format!("{name}.bias"), &[outputs]);
        }
        all
    }

    fn openai(vision: VisionConfig, text_width: i64, text_heads: i64) -> Self {
        Self {
            vision,
            text: TextConfig {
                context: 77,
                vocabulary: 49_408,
                width: text_width,
                layers: 12,
                heads: text_heads,
                mlp_width: 4 * text_width,
                activation: Activation::QuickGelu,
                norm_eps: 1e-5,
            },
            joint_width: text_width,
        }
    }

    /// Validates the configuration.
    ///
    /// # Errors
    /// [`Error::Config`] with the first field that is out of range.
    pub fn check(&self) -> Result<()> {
        let (v, t) = (&self.vision, &self.text);
        let positive = [
            ("joint_width", self.joint_width),
            ("vision.image_size", v.image_size),
            ("vision.patch_size", v.patch_size),
            ("vision.width", v.width),
            ("vision.heads", v.heads),
            ("vision.mlp_width", v.mlp_width),
            ("text.context", t.context),
            ("text.vocabulary", t.vocabulary),
            ("text.width", t.width),
            ("text.heads", t.heads),
            ("text.mlp_width", t.mlp_width),
        ];
        // The upper bound keeps products of two fields far from overflow.
        for (field, value) in positive {
            if !(1..=1 << 24).contains(&value) {
                return Err(invalid(field, "1 to 16,777,216", value));
            }
        }
        for (field, layers) in [("vision.layers", v.layers), ("text.layers", t.layers)] {
            if !(1..=1024).contains(&layers) {
                return Err(invalid(field, "1 to 1024", layers));
            }
        }
        for (field, width, heads) in [
            ("vision.heads", v.width, v.heads),
            ("text.heads", t.width, t.heads),
        ] {
            if width % heads != 0 {
                return Err(invalid(
                    field,
                    &format!("a divisor of the width {width}"),
                    heads,
                ));
            }
        }
        if v.image_size % v.patch_size != 0 {
            let expected = format!("a divisor of image_size {}", v.image_size);
            return Err(invalid("vision.patch_size", &expected, v.patch_size));
        }
        for (field, eps) in [
            ("vision.norm_eps", v.norm_eps),
            ("text.norm_eps", t.norm_eps),
        ] {
            if !(eps.is_finite() && eps > 0.0) {
                return Err(invalid(field, "a positive number", eps));
            }
        }
        Ok(())
    }
}

/// OpenAI's vision transformer: head width 64, feed-forward four times the width.
fn vit(image_size: i64, patch_size: i64, width: i64, layers: i64) -> VisionConfig {
    VisionConfig {
        image_size,
        patch_size,
        width,
        layers,
        heads: width / 64,
        mlp_width: 4 * width,
        activation: Activation::QuickGelu,
        norm_eps: 1e-5,
        patch_bias: false,
        norm_before: true,
    }
}

fn invalid(field: &str, expected: &str, got: impl ToString) -> Error {
    Error::Config {
        field: field.into(),
        expected: expected.into(),
        got: got.to_string(),
    }
}
