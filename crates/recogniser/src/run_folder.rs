//! A trained run on disk: its newest checkpoint, and the part needed for recognition.

use std::path::{Path, PathBuf};

use clips::Identity;
use models::{ModelConfig, VideoTextModel};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Loaded, Store, Tensors};
use crate::{Error, Result};

/// Everything needed to recognise with a checkpoint, besides its tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Card {
    /// The model.
    pub model: ModelConfig,
    /// The class names as prompts have them, in the order of the model's class indices.
    pub labels: Vec<String>,
    /// The class names as the data set writes them, in the same order; none in older checkpoints.
    #[serde(default)]
    pub names: Vec<String>,
    /// T, frames per clip.
    pub frames: usize,
    /// The backbone it was trained on.
    pub backbone: Identity,
}

/// The content of a checkpoint's `state.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct State<R> {
    /// Number of optimizer updates.
    pub updates: u64,
    /// The run: configuration, labels, data and backbone.
    pub run: R,
}

/// The folder of a run's checkpoints below its own.
pub fn store(folder: &Path, keep: usize) -> Store {
    Store::new(folder.join("checkpoints"), keep)
}

/// The newest checkpoint of the run in `folder` that verifies; `None` before the first.
///
/// # Errors
/// [`Error::Checkpoint`] if there are some and none verifies.
pub fn newest<R: DeserializeOwned>(folder: &Path) -> Result<Option<Loaded<R>>> {
    Ok(store(folder, 1).load::<State<R>>()?.map(|loaded| Loaded {
        path: loaded.path,
        step: loaded.step,
        groups: loaded.groups,
        state: loaded.state.run,
        hash: loaded.hash,
        refused: loaded.refused,
    }))
}

/// The folder of a trained seed: `place` itself, or its first `seed-*` folder; `None` if
/// `place` is not a run folder.
#[must_use]
pub fn find(place: &Path) -> Option<PathBuf> {
    if place.join("checkpoints").is_dir() {
        return Some(place.to_path_buf());
    }
    let seed = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix("seed-")?;
        let number: u64 = name.parse().ok()?;
        path.join("checkpoints").is_dir().then_some((number, path))
    };
    let entries = std::fs::read_dir(place).ok()?.flatten();
    entries
        .filter_map(|entry| seed(entry.path()))
        .min()
        .map(|(_, path)| path)
}

/// Copies the tensors of `from` into the parameters of `model`.
///
/// # Errors
/// [`Error::Mismatch`] listing the tensors that are missing, unknown or of another shape;
/// nothing has changed then.
pub fn load_parameters(model: &dyn VideoTextModel, from: &Tensors) -> Result<()> {
    let own = model.trained().variables();
    let mut wrong: Vec<String> = Vec::new();
    for (name, tensor) in &own {
        match from.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(saved) if saved.size() != tensor.size() => wrong.push(format!(
                "{name} is {:?}, expected {:?}",
                saved.size(),
                tensor.size()
            )),
            Some(_) => {}
        }
    }
    for name in from.keys().filter(|name| !own.contains_key(*name)) {
        wrong.push(format!("{name} is unknown to the model"));
    }
    if !wrong.is_empty() {
        wrong.sort();
        return Err(Error::mismatch(
            "trained parameters",
            "those of the configured model",
            wrong.join("; "),
        ));
    }
    let _guard = tch::no_grad_guard();
    for (name, mut tensor) in own {
        if let Some(saved) = from.get(&name) {
            tensor.f_copy_(saved)?;
        }
    }
    Ok(())
}

/// The model's parameters by name, copied.
pub fn parameters(model: &dyn VideoTextModel) -> Tensors {
    let variables = model.trained().variables().into_iter();
    variables
        .map(|(name, tensor)| (name, tensor.detach().copy()))
        .collect()
}
