//! Hugging Face's `config.json` and `preprocessor_config.json`.

use std::path::Path;

use serde_json::{Map, Value};

use super::fields::{Fields, read_json};
use crate::config::{Config, TextConfig, VisionConfig};
use crate::preprocess::{Preprocess, side};
use crate::{Error, Result};
use layers::Activation;
use pixels::{Filter, Geometry, Resize};

/// Reads the model's shape from `config.json`. Absent fields have the defaults of
/// transformers' `CLIPConfig`, for that library leaves defaults out.
pub(super) fn read_config(path: &Path) -> Result<Config> {
    let value = read_json(path)?;
    let root = Fields::of(path, &value)?;
    if let Some(model) = root.text("model_type")?.filter(|&model| model != "clip") {
        return Err(root.unsupported("model_type", &format!("the model type {model}")));
    }
    let vision = section(&root, "vision_config")?;
    let vision = Fields::of(path, &vision)?.below("vision_config.");
    let text = section(&root, "text_config")?;
    let text = Fields::of(path, &text)?.below("text_config.");
    if vision.int("num_channels", 3)? != 3 {
        return Err(vision.unsupported("num_channels", "another number of channels than three"));
    }
    let config = Config {
        vision: VisionConfig {
            image_size: vision.int("image_size", 224)?,
            patch_size: vision.int("patch_size", 32)?,
            width: vision.int("hidden_size", 768)?,
            layers: vision.int("num_hidden_layers", 12)?,
            heads: vision.int("num_attention_heads", 12)?,
            mlp_width: vision.int("intermediate_size", 3072)?,
            activation: activation(&vision)?,
            norm_eps: vision.float("layer_norm_eps", 1e-5)?,
            patch_bias: false,
            norm_before: true,
        },
        text: TextConfig {
            context: text.int("max_position_embeddings", 77)?,
            vocabulary: text.int("vocab_size", 49_408)?,
            width: text.int("hidden_size", 512)?,
            layers: text.int("num_hidden_layers", 12)?,
            heads: text.int("num_attention_heads", 8)?,
            mlp_width: text.int("intermediate_size", 2048)?,
            activation: activation(&text)?,
            norm_eps: text.float("layer_norm_eps", 1e-5)?,
        },
        joint_width: root.int("projection_dim", 512)?,
    };
    config.check().map_err(|e| e.in_file(path))?;
    Ok(config)
}

/// Reads `preprocessor_config.json`.
pub(super) fn read_preprocess(path: &Path, image_size: i64) -> Result<Preprocess> {
    let value = read_json(path)?;
    let root = Fields::of(path, &value)?;
    for step in ["do_resize", "do_rescale", "do_normalize"] {
        if !root.bool(step, true)? {
            return Err(root.unsupported(step, "leaving out a step of preprocessing"));
        }
    }
    let filter = match root.int("resample", 3)? {
        2 => Filter::Bilinear,
        3 => Filter::Bicubic,
        other => return Err(root.wrong("resample", "2 (bilinear) or 3 (bicubic)", other)),
    };
    let (short, squash) = extent(&root, "size", image_size)?;
    let (crop, _) = extent(&root, "crop_size", image_size)?;
    let crop = match root.bool("do_center_crop", true)? {
        true => crop,
        false => short,
    };
    if !squash && !root.bool("do_center_crop", true)? {
        return Err(root.unsupported("do_center_crop", "frames that are not square"));
    }
    if crop != image_size {
        let expected = format!("{image_size}, as the model takes it");
        return Err(root.wrong("crop_size", &expected, crop));
    }
    let factor = root.float("rescale_factor", 1.0 / 255.0)?;
    if (factor * 255.0 - 1.0).abs() > 1e-6 {
        return Err(root.wrong("rescale_factor", "1/255", factor));
    }
    let resize = match squash {
        true => Resize::Squash,
        false => Resize::ShortSide(side(short)),
    };
    let preprocess = Preprocess {
        geometry: Geometry {
            size: side(image_size),
            resize,
            filter,
        },
        mean: root.channels("image_mean", Preprocess::OPENAI_MEAN)?,
        std: root.channels("image_std", Preprocess::OPENAI_STD)?,
    };
    preprocess.check().map_err(|e| e.in_file(path))?;
    Ok(preprocess)
}

/// A side in pixels, and whether both sides are forced to it.
fn extent(root: &Fields<'_>, name: &str, default: i64) -> Result<(i64, bool)> {
    if !matches!(root.present(name), Some(Value::Object(_))) {
        return Ok((root.int(name, default)?, false));
    }
    let at = format!("{name}.");
    let Some(size) = root.object(name, &at)? else {
        return Ok((default, false));
    };
    if size.present("shortest_edge").is_some() {
        return Ok((size.required_int("shortest_edge")?, false));
    }
    let (height, width) = (size.required_int("height")?, size.required_int("width")?);
    if height != width {
        return Err(root.unsupported(name, "a frame that is not square"));
    }
    Ok((height, true))
}

/// The section `name`, overlaid by the older `name_dict` as transformers does.
fn section(root: &Fields<'_>, name: &str) -> Result<Value> {
    let mut merged = Map::new();
    for part in [name.to_owned(), format!("{name}_dict")] {
        match root.present(&part) {
            None => {}
            Some(Value::Object(map)) => {
                merged.extend(map.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
            Some(other) => return Err(root.wrong(&part, "an object", other)),
        }
    }
    Ok(Value::Object(merged))
}

fn activation(section: &Fields<'_>) -> Result<Activation> {
    Ok(match section.text("hidden_act")?.unwrap_or("quick_gelu") {
        "quick_gelu" => Activation::QuickGelu,
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        other => {
            let expected = "quick_gelu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh or relu";
            return Err(section.wrong("hidden_act", expected, other));
        }
    })
}

impl Error {
    /// Attributes a configuration error to the file it was read from.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Config {
                field,
                expected,
                got,
            } => Self::ConfigFile {
                path: path.into(),
                field,
                expected,
                got,
            },
            other => other,
        }
    }
}
