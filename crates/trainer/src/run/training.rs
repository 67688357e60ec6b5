//! The training of one trial.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clips::Ended;
use models::{Clips, Learning, ModelConfig, VideoTextModel, WarmStart};

use super::prepared::Prepared;
use super::{Record, Session, TrainingCost};
use crate::Result;
use crate::engine::{self, Task};
use crate::live::{LiveClips, LiveRecipe};
use crate::log::read_steps;
use crate::runtime::{peak_memory, watch_memory};
use crate::source::{BatchSource, KeptClips};
use crate::trial::{Trial, shown_classes, training_classes};

/// Most training clips for a warm start: beyond, steps are many and it has little effect.
const FEW: usize = 2048;

/// The training of one trial of a session.
pub(super) struct Training<'a> {
    pub(super) session: &'a Session,
    pub(super) trial: &'a Trial,
    pub(super) clips: &'a Prepared,
    /// The hash of the run's inputs.
    pub(super) inputs: &'a str,
}

/// A trained model.
pub(super) struct Trained {
    pub(super) model: Box<dyn VideoTextModel>,
    pub(super) checkpoint: Option<String>,
    pub(super) cost: Option<TrainingCost>,
    pub(super) warm_start: Option<WarmStart>,
}

impl<'a> Training<'a> {
    /// Trains a model of `config` from its initial parameters, or from its newest checkpoint in
    /// `folder`.
    ///
    /// # Errors
    /// Any error of the clips, the model or the disk.
    pub(super) fn train(&self, config: &ModelConfig, folder: &Path) -> Result<Ended<Trained>> {
        let Self {
            session,
            trial,
            clips: features,
            ..
        } = *self;
        let model = session.first_model(config, trial.seed)?;
        let (mut checkpoint, mut cost, mut warm_start) = (None, None, None);
        let learning = match trial.train.is_empty() {
            true => Learning::Frozen,
            false => model.learning(),
        };
        let labels = session.labels(&trial.classes);
        let classes = training_classes(
            trial,
            &session.dataset,
            session.config.protocol.shuffle_labels,
        );
        if learning == Learning::Solved {
            let centre = features.centre(&trial.train)?; // (N, T, D)
            model.solve(&labels, &Clips::Features(centre), &classes)?;
        }
        if learning == Learning::Steps {
            let record = Record::of(self, config, labels.clone(), &classes)?;
            warm_start = self.warm_start(model.as_ref(), &labels, &classes)?;
            let mut clips = self.batches(classes)?;
            let before = read_steps(&folder.join("log.jsonl"))?.len();
            watch_memory();
            let started = Instant::now();
            let ended = engine::train(
                &mut Task {
                    model: model.as_ref(),
                    labels: &labels,
                    clips: clips.as_mut(),
                    train: &session.config.train,
                    seed: trial.seed,
                    folder,
                    interrupt: &session.interrupt,
                    quiet: session.quiet,
                },
                &record,
                Record::is_same_training,
            )?;
            if ended == Ended::Stopped {
                return Ok(Ended::Stopped);
            }
            let steps = read_steps(&folder.join("log.jsonl"))?.len();
            if before == 0 && steps > 0 {
                let variables = model.trained().variables();
                cost = Some(TrainingCost {
                    trainable_parameters: variables
                        .values()
                        .map(|tensor| tensor.numel() as u64)
                        .sum(),
                    steps: steps as u64,
                    seconds_per_step: started.elapsed().as_secs_f64() / steps as f64,
                    peak_memory_bytes: peak_memory(),
                });
            }
            checkpoint = recogniser::newest::<Record>(folder)?.map(|loaded| loaded.hash);
        }
        Ok(Ended::Done(Trained {
            model,
            checkpoint,
            cost,
            warm_start,
        }))
    }

    /// Initialises `model` with what can be solved over the training clips, if the
    /// configuration enables it and the clips are few: stored features of one class each.
    ///
    /// A resumed training overwrites it with its checkpoint.
    fn warm_start(
        &self,
        model: &dyn VideoTextModel,
        labels: &[String],
        classes: &[i64],
    ) -> Result<Option<WarmStart>> {
        let Self {
            session,
            trial,
            clips: features,
            ..
        } = *self;
        let asked = session.config.train.warm_start && session.start.is_none();
        let kept = matches!(features, Prepared::Kept { .. });
        if !asked || !kept || session.dataset.is_multi_label() || trial.train.len() > FEW {
            return Ok(None);
        }
        // A clip repeated for balance would not be held out from itself.
        let known: BTreeMap<usize, i64> = trial
            .train
            .iter()
            .copied()
            .zip(classes.iter().copied())
            .collect();
        let (positions, classes): (Vec<usize>, Vec<i64>) = known.into_iter().unzip();
        let centre = features.centre(&positions)?; // (N, T, D)
        Ok(model.solve(labels, &Clips::Features(centre), &classes)?)
    }

    /// The source of the training's batches.
    fn batches(&self, classes: Vec<i64>) -> Result<Box<dyn BatchSource + 'a>> {
        let Self {
            session,
            trial,
            clips: features,
            ..
        } = *self;
        let shown = shown_classes(
            trial,
            &session.dataset,
            session.config.protocol.shuffle_labels,
        )?;
        let Prepared::Kept { train, .. } = features else {
            let clips = LiveClips::new(
                Arc::new(session.dataset.manifest.clone()),
                trial.train.clone(),
                classes,
                LiveRecipe {
                    sampling: session.sampling(),
                    augment: session.config.data.augment.clone(),
                    preprocess: session.backbone.preprocess.clone(),
                    device: session.backbone.device(),
                    limits: (&session.config.data.limits).into(),
                },
            )?;
            return Ok(Box::new(clips.showing(shown)));
        };
        let clips = KeptClips::new(train, trial.train.clone(), classes)?;
        Ok(Box::new(clips.showing(shown)))
    }
}
