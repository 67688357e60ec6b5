//! The record of a training in its checkpoints.

use models::ModelConfig;
use recogniser::Card;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::training::Training;
use super::{REVISION, Session};
use crate::config::Config;
use crate::{Error, Result};

/// The description of a run in its checkpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The part needed for recognition.
    pub card: Card,
    /// The resolved configuration.
    pub config: Config,
    /// The class names of the data set, in the labels' order.
    pub classes: Vec<String>,
    /// Seed of the draw and of the training.
    pub seed: u64,
    /// SHA-256 over ids, classes and files of the training clips.
    pub data: String,
    /// SHA-256 over all of the above that affects the result.
    pub fingerprint: String,
    /// The commit that trained it.
    pub revision: String,
}

impl Record {
    /// Whether both describe the same training; the commit and the path of the backbone may
    /// differ.
    pub fn is_same_training(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// The record of a training.
    ///
    /// # Errors
    /// [`Error::Syntax`] if a value has no JSON form.
    pub(super) fn of(
        training: &Training<'_>,
        model: &ModelConfig,
        labels: Vec<String>,
        classes: &[i64],
    ) -> Result<Self> {
        let Training {
            session,
            trial,
            inputs,
            ..
        } = *training;
        let Session {
            config,
            backbone,
            dataset,
            files,
            ..
        } = session;
        // Looks at every clip.
        let several = dataset.is_multi_label();
        let mut hash = Sha256::new();
        for (position, class) in trial.train.iter().zip(classes) {
            let file = files.get(*position).map_or("", String::as_str);
            hash.update(format!("{}\t{class}\t{file}\n", dataset.id(*position)));
            if several {
                hash.update(format!("{:?}\n", dataset.classes(*position)));
            }
        }
        let data = disk::hex(hash.finalize());
        // Written as text, so that reading a checkpoint back does not round numbers.
        let decides = (inputs, model, &labels, trial.seed, &data);
        let text = serde_json::to_string(&decides).map_err(|error| Error::Syntax {
            origin: "run".into(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            card: Card {
                model: model.clone(),
                labels,
                names: session.names(&trial.classes),
                frames: config.data.frames,
                backbone: backbone.identity.clone(),
                calibration: None,
            },
            config: Config::clone(config),
            classes: session.names(&trial.classes),
            seed: trial.seed,
            data,
            fingerprint: disk::sha256(text),
            revision: REVISION.into(),
        })
    }
}
