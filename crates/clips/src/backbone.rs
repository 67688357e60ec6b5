//! The CLIP backbone of a run, and its identity in a checkpoint.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip_backbone::{Checkpoint, ClipModel, Preprocess, Tokenizer, Usage};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::Result;
use crate::precision::Precision;

/// The identity of a backbone: enough to find and verify it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The absolute path of its checkpoint, or its id on a hub.
    pub place: PathBuf,
    /// The architecture it is read as, if it does not state its own: [`Checkpoint::open_as`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// SHA-256 of its weight files.
    pub sha256: String,
    /// D, the width of its joint space.
    pub joint_width: i64,
    /// The precision it computed in.
    pub precision: Precision,
}

/// A checkpoint as backbone; its weights are read on demand.
pub struct Backbone {
    checkpoint: Checkpoint,
    device: Device,
    frozen: OnceCell<ClipModel>,
    /// Its tokenizer.
    pub words: Arc<Tokenizer>,
    /// Its preprocessing.
    pub preprocess: Preprocess,
    /// Its identity.
    pub identity: Identity,
}

impl Backbone {
    /// Opens the checkpoint at `place`, with an `architecture` if it does not state its own.
    ///
    /// # Errors
    /// Any error of opening the checkpoint.
    pub fn open(
        place: &Path,
        architecture: Option<&str>,
        precision: Precision,
        device: Device,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open_as(place, architecture)?;
        Self::new(checkpoint, place, precision, device)
    }

    /// The backbone of a `checkpoint` that was opened at `place`.
    ///
    /// # Errors
    /// Any error of reading its tokenizer or its weights.
    pub fn new(
        checkpoint: Checkpoint,
        place: &Path,
        precision: Precision,
        device: Device,
    ) -> Result<Self> {
        let words = Arc::new(checkpoint.tokenizer()?);
        Ok(Self {
            identity: Identity {
                place: match place.exists() {
                    true => std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf()),
                    false => place.to_path_buf(),
                },
                architecture: checkpoint.architecture().map(str::to_owned),
                sha256: checkpoint.sha256()?.to_owned(),
                joint_width: checkpoint.config().joint_width,
                precision,
            },
            preprocess: checkpoint.preprocess().clone(),
            checkpoint,
            device,
            frozen: OnceCell::new(),
            words,
        })
    }

    /// Both towers: frozen ones are read once and their tensors shared, fine-tuned ones are
    /// read anew each time, since the caller changes them.
    ///
    /// # Errors
    /// Any error of loading the weights.
    pub fn clip(&self, usage: Usage) -> Result<ClipModel> {
        if usage == Usage::Frozen
            && let Some(clip) = self.frozen.get()
        {
            return Ok(clip.shallow_clone());
        }
        let kind = self.identity.precision.kind();
        let clip = self.checkpoint.load(usage, self.device, kind)?;
        if usage == Usage::Frozen {
            return Ok(self.frozen.get_or_init(|| clip).shallow_clone());
        }
        Ok(clip)
    }

    /// The choices made in opening its checkpoint.
    pub fn notes(&self) -> &[String] {
        self.checkpoint.notes()
    }

    /// The device of its models.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The shape of its towers.
    pub fn config(&self) -> &clip_backbone::Config {
        self.checkpoint.config()
    }
}
