//! The shape of weights that come without a configuration: named, or read off OpenAI's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fields::{Fields, read_json};
use super::{folder, hugging_face, open_clip};
use crate::config::{Config, TextConfig, VisionConfig};
use crate::preprocess::Preprocess;
use crate::weights::StoredTensor;
use crate::weights::naming::Named;
use crate::{Error, Result};
use layers::Activation;

/// The width of an attention head in OpenAI's models, whose files do not state it.
const OPENAI_HEAD_WIDTH: i64 = 64;

/// A model's shape, and what else its configuration states.
pub(super) struct Architecture {
    pub(super) config: Config,
    pub(super) preprocess: Option<Preprocess>,
    /// The folder of its configuration, which may hold a tokenizer.
    pub(super) folder: Option<PathBuf>,
}

impl Architecture {
    /// A preset's name, such as `ViT-B-16`, or a configuration file, or a folder with one.
    pub(super) fn named(name: &str) -> Result<Self> {
        if let Some(config) = Config::preset(name) {
            return Ok(Self {
                config,
                preprocess: None,
                folder: None,
            });
        }
        let path = Path::new(name);
        let path = match path.is_dir() {
            true => folder::find_config(path),
            false => path.is_file().then(|| path.to_owned()),
        };
        let path = path.ok_or_else(|| Error::Config {
            field: "architecture".into(),
            expected: format!(
                "{}, each also with -gelu in place of QuickGELU, or the path of a config.json or \
                 open_clip_config.json",
                Config::PRESETS.join(", ")
            ),
            got: name.into(),
        })?;
        Self::read(&path)
    }

    /// A configuration file of either layout.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let value = read_json(path)?;
        let root = Fields::of(path, &value)?;
        let of_open_clip = ["model_cfg", "vision_cfg"]
            .iter()
            .any(|field| root.present(field).is_some());
        let (config, preprocess) = if of_open_clip {
            let (config, preprocess) = open_clip::read(path)?;
            (config, Some(preprocess))
        } else {
            let config = hugging_face::read_config(path)?;
            let beside = path.with_file_name("preprocessor_config.json");
            let size = config.vision.image_size;
            let preprocess = beside
                .is_file()
                .then(|| hugging_face::read_preprocess(&beside, size));
            (config, preprocess.transpose()?)
        };
        Ok(Self {
            config,
            preprocess,
            folder: path.parent().map(Path::to_path_buf),
        })
    }

    /// The shape of an OpenAI model, read off its parameters as OpenAI's own code does.
    pub(super) fn of_openai(path: &Path, named: &Named) -> Result<Self> {
        Ok(Self {
            config: openai_config(path, named)?,
            preprocess: None,
            folder: None,
        })
    }
}

fn openai_config(path: &Path, named: &Named) -> Result<Config> {
    let shape = |name: &str, rank: usize| -> Result<&[i64]> {
        let own = |shape: &[i64]| named.spelling.of(name, shape).0;
        match named.tensors.get(name).map(StoredTensor::shape) {
            Some(shape) if shape.len() == rank => Ok(shape),
            Some(shape) => Err(Error::Malformed {
                path: path.into(),
                item: own(shape),
                reason: format!("of shape {shape:?}"),
            }),
            None => Err(Error::Parameters {
                path: path.into(),
                missing: vec![own(&[])],
                unused: Vec::new(),
                wrong: Vec::new(),
            }),
        }
    };
    let layers = |tower: &str| {
        let prefix = format!("{tower}.encoder.layers.");
        let indices: BTreeSet<&str> = named
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix)?.split('.').next())
            .collect();
        indices.len() as i64
    };
    let mlp_width = |tower: &str| {
        let name = format!("{tower}.encoder.layers.0.mlp.fc1.bias");
        shape(&name, 1).map(|shape| shape[0])
    };
    let kernel = shape("vision_model.embeddings.patch_embedding.weight", 4)?;
    let patches = shape("vision_model.embeddings.position_embedding.weight", 2)?[0] - 1;
    let grid = (patches.max(0) as f64).sqrt().round() as i64;
    let context = shape("text_model.embeddings.position_embedding.weight", 2)?[0];
    let tokens = shape("text_model.embeddings.token_embedding.weight", 2)?;
    let (width, patch) = (kernel[0], kernel[3]);
    let config = Config {
        vision: VisionConfig {
            image_size: patch.saturating_mul(grid),
            patch_size: patch,
            width,
            layers: layers("vision_model"),
            heads: width / OPENAI_HEAD_WIDTH,
            mlp_width: mlp_width("vision_model")?,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
            patch_bias: false,
            norm_before: true,
        },
        text: TextConfig {
            context,
            vocabulary: tokens[0],
            width: tokens[1],
            layers: layers("text_model"),
            heads: tokens[1] / OPENAI_HEAD_WIDTH,
            mlp_width: mlp_width("text_model")?,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
        },
        joint_width: shape("text_projection.weight", 2)?[0],
    };
    config.check().map_err(|e| e.in_file(path))?;
    Ok(config)
}
