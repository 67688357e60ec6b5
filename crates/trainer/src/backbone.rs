//! The frozen CLIP that a run stands on, and how a checkpoint remembers it.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clip_backbone::{Checkpoint, Clip, Preprocess, Usage};
use models::Tokenize;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::Result;
use crate::config::Precision;

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

/// A loaded backbone.
pub struct Backbone {
    /// Both towers, frozen.
    pub clip: Rc<Clip>,
    /// Its tokenizer.
    pub words: Rc<dyn Tokenize>,
    /// How it wants its frames.
    pub preprocess: Preprocess,
    /// Which one it is.
    pub identity: Identity,
}

impl Backbone {
    /// Loads the checkpoint at `place`.
    ///
    /// # Errors
    /// Whatever keeps the checkpoint from loading.
    pub fn open(place: &Path, precision: Precision, device: Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(place)?;
        let words = Rc::new(checkpoint.tokenizer()?);
        let kind = match precision {
            Precision::Fp32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        let clip = Rc::new(checkpoint.load(Usage::Frozen, device, kind)?);
        Ok(Self {
            identity: Identity {
                place: std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf()),
                sha256: checkpoint.sha256()?.to_owned(),
                joint_width: clip.config().joint_width,
                precision,
            },
            preprocess: checkpoint.preprocess().clone(),
            clip,
            words,
        })
    }
}
