//! A CLIP of any size with generated weights, so that no weight file is needed.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use clip_backbone::{ClipModel, Config, Parameter, ParameterSource, Result, Usage};
use tch::{Device, Kind, Tensor};

/// Weights from the formula, by name and shape.
struct Generated(BTreeMap<String, Vec<i64>>);

impl ParameterSource for Generated {
    fn take(&mut self, name: &str) -> Result<Option<Parameter>> {
        Ok(self.0.remove(name).map(|shape| {
            let values = testkit::formula::parameter(name, &shape);
            Tensor::from_slice(&values).view(shape.as_slice()).into()
        }))
    }
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
pub fn clip(config: &Config, kind: Kind) -> ClipModel {
    let mut source = Generated(config.parameters().into_iter().collect());
    ClipModel::new(config, &mut source, Usage::Frozen, Device::Cpu, kind).unwrap()
}

/// Tensors of a golden file.
pub fn read(path: &std::path::Path) -> HashMap<String, Tensor> {
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
