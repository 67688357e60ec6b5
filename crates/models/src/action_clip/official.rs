//! Checkpoints of the official repository (sallymmx/ActionCLIP): a dict with the state of CLIP
//! under `model_state_dict` and that of the temporal head under `fusion_model_state_dict`.

use std::collections::BTreeMap;
use std::path::Path;

use clip_backbone::weights::{StoredTensor, TorchFile};
use clip_backbone::{Checkpoint, Config, Usage};
use tch::{Device, Kind, Tensor};

use super::{BACKBONE, Head, VisualPrompt};
use crate::Result;

/// The prefix that data-parallel training adds to every name.
const PARALLEL: &str = "module.";
/// The head's position table; every head except the mean has one, and only
/// [`Head::Transformer`] reads it.
const POSITIONS: &str = "frame_position_embeddings.weight";
/// The temporal embedding of a model with joint attention, in the image tower.
const TIME: &str = "visual.time_embedding";
/// The prefix of a block after a temporal shift.
const SHIFTED: &str = ".net.";

/// The content of an official checkpoint.
#[derive(Debug)]
pub struct Official {
    /// Parameters in fp32, named as in [`ActionClip`](super::ActionClip).
    pub parameters: BTreeMap<String, Tensor>,
    /// The temporal head.
    pub head: Head,
    /// Temporal modelling in the image tower.
    pub visual_prompt: VisualPrompt,
}

impl Official {
    /// Reads the file at `path`, a checkpoint on a CLIP of the shape `clip`. Nothing in it is
    /// executed; epoch and optimizer state are skipped.
    ///
    /// # Errors
    /// [`crate::Error::Backbone`] if the file is not such a checkpoint, is damaged, or its CLIP
    /// has another shape; missing and unknown names are listed.
    pub fn read(path: &Path, clip: &Config) -> Result<Self> {
        let file = TorchFile::open(path)?;
        let part = |key: &str| {
            let found = file
                .root()
                .get(key)
                .ok_or_else(|| clip_backbone::Error::Malformed {
                    path: path.into(),
                    item: key.into(),
                    reason: "is missing; ActionCLIP's official checkpoints have it".into(),
                })?;
            Ok::<_, clip_backbone::Error>(without_prefix(file.tensors(found)?))
        };
        let (mut towers, mut fusion) =
            (part("model_state_dict")?, part("fusion_model_state_dict")?);

        let mut parameters = BTreeMap::new();
        let mut visual_prompt = VisualPrompt::None;
        if let Some(time) = towers.remove(TIME) {
            visual_prompt = VisualPrompt::PreNetwork;
            let time = time.read(Device::Cpu, Kind::Float)?;
            parameters.insert("temporal_embedding".to_owned(), time);
        }
        if towers.keys().any(|name| name.contains(SHIFTED)) {
            visual_prompt = VisualPrompt::InNetwork;
            towers = towers
                .into_iter()
                .map(|(name, tensor)| (name.replacen(SHIFTED, ".", 1), tensor))
                .collect();
        }
        let checkpoint = Checkpoint::from_tensors(path, clip, towers)?;
        let towers = checkpoint.load(Usage::FineTuned, Device::Cpu, Kind::Float)?;
        for (name, leaf) in towers.parameters() {
            parameters.insert(format!("{BACKBONE}{name}"), leaf.detach());
        }

        let head = head_of(&fusion);
        if head != Head::Transformer {
            fusion.remove(POSITIONS);
        }
        for (name, tensor) in fusion {
            parameters.insert(name, tensor.read(Device::Cpu, Kind::Float)?);
        }
        Ok(Self {
            parameters,
            head,
            visual_prompt,
        })
    }
}

fn without_prefix(tensors: BTreeMap<String, StoredTensor>) -> BTreeMap<String, StoredTensor> {
    let tensors = tensors.into_iter();
    let plain = |name: String| match name.strip_prefix(PARALLEL) {
        Some(rest) => rest.to_owned(),
        None => name,
    };
    tensors
        .map(|(name, tensor)| (plain(name), tensor))
        .collect()
}

/// The head with these parameter names.
fn head_of(fusion: &BTreeMap<String, StoredTensor>) -> Head {
    let has = |prefix: &str| fusion.keys().any(|name| name.starts_with(prefix));
    if has("shift.") {
        Head::Conv1d
    } else if has("lstm_visual.") {
        Head::Lstm
    } else if has("transformer.cls_token") {
        Head::TransformerCls
    } else if has("transformer.") {
        Head::Transformer
    } else {
        Head::Mean
    }
}
