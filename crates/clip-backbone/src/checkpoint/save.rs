//! Writes a checkpoint, whatever layout it was read from, in Hugging Face's.

use std::collections::HashMap;
use std::path::Path;

use pixels::{Filter, Resize};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use super::Checkpoint;
use crate::config::Config;
use crate::preprocess::Preprocess;
use crate::{Error, Result};
use layers::Activation;

impl Checkpoint {
    /// Writes `config.json`, `preprocessor_config.json`, `tokenizer.json` and `model.safetensors` into
    /// `folder`, with the numbers of the weights as they were read. `more` is added to `config.json`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a tower that this layout cannot state; [`Error::NoTokenizer`];
    /// [`Error::Io`] if a file cannot be read or written.
    pub fn save(&self, folder: &Path, more: Map<String, Value>) -> Result<()> {
        if !self.config.vision.norm_before {
            return Err(Error::Unsupported {
                path: self.place.clone(),
                item: "norm_before".into(),
                what: "an image tower without a layer norm before its blocks, in Hugging Face's \
                       layout,"
                    .into(),
            });
        }
        let tokenizer = self.tokenizer()?;
        let mut config = transformers_config(&self.config);
        config["text_config"]["bos_token_id"] = tokenizer.start_of_text().into();
        config["text_config"]["eos_token_id"] = tokenizer.end_of_text().into();
        if let Value::Object(config) = &mut config {
            config.extend(more);
        }
        write(folder, "config.json", &pretty(&config))?;
        let preprocess = pretty(&preprocess_file(&self.preprocess));
        write(folder, "preprocessor_config.json", &preprocess)?;
        let words = tokenizer.to_json(&folder.join("tokenizer.json"))?;
        write(folder, "tokenizer.json", words.as_bytes())?;
        write(folder, "model.safetensors", &self.weights_file(folder)?)
    }

    /// All tensors under Hugging Face's names.
    fn weights_file(&self, folder: &Path) -> Result<Vec<u8>> {
        let mut raw = Vec::with_capacity(self.tensors.len());
        for (name, stored) in &self.tensors {
            let tensor = stored.read(Device::Cpu, stored.kind())?;
            let shape: Vec<usize> = tensor.size().iter().map(|&side| side as usize).collect();
            raw.push((name, dtype(tensor.kind()), shape, bytes(&tensor)?));
        }
        let failed = |error: safetensors::SafeTensorError| Error::Malformed {
            path: folder.into(),
            item: "model.safetensors".into(),
            reason: error.to_string(),
        };
        let views = raw.iter().map(|(name, dtype, shape, bytes)| {
            Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
        });
        let views: std::result::Result<Vec<_>, _> = views.collect();
        // Transformers refuses files without it.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views.map_err(failed)?, Some(metadata)).map_err(failed)
    }
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}

/// Weights have one of three kinds, which opening has checked.
fn dtype(kind: Kind) -> Dtype {
    match kind {
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        _ => Dtype::F32,
    }
}

/// The `config.json` of transformers' `CLIPModel`, without the ids of a tokenizer.
pub fn transformers_config(config: &Config) -> Value {
    let (v, t) = (&config.vision, &config.text);
    json!({
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.joint_width,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": t.vocabulary,
            "max_position_embeddings": t.context,
            "hidden_size": t.width,
            "num_hidden_layers": t.layers,
            "num_attention_heads": t.heads,
            "intermediate_size": t.mlp_width,
            "projection_dim": config.joint_width,
            "hidden_act": activation(t.activation),
            "layer_norm_eps": t.norm_eps,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "image_size": v.image_size,
            "patch_size": v.patch_size,
            "num_channels": 3,
            "hidden_size": v.width,
            "num_hidden_layers": v.layers,
            "num_attention_heads": v.heads,
            "intermediate_size": v.mlp_width,
            "projection_dim": config.joint_width,
            "hidden_act": activation(v.activation),
            "layer_norm_eps": v.norm_eps,
        },
    })
}

fn activation(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "relu",
        Activation::QuickGelu => "quick_gelu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
    }
}

fn preprocess_file(preprocess: &Preprocess) -> Value {
    let geometry = &preprocess.geometry;
    let size = match geometry.resize {
        Resize::ShortSide(side) => json!({ "shortest_edge": side }),
        Resize::Squash => json!({ "height": geometry.size, "width": geometry.size }),
    };
    let resample = match geometry.filter {
        Filter::Bilinear => 2,
        Filter::Bicubic => 3,
    };
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": true,
        "size": size,
        "resample": resample,
        "do_center_crop": true,
        "crop_size": { "height": geometry.size, "width": geometry.size },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": preprocess.mean,
        "image_std": preprocess.std,
        "do_convert_rgb": true,
    })
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    disk::write(&folder.join(name), bytes).map_err(|error| Error::Io {
        op: "write",
        path: folder.join(name),
        source: error.reason,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pixels::Geometry;

    /// The demo's backbone with another geometry, saved and read again.
    #[test]
    fn a_saved_checkpoint_is_the_one_that_was_read() {
        let demo = testkit::workspace_root().join("datasets/demo/backbone");
        let mut first = Checkpoint::open(&demo).unwrap();
        for (resize, filter) in [
            (Resize::Squash, Filter::Bilinear),
            (Resize::ShortSide(72), Filter::Bicubic),
        ] {
            first.preprocess.geometry = Geometry {
                resize,
                filter,
                ..first.preprocess.geometry
            };
            let folder = tempfile::tempdir().unwrap();
            let more = Map::from_iter([("id2label".to_owned(), json!({ "0": "wave" }))]);
            first.save(folder.path(), more).unwrap();
            let again = Checkpoint::open(folder.path()).unwrap();
            assert_eq!(again.config, first.config);
            assert_eq!(again.preprocess, first.preprocess);
            assert_eq!(again.tensors.len(), first.tensors.len());
            for (name, tensor) in &first.tensors {
                let read = |from: &Checkpoint| {
                    let stored = &from.tensors[name];
                    stored.read(Device::Cpu, stored.kind()).unwrap()
                };
                let same = read(&again) == read(&first);
                assert!(
                    same && again.tensors[name].kind() == tensor.kind(),
                    "{name}"
                );
            }
            let config: Value =
                super::super::read_json(&folder.path().join("config.json")).unwrap();
            assert_eq!(config["id2label"]["0"], "wave");
        }
    }

    #[test]
    fn a_tower_that_the_layout_cannot_state_is_refused() {
        let demo = testkit::workspace_root().join("datasets/demo/backbone");
        let mut checkpoint = Checkpoint::open(&demo).unwrap();
        checkpoint.config.vision.norm_before = false;
        let folder = tempfile::tempdir().unwrap();
        let error = checkpoint.save(folder.path(), Map::new()).unwrap_err();
        assert!(error.to_string().contains("not supported"), "{error}");
    }
}
