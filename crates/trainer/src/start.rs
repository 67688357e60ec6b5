//! Initial parameters of a training, in place of drawn ones: "pre-train, prompt,
//! fine-tune" (ActionCLIP).

use std::path::{Path, PathBuf};

use models::action_clip::{ActionClipConfig, Official};
use models::{ModelConfig, VideoTextModel};

use crate::config::StartHead;
use crate::run::Record;
use crate::{Error, Result};
use clips::Identity;
use recogniser::checkpoint::{Loaded, TRAINED, Tensors, fingerprint};
use recogniser::{load_parameters, newest, parameters};

/// Prefix of the backbone's parameters among ActionCLIP's.
const BACKBONE: &str = "clip.";
/// The parameters that joint attention adds to the image tower.
const TIME: &str = "temporal_embedding";

/// Initial parameters.
pub struct Start {
    parameters: Tensors,
    /// Their model.
    model: ModelConfig,
    place: PathBuf,
    /// The backbone they were trained on, if they do not contain it.
    backbone: Option<Identity>,
    /// Their description, for the record of a run that starts from them.
    pub hash: String,
}

impl Start {
    /// The newest checkpoint of the run at `place`, or the official ActionCLIP checkpoint there,
    /// which contains a whole CLIP, for a backbone of the shape `clip`.
    ///
    /// # Errors
    /// [`Error::Value`] if there is none; [`Error::Mismatch`] if its backbone has another width;
    /// any error of loading an official one.
    pub fn read(place: &Path, clip: &clip_backbone::Config) -> Result<Self> {
        if place.is_file() {
            return Self::official(place, clip);
        }
        let none = || Error::Value {
            key: "train.start_from".into(),
            expected: "a trained run, which holds checkpoints/ or seed-* folders, or an official \
                       ActionCLIP checkpoint"
                .into(),
            got: place.display().to_string(),
        };
        let folder = recogniser::find(place).ok_or_else(none)?;
        let loaded = newest::<Record>(&folder)?.ok_or_else(none)?;
        expect_width(&loaded, clip.joint_width)?;
        Self::of(&loaded)
    }

    /// The parameters of a loaded checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if its backbone is another or it holds no parameters.
    pub fn of_run(loaded: &Loaded<Record>, backbone: &Identity) -> Result<Self> {
        expect_backbone(loaded, backbone)?;
        Self::of(loaded)
    }

    fn of(loaded: &Loaded<Record>) -> Result<Self> {
        let copy = |(name, tensor): (&String, &tch::Tensor)| (name.clone(), tensor.shallow_clone());
        Ok(Self {
            parameters: trained_of(loaded)?.iter().map(copy).collect(),
            model: loaded.state.card.model.clone(),
            place: loaded.path.clone(),
            backbone: Some(loaded.state.card.backbone.clone()),
            hash: loaded.hash.clone(),
        })
    }

    fn official(path: &Path, clip: &clip_backbone::Config) -> Result<Self> {
        let read = Official::read(path, clip)?;
        Ok(Self {
            hash: fingerprint(&read.parameters)?,
            parameters: read.parameters,
            model: ModelConfig::ActionClip(ActionClipConfig {
                head: read.head,
                visual_prompt: read.visual_prompt,
                ..ActionClipConfig::published()
            }),
            place: path.into(),
            backbone: None,
        })
    }

    /// Refuses any backbone but the one they were trained on.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn expect_backbone(&self, ours: &Identity) -> Result<()> {
        match &self.backbone {
            Some(theirs) => expect_same(&self.place, theirs, ours),
            None => Ok(()),
        }
    }

    /// Copies them into `model`, which was built from `config`. With the head dropped, the new
    /// model keeps its own; parameters of the backbone that were frozen in the earlier training are
    /// the backbone's.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for another system, head or temporal modelling,
    /// which would fit by its shapes and be wrong, and for trained parameters that would be
    /// lost here; [`Error::Mismatch`] for parameters that do not fit.
    pub fn put_into(
        &self,
        model: &dyn VideoTextModel,
        config: &ModelConfig,
        head: StartHead,
    ) -> Result<()> {
        self.expect_alike(config, head)?;
        let mut whole = parameters(model);
        let keep = |name: &str| {
            let of_tower = name.starts_with(BACKBONE) || name == TIME;
            head == StartHead::Keep || of_tower
        };
        let is_held = |name: &str| name.starts_with(BACKBONE) && !whole.contains_key(name);
        if let Some(name) = self.parameters.keys().find(|name| is_held(name)) {
            return Err(self.refuse(format!(
                "trained {name}, which `--set model.action_clip.frozen=…` freezes here: it would \
                 be lost"
            )));
        }
        let missing = |name: &&String| {
            let may_lack = name.starts_with(BACKBONE);
            keep(name) && !may_lack && !self.parameters.contains_key(*name)
        };
        if let Some(name) = whole.keys().find(missing) {
            return Err(self.refuse(format!("has no {name}, which the model needs")));
        }
        for (name, tensor) in &self.parameters {
            if keep(name) {
                whole.insert(name.clone(), tensor.shallow_clone());
            }
        }
        Ok(load_parameters(model, &whole)?)
    }

    fn expect_alike(&self, ours: &ModelConfig, head: StartHead) -> Result<()> {
        match (&self.model, ours) {
            (ModelConfig::ActionClip(theirs), ModelConfig::ActionClip(ours)) => {
                if theirs.visual_prompt != ours.visual_prompt {
                    return Err(self.refuse(format!(
                        "has the visual prompt {}, this run has {}",
                        theirs.visual_prompt, ours.visual_prompt
                    )));
                }
                if head == StartHead::Keep && theirs.head != ours.head {
                    return Err(self.refuse(format!(
                        "has the head {}, this run has {}; `--set train.start_head=drop` \
                         starts without it",
                        theirs.head, ours.head
                    )));
                }
                Ok(())
            }
            (ModelConfig::SeeingInFlowing(_), ModelConfig::SeeingInFlowing(_)) => Ok(()),
            _ => Err(self.refuse("belongs to another system".into())),
        }
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Checkpoint {
            path: self.place.clone(),
            reason,
        }
    }
}

/// Refuses a checkpoint trained on another backbone.
pub(crate) fn expect_backbone(loaded: &Loaded<Record>, ours: &Identity) -> Result<()> {
    expect_width(loaded, ours.joint_width)?;
    expect_same(&loaded.path, &loaded.state.card.backbone, ours)
}

/// Refuses a checkpoint trained on a backbone of another width than `ours`.
fn expect_width(loaded: &Loaded<Record>, ours: i64) -> Result<()> {
    let theirs = loaded.state.card.backbone.joint_width;
    if theirs == ours {
        return Ok(());
    }
    let place = loaded.path.display();
    Err(Error::mismatch(
        "joint width of `--set backbone.weights=…`",
        format!("{theirs}, as {place} was trained on"),
        ours,
    ))
}

fn expect_same(path: &Path, theirs: &Identity, ours: &Identity) -> Result<()> {
    if theirs.sha256 == ours.sha256 {
        return Ok(());
    }
    Err(Error::Checkpoint {
        path: path.into(),
        reason: format!(
            "was trained on the backbone {} with SHA-256 {}; {} has {}",
            theirs.place.display(),
            theirs.sha256,
            ours.place.display(),
            ours.sha256
        ),
    })
}

/// The trained parameters of a checkpoint.
pub(crate) fn trained_of(loaded: &Loaded<Record>) -> Result<&Tensors> {
    loaded.groups.get(TRAINED).ok_or_else(|| Error::Checkpoint {
        path: loaded.path.clone(),
        reason: "holds no trained parameters".into(),
    })
}
