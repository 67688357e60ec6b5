//! Parameters that a training starts from instead of drawn ones: "pre-train, prompt,
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
/// What joint attention adds to the image tower.
const TIME: &str = "temporal_embedding";

/// Parameters to start from.
pub struct Start {
    parameters: Tensors,
    /// The model they are of.
    model: ModelConfig,
    place: PathBuf,
    /// The backbone they are trained on, where they do not bring it.
    backbone: Option<Identity>,
    /// What they are, for the record of what starts from them.
    pub hash: String,
}

impl Start {
    /// The newest checkpoint of the run at `place`, or the official ActionCLIP checkpoint there,
    /// which brings a whole CLIP with it, for a backbone of the shape `clip`.
    ///
    /// # Errors
    /// [`Error::Value`] if there is none, or it stands on a backbone of another width;
    /// whatever keeps an official one from loading.
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
    /// [`Error::Checkpoint`] if it stands on another backbone or holds no parameters.
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

    /// Refuses another backbone than the one they are trained on.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn expect_backbone(&self, ours: &Identity) -> Result<()> {
        match &self.backbone {
            Some(theirs) => expect_same(&self.place, theirs, ours),
            None => Ok(()),
        }
    }

    /// Puts them into `model`, which was built from `config`. With the head dropped, the new
    /// model keeps its own; parameters of the backbone that were held where these come from are
    /// the backbone's.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for another system, another head or another way of seeing time,
    /// which would fit by its shapes and be wrong, and for what was trained there and would be
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
                "trained {name}, which model.action_clip.frozen holds here: it would be lost"
            )));
        }
        let missing = |name: &&String| {
            let may_lack = name.starts_with(BACKBONE);
            keep(name) && !may_lack && !self.parameters.contains_key(*name)
        };
        if let Some(name) = whole.keys().find(missing) {
            return Err(self.refuse(format!("holds no {name}, which the model has")));
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
                        "has the head {}, this run has {}; train.start_head = \"drop\" starts \
                         without it",
                        theirs.head, ours.head
                    )));
                }
                Ok(())
            }
            (ModelConfig::SeeingInFlowing(_), ModelConfig::SeeingInFlowing(_)) => Ok(()),
            _ => Err(self.refuse("is of another system".into())),
        }
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Checkpoint {
            path: self.place.clone(),
            reason,
        }
    }
}

/// Refuses a checkpoint that stands on another backbone.
pub(crate) fn expect_backbone(loaded: &Loaded<Record>, ours: &Identity) -> Result<()> {
    expect_width(loaded, ours.joint_width)?;
    expect_same(&loaded.path, &loaded.state.card.backbone, ours)
}

/// Refuses a checkpoint that stands on a backbone of another width than `ours`.
fn expect_width(loaded: &Loaded<Record>, ours: i64) -> Result<()> {
    let theirs = loaded.state.card.backbone.joint_width;
    if theirs == ours {
        return Ok(());
    }
    let place = loaded.path.display();
    Err(Error::Value {
        key: "backbone.weights".into(),
        expected: format!("a CLIP with a joint width of {theirs}, as {place} was trained on"),
        got: format!("one of {ours}"),
    })
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
