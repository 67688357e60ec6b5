//! The training of one trial.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clip_backbone::FrameTokens;
use clips::Ended;
use models::{Clips, Examples, Learning, ModelConfig, VideoTextModel, WarmStart};
use recogniser::State;
use recogniser::checkpoint::TRAINED;
use tch::Tensor;

use super::cross_validation::{Few, Gain, Judgement};
use super::prepared::Prepared;
use super::{Record, Session, TrainingCost};
use crate::Result;
use crate::config::Unsplit;
use crate::engine::{self, Task};
use crate::live::{LiveClips, LiveRecipe};
use crate::log::read_steps;
use crate::runtime::{peak_memory, watch_memory};
use crate::source::BatchSource;
use crate::trial::{Trial, shown_classes, training_classes};

/// Most training clips for a warm start: beyond, steps are many and it has little effect. So many views
/// are used at most.
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
    /// What steps brought after the solved start, if that was judged here.
    pub(super) gain: Option<Gain>,
}

impl<'a> Training<'a> {
    /// Trains a model of `config` from its initial parameters, or from its newest checkpoint in
    /// `folder`. If it was `judged` and steps bring nothing, the solved start is the result.
    ///
    /// # Errors
    /// Any error of the clips, the model or the disk.
    pub(super) fn train(
        &self,
        config: &ModelConfig,
        folder: &Path,
        judged: Option<&Judgement>,
    ) -> Result<Ended<Trained>> {
        let Self { session, trial, .. } = *self;
        let model = session.first_model(config, trial.seed)?;
        let (mut checkpoint, mut cost, mut warm_start, mut gain) = (None, None, None, None);
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
            let views = self.views(&trial.train)?;
            solve(
                model.as_ref(),
                &labels,
                &views,
                &classes,
                &self.recordings(&trial.train),
            )?;
        }
        if learning == Learning::Steps {
            let mut record = Record::of(self, config, labels.clone(), &classes)?;
            record.card.calibration = judged.map(|judged| judged.calibration.clone());
            warm_start = self.warm_start(model.as_ref(), &labels, &classes)?;
            let solved = warm_start.is_some() && judged.is_none();
            // A run that holds clips out is judged on them, after its steps.
            let asked =
                session.config.train.judge_steps && session.config.data.unsplit != Unsplit::HoldOut;
            if solved && asked {
                let Ended::Done(found) = self.judge_steps(config, folder)? else {
                    return Ok(Ended::Stopped);
                };
                gain = found;
            }
            let start_is_best = gain.is_some_and(|gain| !gain.is_real())
                || judged.is_some_and(|judged| !judged.cross_validation.trained);
            if start_is_best {
                if session.group.rank() == 0 {
                    self.save_start(model.as_ref(), record, folder)?;
                }
                // The others read the checkpoint's hash.
                session.group.meet()?;
                let checkpoint = recogniser::newest::<Record>(folder)?.map(|loaded| loaded.hash);
                return Ok(Ended::Done(Trained {
                    model,
                    checkpoint,
                    cost,
                    warm_start,
                    gain,
                }));
            }
            let mut clips = self.batches(classes)?;
            // Whether steps of an earlier call are in its log.
            let resumed =
                std::fs::metadata(folder.join("log.jsonl")).is_ok_and(|log| log.len() > 0);
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
                    group: session.group.as_ref(),
                },
                &record,
                Record::is_same_training,
            )?;
            if ended == Ended::Stopped {
                return Ok(Ended::Stopped);
            }
            let steps = read_steps(&folder.join("log.jsonl"))?.len();
            if !resumed && steps > 0 {
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
            gain,
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
        let kept = matches!(features, Prepared::Kept { .. });
        if !kept || session.dataset.is_multi_label() || !self.may_solve(trial.train.len()) {
            return Ok(None);
        }
        let (positions, classes) = self.each_once(classes);
        let views = self.views(&positions)?;
        solve(
            model,
            labels,
            &views,
            &classes,
            &self.recordings(&positions),
        )
    }

    /// The kept views of training clips, as many as can be solved over: `[N, V, T, D]`.
    fn views(&self, clips: &[usize]) -> Result<Tensor> {
        self.clips.views(clips, (FEW / clips.len().max(1)).max(1))
    }

    /// The number of the recording of each clip.
    fn recordings(&self, clips: &[usize]) -> Vec<usize> {
        let all = data::recordings(&self.session.dataset.manifest);
        numbered(clips.iter().filter_map(|clip| all.get(*clip)))
    }

    /// Whether the configuration asks for a solved start, and `clips` are few.
    pub(super) fn may_solve(&self, clips: usize) -> bool {
        let asked = self.session.config.train.warm_start && self.session.start.is_none();
        asked && clips <= FEW
    }

    /// The training clips, each once, with its class: a clip repeated for balance would not be held out
    /// from itself.
    fn each_once(&self, classes: &[i64]) -> (Vec<usize>, Vec<i64>) {
        let clips = self.trial.train.iter().copied();
        let known: BTreeMap<usize, i64> = clips.zip(classes.iter().copied()).collect();
        known.into_iter().unzip()
    }

    /// The clips for a cross-validation, with the features of each frame that `tokens` names.
    pub(super) fn few(&self, tokens: FrameTokens) -> Result<Few> {
        let (dataset, trial) = (&self.session.dataset, self.trial);
        let classes = training_classes(trial, dataset, self.session.config.protocol.shuffle_labels);
        let (positions, classes) = self.each_once(&classes);
        let all = data::recordings(&dataset.manifest);
        let recording = |clip: &usize| all.get(*clip).cloned().unwrap_or_default();
        Ok(Few {
            views: self.session.read_by(&self.views(&positions)?, tokens)?,
            recordings: positions.iter().map(recording).collect(),
            ids: positions
                .iter()
                .map(|clip| dataset.id(*clip).to_owned())
                .collect(),
            strangers: match trial.strangers.is_empty() {
                true => None,
                false => {
                    let strangers = self.clips.centre(&trial.strangers)?;
                    Some(self.session.read_by(&strangers, tokens)?)
                }
            },
            positions,
            classes,
        })
    }

    /// Saves the model as it starts: the checkpoint of step 0.
    fn save_start(&self, model: &dyn VideoTextModel, run: Record, folder: &Path) -> Result<()> {
        let groups = BTreeMap::from([(TRAINED, recogniser::parameters(model))]);
        let keep = self.session.config.train.keep_checkpoints;
        recogniser::store(folder, keep).save(0, &groups, &State { updates: 0, run })?;
        Ok(())
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
        let Prepared::Kept { .. } = features else {
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
        let clips = features.kept(trial.train.clone(), classes)?;
        Ok(Box::new(clips.showing(shown)))
    }
}

/// Solves what `model` solves over views of clips, `[N, V, T, D]`.
pub(super) fn solve(
    model: &dyn VideoTextModel,
    labels: &[String],
    views: &Tensor,
    classes: &[i64],
    recordings: &[usize],
) -> Result<Option<WarmStart>> {
    let clips = Clips::Features(views.f_flatten(0, 1)?);
    let views = views.size().get(1).map_or(1, |views| *views as usize);
    let examples = Examples {
        clips: &clips,
        classes,
        recordings,
        views,
    };
    Ok(model.solve(labels, &examples)?)
}

/// Equal names by the same number.
pub(super) fn numbered<'n>(names: impl Iterator<Item = &'n String>) -> Vec<usize> {
    let mut known = BTreeMap::new();
    names
        .map(|name| {
            let next = known.len();
            *known.entry(name).or_insert(next)
        })
        .collect()
}
