//! A CLIP of any size with generated weights, so that no weight file is needed.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;

use clip_backbone::{ClipModel, Config, Parameter, ParameterSource, Result, Usage};
use tch::{Device, Kind, Tensor};

/// Weights from the formula, by name and shape.
pub struct Generated(pub BTreeMap<String, Vec<i64>>);

impl ParameterSource for Generated {
    fn take(&mut self, name: &str) -> Result<Option<Parameter>> {
        Ok(self.0.remove(name).map(|shape| {
            let values = testkit::formula::parameter(name, &shape);
            Tensor::from_slice(&values).view(shape.as_slice()).into()
        }))
    }
}

/// A frozen CLIP with generated weights.
pub fn clip(config: &Config, kind: Kind) -> ClipModel {
    let mut source = Generated(config.parameters().into_iter().collect());
    ClipModel::new(config, &mut source, Usage::Frozen, Device::Cpu, kind).unwrap()
}
