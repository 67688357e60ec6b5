//! The CLIP that a run stands on, and how a checkpoint remembers it.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip_backbone::{Checkpoint, ClipModel, Preprocess, Tokenizer, Usage};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::Result;
use crate::precision::Precision;

/// Which backbone it was: enough to find it again and to know it for the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Where its checkpoint lay.
    pub place: PathBuf,
    /// SHA-256 of its weight files.
    pub sha256: String,
    /// D, the width of its joint space.
    pub joint_width: i64,
    /// The precision it computed in.
    pub precision: Precision,
}

/// A checkpoint that models stand on; its weights are read when they are asked for.
pub struct Backbone {
    checkpoint: Checkpoint,
    device: Device,
    frozen: OnceCell<ClipModel>,
    /// Its tokenizer.
    pub words: Arc<Tokenizer>,
    /// How it wants its frames.
    pub preprocess: Preprocess,
    /// Which one it is.
    pub identity: Identity,
}

impl Backbone {
    /// Opens the checkpoint at `place`.
    ///
    /// # Errors
    /// Whatever keeps the checkpoint from opening.
    pub fn open(place: &Path, precision: Precision, device: Device) -> Result<Self> {
        Self::new(Checkpoint::open(place)?, place, precision, device)
    }

    /// The backbone of a `checkpoint` that was opened at `place`.
    ///
    /// # Errors
    /// Whatever keeps its tokenizer or its weights from being read.
    pub fn new(
        checkpoint: Checkpoint,
        place: &Path,
        precision: Precision,
        device: Device,
    ) -> Result<Self> {
        let words = Arc::new(checkpoint.tokenizer()?);
        Ok(Self {
            identity: Identity {
                place: std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf()),
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

    /// Both towers: frozen ones are read once and their tensors shared, those to be fine-tuned are
    /// read anew each time, for whoever asks changes them.
    ///
    /// # Errors
    /// Whatever keeps the weights from loading.
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

    /// Where its models compute.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The shape of its towers.
    pub fn config(&self) -> &clip_backbone::Config {
        self.checkpoint.config()
    }
}
