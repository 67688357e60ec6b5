//! Parameters that a training starts from instead of drawn ones: "pre-train, prompt,
//! fine-tune" (ActionCLIP).

use std::path::{Path, PathBuf};

use models::action_clip::{ActionClipConfig, Official};
use models::{ModelConfig, VideoTextModel};

use clips::{Backbone, Identity};
use recogniser::checkpoint::{Loaded, TRAINED, Tensors, fingerprint};
use recogniser::{load_parameters, newest, parameters};

use crate::config::StartHead;
use crate::run::Record;
use crate::{Error, Result};

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
    /// What they are, for the record of what starts from them.
    pub hash: String,
}

impl Start {
    /// The newest checkpoint of the run at `place`, or the official ActionCLIP checkpoint there,
    /// which brings a whole CLIP of the shape of `backbone` with it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where there is none, or it stands on another backbone; whatever
    /// keeps an official one from loading.
    pub fn read(place: &Path, backbone: &Backbone) -> Result<Self> {
        if place.is_file() {
            return Self::official(place, backbone);
        }
        let none = || Error::Checkpoint {
            path: place.into(),
            reason: "is no trained run: it holds neither checkpoints/ nor seed-* folders".into(),
        };
        let folder = recogniser::find(place).ok_or_else(none)?;
        let loaded = newest::<Record>(&folder)?.ok_or_else(none)?;
        Self::of_run(&loaded, &backbone.identity)
    }

    /// The parameters of a loaded checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where it stands on another backbone or holds no parameters.
    pub fn of_run(loaded: &Loaded<Record>, backbone: &Identity) -> Result<Self> {
        expect_backbone(loaded, backbone)?;
        let copy = |(name, tensor): (&String, &tch::Tensor)| (name.clone(), tensor.shallow_clone());
        Ok(Self {
            parameters: trained_of(loaded)?.iter().map(copy).collect(),
            model: loaded.state.card.model.clone(),
            place: loaded.path.clone(),
            hash: loaded.hash.clone(),
        })
    }

    fn official(path: &Path, backbone: &Backbone) -> Result<Self> {
        let read = Official::read(path, backbone.config())?;
        Ok(Self {
            hash: fingerprint(&read.parameters)?,
            parameters: read.parameters,
            model: ModelConfig::ActionClip(ActionClipConfig {
                head: read.head,
                inside: read.inside,
                ..ActionClipConfig::published()
            }),
            place: path.into(),
        })
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
                if theirs.inside != ours.inside {
                    return Err(self.refuse(format!(
                        "has {} inside the image tower, this run has {}",
                        theirs.inside, ours.inside
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
    let theirs = &loaded.state.card.backbone;
    if theirs.sha256 == ours.sha256 {
        return Ok(());
    }
    Err(Error::Checkpoint {
        path: loaded.path.clone(),
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
