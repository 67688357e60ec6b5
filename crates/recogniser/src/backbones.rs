//! Backbones that several recognisers share.

use std::path::Path;

use clip_backbone::Checkpoint;
use clips::{Backbone, Identity, Precision};
use tch::Device;

use crate::Result;

/// Opened backbones: recognisers of runs on one of them share its frozen towers in memory.
#[derive(Default)]
pub struct Backbones(Vec<Backbone>);

impl Backbones {
    /// The backbone at `place`, as an `architecture` if it does not state its own.
    ///
    /// # Errors
    /// Any error of opening the checkpoint.
    pub fn open(
        &mut self,
        place: &Path,
        architecture: Option<&str>,
        precision: Precision,
        device: Device,
    ) -> Result<&Backbone> {
        let opened = Backbone::open(place, architecture, precision, device)?;
        Ok(self.shared(opened))
    }

    /// The backbone of a `checkpoint` that was opened at `place`.
    ///
    /// # Errors
    /// Any error of reading it.
    pub fn of(
        &mut self,
        checkpoint: Checkpoint,
        place: &Path,
        precision: Precision,
        device: Device,
    ) -> Result<&Backbone> {
        let opened = Backbone::new(checkpoint, place, precision, device)?;
        Ok(self.shared(opened))
    }

    /// The same backbone as opened before, or this one.
    fn shared(&mut self, opened: Backbone) -> &Backbone {
        let same = |known: &Backbone| {
            known.identity == opened.identity && known.device() == opened.device()
        };
        let at = self.0.iter().position(same).unwrap_or(self.0.len());
        if at == self.0.len() {
            self.0.push(opened);
        }
        &self.0[at]
    }

    /// Releases those that are not `used`.
    pub fn keep(&mut self, used: impl Fn(&Identity) -> bool) {
        self.0.retain(|backbone| used(&backbone.identity));
    }
}
