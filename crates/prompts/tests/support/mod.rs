//! A CLIP of any size with generated weights, so that no weight file is needed.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use clip_backbone::{Clip, Config, ParameterSource, Result, Usage};
use tch::{Device, Kind, Tensor};

/// Weights from the formula, their shapes from the configuration.
struct Generated(Config);

impl ParameterSource for Generated {
    fn take(&mut self, name: &str) -> Result<Option<Tensor>> {
        let shape = shape(&self.0, name);
        let values = testkit::formula::parameter(name, &shape);
        Ok(Some(Tensor::from_slice(&values).view(shape.as_slice())))
    }

    fn has(&self, _name: &str) -> bool {
        true
    }
}

/// The shape of a parameter, by its Hugging Face name.
fn shape(config: &Config, name: &str) -> Vec<i64> {
    let (d, v, t) = (config.joint_width, &config.vision, &config.text);
    let (width, mlp) = match name.starts_with("text") {
        true => (t.width, t.mlp_width),
        false => (v.width, v.mlp_width),
    };
    match name {
        "logit_scale" => return vec![],
        "visual_projection.weight" => return vec![d, v.width],
        "text_projection.weight" => return vec![d, t.width],
        "vision_model.embeddings.class_embedding" => return vec![width],
        "vision_model.embeddings.patch_embedding.weight" => {
            return vec![width, 3, v.patch_size, v.patch_size];
        }
        "vision_model.embeddings.position_embedding.weight" => return vec![1 + v.patches(), width],
        "text_model.embeddings.token_embedding.weight" => return vec![t.vocabulary, width],
        "text_model.embeddings.position_embedding.weight" => return vec![t.context, width],
        _ => {}
    }
    let (out, inputs) = match name {
        _ if name.contains("fc1") => (mlp, width),
        _ if name.contains("fc2") => (width, mlp),
        _ => (width, width),
    };
    let vector = name.ends_with("bias") || name.contains("norm") || name.contains("layrnorm");
    if vector { vec![out] } else { vec![out, inputs] }
}

/// The tiny CLIP of the golden tensors.
pub fn tiny_config() -> Config {
    let mut config = Config::vit_b_16();
    config.joint_width = 32;
    let v = &mut config.vision;
    (v.image_size, v.width, v.layers, v.heads, v.mlp_width) = (64, 64, 4, 4, 256);
    let t = &mut config.text;
    (t.vocabulary, t.width, t.layers, t.heads, t.mlp_width) = (512, 64, 3, 4, 256);
    config
}

/// The text side of ViT-B/16, with an image tower too small to take time.
pub fn b16_text_config() -> Config {
    let mut config = Config::vit_b_16();
    let v = &mut config.vision;
    (v.image_size, v.width, v.layers, v.heads, v.mlp_width) = (16, 64, 1, 1, 64);
    config
}

/// A frozen CLIP with generated weights.
pub fn clip(config: &Config, kind: Kind) -> Clip {
    let mut source = Generated(config.clone());
    Clip::new(config, &mut source, Usage::Frozen, Device::Cpu, kind).unwrap()
}

/// Tensors of a golden file.
pub fn read(path: &std::path::Path) -> std::collections::HashMap<String, Tensor> {
    Tensor::read_safetensors(path)
        .unwrap()
        .into_iter()
        .collect()
}

/// The largest absolute difference.
pub fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// A tensor from the stream of `name`, uniform within `amplitude`.
pub fn stream(name: &str, shape: &[i64], amplitude: f64) -> Tensor {
    let count = shape.iter().product::<i64>() as usize;
    Tensor::from_slice(&testkit::formula::values(name, count, 0.0, amplitude)).view(shape)
}
