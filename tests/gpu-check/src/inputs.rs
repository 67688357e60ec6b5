//! Weights, frames and labels, all made by a formula: the same on every machine and device.

use std::sync::Arc;

use anyhow::Result;
use clip_backbone::{ClipModel, Config, Parameter, ParameterSource, Usage};
use prompts::{ClassTokens, Tokenize};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

/// The sizes of the check: ViT-B/16 on a GPU, a tower of four narrow layers on a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Full,
    Small,
}

impl Scale {
    pub(crate) fn of(device: Device) -> Self {
        match device {
            Device::Cuda(_) => Self::Full,
            _ => Self::Small,
        }
    }

    /// `full` or `small`.
    pub(crate) fn pick<T>(self, full: T, small: T) -> T {
        match self {
            Self::Full => full,
            Self::Small => small,
        }
    }

    pub(crate) fn config(self) -> Config {
        let mut config = Config::vit_b_16();
        if self == Self::Small {
            config.joint_width = 64;
            let v = &mut config.vision;
            (v.image_size, v.width, v.layers, v.heads, v.mlp_width) = (64, 128, 4, 4, 512);
            let t = &mut config.text;
            (t.vocabulary, t.width, t.layers, t.heads, t.mlp_width) = (512, 64, 4, 4, 256);
        }
        config
    }
}

struct Generated(std::collections::BTreeMap<String, Vec<i64>>);

impl ParameterSource for Generated {
    fn take(&mut self, name: &str) -> clip_backbone::Result<Option<Parameter>> {
        let found = self.0.remove(name);
        Ok(found.map(|shape| parameter(name, &shape).into()))
    }
}

fn parameter(name: &str, shape: &[i64]) -> Tensor {
    Tensor::from_slice(&testkit::formula::parameter(name, shape)).view(shape)
}

pub(crate) fn clip(scale: Scale, usage: Usage, device: Device, kind: Kind) -> Result<ClipModel> {
    let config = scale.config();
    let mut source = Generated(config.parameters().into_iter().collect());
    Ok(ClipModel::new(&config, &mut source, usage, device, kind)?)
}

/// Replaces the initial values of `store`, which differ between the generators of devices, and
/// the zeros, whose gradients would hide what comes after them.
pub(crate) fn fill(store: &VarStore) {
    tch::no_grad(|| {
        for (name, mut tensor) in store.variables() {
            tensor.copy_(&parameter(&name, &tensor.size()));
        }
    });
}

/// Numbers from the stream of `name`, uniform within 1.
pub(crate) fn stream(name: &str, shape: &[i64]) -> Tensor {
    let count = shape.iter().product::<i64>().max(0) as usize;
    Tensor::from_slice(&testkit::formula::values(name, count, 0.0, 1.0)).view(shape)
}

/// K classes with as many tokens in total as the labels of HMDB-51, UCF-101 and Kinetics-400.
pub(crate) fn classes(count: usize, vocabulary: i64) -> Result<ClassTokens> {
    let total = match count {
        51 => 74,
        101 => 212,
        400 => 944,
        _ => 2 * count,
    };
    let labels = (0..count).map(|class| {
        let length = total * (class + 1) / count - total * class / count;
        let ids = (0..length).map(|i| (class * 37 + i * 11) as i64 % (vocabulary - 20) + 10);
        (format!("class {class}"), ids.collect())
    });
    Ok(ClassTokens::from_ids(
        labels,
        vocabulary - 2,
        5,
        vocabulary - 1,
    )?)
}

pub(crate) fn labels(count: usize) -> Vec<String> {
    let name = |class| match class % 2 {
        0 => format!("jump{class}"),
        _ => format!("climb stairs{class}"),
    };
    (0..count).map(name).collect()
}

/// A tokenizer with one token for each word.
#[derive(Debug)]
struct Words {
    vocabulary: i64,
}

pub(crate) fn words(scale: Scale) -> Arc<dyn Tokenize> {
    let vocabulary = scale.config().text.vocabulary;
    Arc::new(Words { vocabulary })
}

impl Tokenize for Words {
    fn tokens(&self, text: &str) -> Vec<i64> {
        let id = |word: &str| {
            word.bytes().fold(7, |hash, byte| {
                (hash * 131 + i64::from(byte)) % (self.vocabulary - 2)
            })
        };
        text.split_whitespace().map(id).collect()
    }

    fn start(&self) -> i64 {
        self.vocabulary - 2
    }

    fn end(&self) -> i64 {
        self.vocabulary - 1
    }
}
