//! `open_clip_config.json`.

use std::path::Path;

use serde_json::Value;

use super::fields::{Fields, read_json};
use crate::Result;
use crate::config::{Config, TextConfig, VisionConfig};
use crate::preprocess::{Preprocess, side};
use layers::Activation;
use pixels::{Filter, Geometry, Resize};

/// Options of the image tower that are read or have no effect on it.
const VISION_READ: &[&str] = &[
    "layers",
    "width",
    "head_width",
    "mlp_ratio",
    "patch_size",
    "image_size",
    "no_ln_pre",
    "norm_kwargs",
    "act_kwargs",
    // Without effect on a trained model of these towers: dropout is for training, the order
    // of norm and class-token pooling does not matter, position embeddings are in the file.
    "patch_dropout",
    "final_ln_after_pool",
    "pos_embed_type",
    "output_tokens",
    "attn_pooler_queries",
    "attn_pooler_heads",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
];

/// As [`VISION_READ`], for the text tower.
const TEXT_READ: &[&str] = &[
    "context_length",
    "vocab_size",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "norm_kwargs",
    "act_kwargs",
    "pad_id",
    "eos_id",
    "output_tokens",
    "hf_model_pretrained",
    "hf_proj_type",
    "hf_pooler_type",
    "final_ln_after_pool",
];

/// Reads shape and preprocessing. Absent fields have `open_clip`'s own defaults.
pub(super) fn read(path: &Path) -> Result<(Config, Preprocess)> {
    let value = read_json(path)?;
    let root = Fields::of(path, &value)?;
    // Older files, and those inside the library, hold only the model's section.
    let model = root.object("model_cfg", "model_cfg.")?.unwrap_or(root);
    let vision = model
        .object("vision_cfg", "model_cfg.vision_cfg.")?
        .ok_or_else(|| model.wrong("vision_cfg", "an object", "absent"))?;
    let text = model
        .object("text_cfg", "model_cfg.text_cfg.")?
        .ok_or_else(|| model.wrong("text_cfg", "an object", "absent"))?;
    if model.present("multimodal_cfg").is_some() {
        return Err(model.unsupported("multimodal_cfg", "CoCa's text decoder"));
    }
    if model.present("init_logit_bias").is_some() {
        return Err(model.unsupported("init_logit_bias", "SigLIP's logit bias"));
    }
    let vision_config = vision_config(&vision, model.bool("quick_gelu", false)?)?;
    let text_config = text_config(&text, model.bool("quick_gelu", false)?)?;
    let config = Config {
        vision: vision_config,
        text: text_config,
        joint_width: model.required_int("embed_dim")?,
    };
    config.check().map_err(|e| e.in_file(path))?;

    let preprocess = match root.object("preprocess_cfg", "preprocess_cfg.")? {
        Some(section) => preprocess(&section, config.vision.image_size)?,
        None => Preprocess::openai(config.vision.image_size),
    };
    preprocess.check().map_err(|e| e.in_file(path))?;
    Ok((config, preprocess))
}

fn vision_config(vision: &Fields<'_>, quick_gelu: bool) -> Result<VisionConfig> {
    if let Some(name) = vision.text("timm_model_name")? {
        return Err(vision.unsupported("timm_model_name", &format!("timm's image tower {name}")));
    }
    if matches!(vision.present("layers"), Some(Value::Array(_))) {
        return Err(vision.unsupported("layers", "a ModifiedResNet image tower"));
    }
    refuse_variants(vision, VISION_READ, &[("pool_type", "tok")])?;
    let width = vision.int("width", 768)?;
    let head_width = vision.int("head_width", 64)?;
    if head_width < 1 {
        return Err(vision.wrong("head_width", "a positive integer", head_width));
    }
    Ok(VisionConfig {
        image_size: square(vision, "image_size", 224)?,
        patch_size: square(vision, "patch_size", 16)?,
        width,
        layers: vision.int("layers", 12)?,
        heads: width / head_width,
        mlp_width: mlp_width(vision, width)?,
        activation: activation(vision, quick_gelu)?,
        norm_eps: norm_eps(vision)?,
        patch_bias: false,
        norm_before: !vision.bool("no_ln_pre", false)?,
    })
}

fn text_config(text: &Fields<'_>, quick_gelu: bool) -> Result<TextConfig> {
    if let Some(name) = text.text("hf_model_name")? {
        return Err(text.unsupported("hf_model_name", &format!("the text tower {name}")));
    }
    if let Some(name) = text.text("hf_tokenizer_name")? {
        return Err(text.unsupported("hf_tokenizer_name", &format!("the tokenizer {name}")));
    }
    let fixed = [("pool_type", "argmax"), ("proj_type", "linear")];
    refuse_variants(text, TEXT_READ, &fixed)?;
    let width = text.int("width", 512)?;
    Ok(TextConfig {
        context: text.int("context_length", 77)?,
        vocabulary: text.int("vocab_size", 49_408)?,
        width,
        layers: text.int("layers", 12)?,
        heads: text.int("heads", 8)?,
        mlp_width: mlp_width(text, width)?,
        activation: activation(text, quick_gelu)?,
        norm_eps: norm_eps(text)?,
    })
}

/// Refuses options beyond `read`, unless off or `fixed` to the only supported value.
fn refuse_variants(section: &Fields<'_>, read: &[&str], fixed: &[(&str, &str)]) -> Result<()> {
    for name in section.names() {
        let Some(value) = section.present(name) else {
            continue;
        };
        let usual = fixed
            .iter()
            .any(|(field, only)| field == name && value.as_str() == Some(only))
            || (name == "block_type" && value.as_str() == Some("default"));
        let off = value.as_bool() == Some(false)
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !(usual || off || read.contains(&name.as_str())) {
            return Err(section.unsupported(name, &format!("the option {value}")));
        }
    }
    Ok(())
}

fn mlp_width(section: &Fields<'_>, width: i64) -> Result<i64> {
    let ratio = section.float("mlp_ratio", 4.0)?;
    if !(ratio > 0.0 && ratio < 1024.0) {
        return Err(section.wrong("mlp_ratio", "a number between 0 and 1024", ratio));
    }
    Ok((width as f64 * ratio) as i64)
}

fn activation(section: &Fields<'_>, quick_gelu: bool) -> Result<Activation> {
    let approximate = match section.object("act_kwargs", "act_kwargs.")? {
        Some(options) => {
            if let Some(other) = options.names().find(|&name| name != "approximate") {
                return Err(options.unsupported(other, "an option of the activation"));
            }
            options.text("approximate")?
        }
        None => None,
    };
    match (quick_gelu, approximate) {
        (true, None) => Ok(Activation::QuickGelu),
        (false, None | Some("none")) => Ok(Activation::Gelu),
        (false, Some("tanh")) => Ok(Activation::GeluTanh),
        (_, Some(other)) => Err(section.unsupported(
            "act_kwargs",
            &format!("the approximation {other} with quick_gelu {quick_gelu}"),
        )),
    }
}

fn norm_eps(section: &Fields<'_>) -> Result<f64> {
    const USUAL: f64 = 1e-5;
    let Some(options) = section.object("norm_kwargs", "norm_kwargs.")? else {
        return Ok(USUAL);
    };
    if let Some(other) = options.names().find(|&name| name != "eps") {
        return Err(options.unsupported(other, "an option of the layer norms"));
    }
    options.float("eps", USUAL)
}

fn preprocess(section: &Fields<'_>, image_size: i64) -> Result<Preprocess> {
    let size = square(section, "size", image_size)?;
    if size != image_size {
        let expected = format!("{image_size}, as the model takes it");
        return Err(section.wrong("size", &expected, size));
    }
    if let Some(mode) = section.text("mode")?.filter(|&mode| mode != "RGB") {
        return Err(section.unsupported("mode", &format!("the colour mode {mode}")));
    }
    let filter = match section.text("interpolation")?.unwrap_or("bicubic") {
        // `random` affects training only.
        "bicubic" | "random" => Filter::Bicubic,
        "bilinear" => Filter::Bilinear,
        other => return Err(section.wrong("interpolation", "bicubic or bilinear", other)),
    };
    let resize = match section.text("resize_mode")?.unwrap_or("shortest") {
        "shortest" => Resize::ShortSide(side(image_size)),
        "squash" => Resize::Squash,
        "longest" => return Err(section.unsupported("resize_mode", "padding to the long side")),
        other => return Err(section.wrong("resize_mode", "shortest or squash", other)),
    };
    Ok(Preprocess {
        geometry: Geometry {
            size: side(image_size),
            resize,
            filter,
        },
        mean: section.channels("mean", Preprocess::OPENAI_MEAN)?,
        std: section.channels("std", Preprocess::OPENAI_STD)?,
    })
}

/// A side in pixels, given once or for both sides.
fn square(section: &Fields<'_>, name: &str, default: i64) -> Result<i64> {
    let Some(Value::Array(sides)) = section.present(name) else {
        return section.int(name, default);
    };
    match sides.as_slice() {
        [height, width] if height == width => height
            .as_i64()
            .ok_or_else(|| section.wrong(name, "an integer", height)),
        _ => Err(section.unsupported(name, "a frame that is not square")),
    }
}
