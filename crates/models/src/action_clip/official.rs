//! Checkpoints of the official repository (sallymmx/ActionCLIP): a dict with the state of CLIP
//! under `model_state_dict` and that of the temporal head under `fusion_model_state_dict`.

use std::collections::BTreeMap;
use std::path::Path;

use clip_backbone::weights::{StoredTensor, TorchFile};
use clip_backbone::{Checkpoint, Config, Usage};
use tch::{Device, Kind, Tensor};

use super::{BACKBONE, Head, VisualPrompt};
use crate::Result;

/// What data-parallel training puts before every name.
const PARALLEL: &str = "module.";
/// The head's table of positions; every head but the mean has one, and only
/// [`Head::Transformer`] reads it.
const POSITIONS: &str = "frame_position_embeddings.weight";
/// The embedding of time of a model with joint attention, among those of the image tower.
const TIME: &str = "visual.time_embedding";
/// Before the names of a block that stands behind a temporal shift.
const SHIFTED: &str = ".net.";

/// What an official checkpoint holds.
#[derive(Debug)]
pub struct Official {
    /// Parameters in fp32 by the names of [`ActionClip`](super::ActionClip)'s.
    pub parameters: BTreeMap<String, Tensor>,
    /// The temporal head they are of.
    pub head: Head,
    /// How the image tower they are of sees time.
    pub visual_prompt: VisualPrompt,
}

impl Official {
    /// Reads the file at `path`, a checkpoint on a CLIP of the shape `clip`. Nothing in it is
    /// run; epoch and optimizer state are passed over.
    ///
    /// # Errors
    /// [`crate::Error::Backbone`] where the file is no such checkpoint, is damaged, or its CLIP
    /// is of another shape; missing and unknown names are listed.
    pub fn read(path: &Path, clip: &Config) -> Result<Self> {
        let file = TorchFile::open(path)?;
        let part = |key: &str| {
            let found = file
                .root()
                .get(key)
                .ok_or_else(|| clip_backbone::Error::Malformed {
                    path: path.into(),
                    item: key.into(),
                    reason: "is not there, as it is in ActionCLIP's official checkpoints".into(),
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

/// The head whose names these are.
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
