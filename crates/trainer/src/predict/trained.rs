//! A trained run as a recogniser.

use std::path::{Path, PathBuf};

use clip_backbone::Preprocess;
use models::{Classifier, Clips, VideoTextModel};
use tch::{Device, Kind, Tensor};

use super::{Labels, Recognise};
use crate::backbone::Backbone;
use crate::checkpoint::TRAINED;
use crate::config::Precision;
use crate::engine::{last_checkpoint, load_parameters};
use crate::run::Record;
use crate::{Error, Result};

/// The newest checkpoint of a run with its backbone, loaded.
pub struct TrainedRun {
    model: Box<dyn VideoTextModel>,
    preprocess: Preprocess,
    record: Record,
}

impl TrainedRun {
    /// The folder of a trained seed: `place` itself, or its first `seed-*` folder; `None`
    /// where `place` is no run.
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

    /// Loads the newest checkpoint in `folder` and the backbone it stands on, from where it
    /// lay in training or from `backbone`, in the `precision` given or that of the training, for
    /// which fp32 stands in where the device lacks it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where there is none, or the backbone is another; whatever keeps
    /// the backbone from loading.
    pub fn open(
        folder: &Path,
        backbone: Option<&Path>,
        precision: Option<Precision>,
        device: Device,
    ) -> Result<Self> {
        let refuse = |path: &Path, reason: String| Error::Checkpoint {
            path: path.into(),
            reason,
        };
        let loaded = last_checkpoint::<Record>(folder)?
            .ok_or_else(|| refuse(folder, "no checkpoint has been written yet".into()))?;
        let record = loaded.state;
        let place = backbone.unwrap_or(&record.backbone.place);
        let precision = precision.unwrap_or(record.backbone.precision.on(device));
        let backbone = Backbone::open(place, precision, device)?;
        if backbone.identity.sha256 != record.backbone.sha256 {
            return Err(refuse(
                &loaded.path,
                format!(
                    "stands on a backbone with SHA-256 {}; {} has {}",
                    record.backbone.sha256,
                    place.display(),
                    backbone.identity.sha256
                ),
            ));
        }
        let clip = backbone.clip(record.model.usage())?;
        let model = models::build(&record.model, clip, backbone.words)?;
        let trained = loaded.groups.get(TRAINED);
        let trained =
            trained.ok_or_else(|| refuse(&loaded.path, "holds no trained parameters".into()))?;
        load_parameters(model.as_ref(), trained)?;
        Ok(Self {
            model,
            preprocess: backbone.preprocess,
            record,
        })
    }

    /// How frames are prepared for it.
    #[must_use]
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// T, the number of frames it was trained on.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.record.config.data.frames
    }

    /// The model made ready for `labels`, or for those it was trained on.
    ///
    /// # Errors
    /// Where a label cannot be encoded.
    pub fn bind(&self, labels: Option<&Labels>) -> Result<impl Recognise + '_> {
        let labels = labels.map_or(self.record.labels.as_slice(), Labels::names);
        Ok(Bound(self.model.bind(labels)?))
    }
}

struct Bound<'a>(Box<dyn Classifier + 'a>);

impl Recognise for Bound<'_> {
    fn labels(&self) -> &[String] {
        self.0.labels()
    }

    fn probabilities(&self, frames: &Tensor) -> Result<Vec<f64>> {
        let scores = self.0.score(&Clips::Pixels(frames.unsqueeze(0)))?;
        let row = scores.probabilities().squeeze_dim(0).to_kind(Kind::Double);
        Ok(Vec::try_from(row.to_device(Device::Cpu))?)
    }
}
