//! A trained run on disk: its newest checkpoint, and the part needed for recognition.

use std::path::{Path, PathBuf};

use clips::Identity;
use models::{ModelConfig, VideoTextModel};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Loaded, STEP, Store, TRAINED, Tensors};
use crate::export::{is_exported, read_exported};
use crate::{Calibration, Error, Result};

/// The folder of checkpoints in that of a run.
const CHECKPOINTS: &str = "checkpoints";

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
    /// Its calibration on held-out clips; none without a cross-validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
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
    Store::new(folder.join(CHECKPOINTS), keep)
}

/// The newest checkpoint of the run in `folder` that verifies; `None` before the first.
///
/// # Errors
/// [`Error::Checkpoint`] if there are some and none verifies.
pub fn newest<R: DeserializeOwned>(folder: &Path) -> Result<Option<Loaded<R>>> {
    let Some(loaded) = store(folder, 1).load::<State<R>>()? else {
        return Ok(None);
    };
    for (path, reason) in &loaded.refused {
        tracing::warn!(
            "{}: {reason}; the older step {} is used",
            path.display(),
            loaded.step
        );
    }
    Ok(Some(Loaded {
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
    if place.join(CHECKPOINTS).is_dir() {
        return Some(place.to_path_buf());
    }
    let seed = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix("seed-")?;
        let number: u64 = name.parse().ok()?;
        path.join(CHECKPOINTS).is_dir().then_some((number, path))
    };
    let entries = std::fs::read_dir(place).ok()?.flatten();
    entries
        .filter_map(|entry| seed(entry.path()))
        .min()
        .map(|(_, path)| path)
}

/// The folder of a trained seed as [`find`] finds it, or `place` if it holds an exported run.
#[must_use]
pub fn find_trained(place: &Path) -> Option<PathBuf> {
    match is_exported(place) {
        true => Some(place.to_path_buf()),
        false => find(place),
    }
}

/// A trained model, read from a run or an exported one.
pub(crate) struct Trained {
    /// The checkpoint's folder, or that of the exported run.
    pub(crate) path: PathBuf,
    pub(crate) card: Card,
    pub(crate) parameters: Tensors,
    /// A sentence, if the run is not finished.
    pub(crate) unfinished: Option<String>,
}

impl Trained {
    /// That in `folder`, which [`find_trained`] found.
    ///
    /// # Errors
    /// [`Error::NotTrained`] before the first checkpoint; [`Error::Checkpoint`] for a damaged one.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        if is_exported(folder) {
            let (card, parameters) = read_exported(folder)?;
            return Ok(Self {
                path: folder.into(),
                card,
                parameters,
                unfinished: None,
            });
        }
        let mut loaded = newest::<Run>(folder)?.ok_or_else(|| Error::NotTrained {
            path: folder.into(),
            reason: NO_CHECKPOINT.into(),
        })?;
        let parameters = loaded.groups.remove(TRAINED);
        let parameters = parameters.ok_or_else(|| Error::Checkpoint {
            path: loaded.path.clone(),
            reason: "holds no trained parameters".into(),
        })?;
        Ok(Self {
            unfinished: unfinished(folder, loaded.step)?,
            path: loaded.path,
            card: loaded.state.card,
            parameters,
        })
    }
}

/// The part of a run's record that is needed here.
#[derive(Deserialize)]
struct Run {
    card: Card,
}

const NO_CHECKPOINT: &str = "a run without a checkpoint: it was interrupted, or failed, \
                                        before the first one; the command that started it resumes it";

/// Refuses a path that belongs to a run but is not one that [`find`] finds.
///
/// # Errors
/// [`Error::NotTrained`] for a run without a checkpoint, and for a folder inside a run.
pub fn expect_not_run(place: &Path) -> Result<()> {
    let refuse = |reason: String| Error::NotTrained {
        path: place.into(),
        reason,
    };
    if !place.is_dir() {
        return Ok(());
    }
    let seeds = std::fs::read_dir(place).into_iter().flatten().flatten();
    let has_seeds = seeds
        .filter_map(|entry| entry.file_name().into_string().ok())
        .any(|name| {
            name.strip_prefix("seed-")
                .is_some_and(|seed| seed.parse::<u64>().is_ok())
        });
    if has_seeds || place.join("config.toml").is_file() || place.join("log.jsonl").is_file() {
        return Err(refuse(NO_CHECKPOINT.into()));
    }
    match around(place) {
        Some(run) => Err(refuse(format!(
            "inside the run {}; give that folder",
            run.display()
        ))),
        None => Ok(()),
    }
}

/// The run whose folder of checkpoints, or one of them, is `place`.
fn around(place: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(place).ok()?;
    let name = absolute.file_name()?.to_str()?;
    let checkpoints = match name.starts_with(STEP) {
        true => absolute.parent()?,
        false => &absolute,
    };
    let is_ours = checkpoints.file_name()? == CHECKPOINTS;
    is_ours.then(|| checkpoints.parent().map(Path::to_path_buf))?
}

/// A note on a run whose training has no result yet.
fn unfinished(folder: &Path, step: u64) -> Result<Option<String>> {
    let is_finished = disk::is_there(&folder.join("result.json"))?;
    Ok((!is_finished).then(|| {
        format!(
            "{}: the run is not finished; its checkpoint of step {step} is used",
            folder.display()
        )
    }))
}

/// Copies the tensors of `from` into the parameters of `model`.
///
/// # Errors
/// [`Error::Mismatch`] listing the tensors that are missing, unknown or of another shape;
/// [`Error::NotFinite`] with the first that is not. Nothing has changed then.
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
    for name in own.keys() {
        if let Some(saved) = from.get(name)
            && saved.f_isfinite()?.f_all()?.int64_value(&[]) == 0
        {
            return Err(Error::NotFinite { name: name.clone() });
        }
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
