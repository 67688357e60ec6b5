//! What a run of few clips is worth: every clip is judged by a model that was made without its
//! recording.
//!
//! The folds share features only. In each one everything that is fitted or chosen is made anew from
//! its own training clips: the solved start with its choices, the temperature, the class means and
//! the threshold of belonging.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clips::Ended;
use models::{Clips, Learning, ModelConfig, VideoTextModel};
use optim::Length;
use recogniser::{BelongingScore, Calibration, ClassMeans};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::contradiction::{Contradiction, contradictions};
use super::result::Outcome;
use super::training::{Training, numbered, solve};
use crate::calibration::{Bin, HeldOut, expected_error, reliability, threshold};
use crate::config::Train;
use crate::engine::{self, Task};
use crate::evaluate::Scored;
use crate::folds::Folds;
use crate::json::{read_record, write_record};
use crate::log::read_steps;
use crate::metrics::{Spread, interval_of_folds};
use crate::ranks;
use crate::trial::balanced;
use crate::{Error, Result};

/// The name of the test on held-out clips.
pub const HELD_OUT: &str = "held out";

/// The file of what steps bring.
const GAIN: &str = "steps.json";

/// Its content: nothing, if they cannot be judged.
#[derive(Serialize, Deserialize)]
struct Tried {
    gain: Option<Gain>,
}

/// Clips scored at once.
const BATCH: i64 = 32;

/// Clips named of each class that others contradict.
const SUSPECTS: usize = 5;

/// The result of a cross-validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossValidation {
    /// Number of folds.
    pub folds: usize,
    /// Clips held out once, and the recordings they were cut from.
    pub clips: usize,
    /// Number of recordings.
    pub recordings: usize,
    /// Clips that the run itself is trained on.
    pub all_clips: usize,
    /// 95 % interval of the accuracy on new recordings, 0 to 1: see [`interval_of_folds`].
    pub interval: [f64; 2],
    /// Steps of training in each fold's model; 0: the solved start is judged.
    pub steps: u64,
    /// What steps brought after the solved start, if it was tried.
    pub training: Option<Gain>,
    /// Whether the run's own training makes steps.
    pub trained: bool,
    /// The temperature fitted on all held-out clips.
    pub temperature: f64,
    /// Held-out clips by certainty, without a temperature.
    pub before: Vec<Bin>,
    /// The same with a temperature that was fitted without them and without models that saw them;
    /// empty if the clips are too few for that.
    pub after: Vec<Bin>,
    /// The threshold of belonging.
    pub threshold: f64,
    /// Held-out clips below a threshold that was chosen without them.
    pub refused: usize,
    /// Examples of strangers, and how many of them are below the threshold.
    pub strangers: Option<[usize; 2]>,
    /// The clips that the others contradict most, the most contradicted first.
    pub suspects: Vec<Suspect>,
}

/// What training steps brought on held-out clips.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Steps in each fold.
    pub steps: u64,
    /// Mean fall of the cross-entropy, each model at its best temperature.
    pub gain: f64,
    /// Its standard error.
    pub error: f64,
}

impl Gain {
    /// Whether it is more than its standard error.
    pub fn is_real(&self) -> bool {
        self.gain > self.error
    }
}

/// A clip that the clips of other recordings contradict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// The clip's id.
    pub id: String,
    /// Its class, by name.
    pub class: String,
    /// The probability of its class while it is held out.
    pub probability: f64,
    /// The class that they say it shows.
    pub other: String,
}

impl CrossValidation {
    /// A sentence on the steps after the solved start: what they brought, and whether they are made.
    pub fn on_training(&self) -> String {
        match (self.training, self.trained) {
            (Some(Gain { steps, gain, error }), trained) => format!(
                "training: {steps} steps in each fold lowered the loss by {gain:.3} ± {error:.3}: {}",
                match trained {
                    true => "the run is trained, the folds are judged with their steps",
                    false => "none are made, the solved start is the result",
                }
            ),
            (None, _) if self.steps > 0 => format!(
                "training: the start is not solved; the folds are judged after {} steps each",
                self.steps
            ),
            (None, _) => {
                "training: the folds judge the start; steps in them would more than double \
                          the cost"
                    .into()
            }
        }
    }

    /// Expected calibration error before and, if measured, after, 0 to 1.
    pub fn calibration_error(&self) -> (f64, Option<f64>) {
        let after = (!self.after.is_empty()).then(|| expected_error(&self.after));
        (expected_error(&self.before), after)
    }
}

/// A cross-validation with all that the run takes from it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Judgement {
    pub(super) cross_validation: CrossValidation,
    pub(super) outcome: Outcome,
    pub(super) calibration: Calibration,
}

/// The clips of a trial, each once, without strangers.
pub(super) struct Few {
    /// Their positions in the manifest.
    pub(super) positions: Vec<usize>,
    /// `[N, V, T, D]`, the first view the centre.
    pub(super) views: Tensor,
    /// The class of each clip, an index into the trial's.
    pub(super) classes: Vec<i64>,
    pub(super) recordings: Vec<String>,
    pub(super) ids: Vec<String>,
    /// Strangers, `[M, T, D]`.
    pub(super) strangers: Option<Tensor>,
}

impl Few {
    /// The folds of a seed.
    pub(super) fn folds(&self, seed: u64) -> Option<Folds> {
        let classes: Vec<usize> = self.classes.iter().map(|class| *class as usize).collect();
        Folds::new(&self.recordings, &classes, seed)
    }

    /// The class means of some of the clips.
    fn means(&self, clips: &[usize]) -> Result<ClassMeans> {
        let (features, classes) = self.part(clips)?;
        Ok(ClassMeans::fit(&features, &classes)?)
    }

    /// The features of the first view of some of the clips, and the class of each.
    pub(super) fn part(&self, clips: &[usize]) -> Result<(Tensor, Vec<i64>)> {
        let at: Vec<i64> = clips.iter().map(|clip| *clip as i64).collect();
        let first = self.views.f_select(1, 0)?;
        let features = first.f_index_select(0, &Tensor::from_slice(&at))?;
        let classes = clips
            .iter()
            .filter_map(|clip| self.classes.get(*clip).copied());
        Ok((features, classes.collect()))
    }

    fn held(&self, clips: &[usize], logits: Vec<Vec<f64>>) -> HeldOut {
        let class = |clip: &usize| self.classes.get(*clip).map_or(0, |class| *class as usize);
        HeldOut {
            logits,
            classes: clips.iter().map(class).collect(),
        }
    }
}

/// What one or several folds found.
pub(super) struct Seen {
    /// The clips held out, in the order of all that follows.
    pub(super) clips: Vec<usize>,
    /// Judged by the solved start.
    pub(super) start: HeldOut,
    /// Judged after some steps; empty if none were made.
    stepped: HeldOut,
    belonging: Vec<f64>,
    /// The sum of each stranger's scores of belonging.
    strangers: Vec<f64>,
    /// Whether every start was solved.
    solved: bool,
}

impl Seen {
    fn none(solved: bool) -> Self {
        Self {
            clips: Vec::new(),
            start: HeldOut::default(),
            stepped: HeldOut::default(),
            belonging: Vec::new(),
            strangers: Vec::new(),
            solved,
        }
    }

    fn add(&mut self, other: Self) {
        self.clips.extend(other.clips);
        self.start.extend(other.start);
        self.stepped.extend(other.stepped);
        self.belonging.extend(other.belonging);
        self.strangers.resize(other.strangers.len(), 0.0);
        for (sum, score) in self.strangers.iter_mut().zip(other.strangers) {
            *sum += score;
        }
        self.solved &= other.solved;
    }
}

impl Training<'_> {
    /// Judges the training of `config` by folds; `None` if no class has two recordings. What it
    /// writes on the way lies in `folder` and is removed. `watch` is called with the folds begun and in all.
    pub(super) fn cross_validate(
        &self,
        few: &Few,
        config: &ModelConfig,
        folder: &Path,
        watch: &dyn Fn(usize, usize),
    ) -> Result<Ended<Option<Judgement>>> {
        let Some(folds) = few.folds(self.trial.seed) else {
            return Ok(Ended::Done(None));
        };
        let Ended::Done((seen, steps)) = self.every_fold(few, config, &folds, folder, watch)?
        else {
            return Ok(Ended::Stopped);
        };
        let found = self.judgement(few, config, &folds, &seen, steps)?;
        Ok(Ended::Done(Some(found)))
    }

    /// What the steps of `config` bring after its solved start, on clips that are held out; `None` if too
    /// few can be, or the steps are too long to be judged. What it writes lies in `folder`. Rank 0
    /// judges, for all.
    pub(super) fn judge_steps(
        &self,
        config: &ModelConfig,
        folder: &Path,
    ) -> Result<Ended<Option<Gain>>> {
        let group = self.session.group.as_ref();
        let own = match group.rank() {
            0 => match self.judge_steps_alone(config, folder)? {
                Ended::Done(found) => (false, found),
                Ended::Stopped => (true, None),
            },
            _ => (false, None),
        };
        // The others wait, however long it takes.
        group.meet()?;
        match ranks::gather(group, &own)?.first() {
            Some((false, found)) => Ok(Ended::Done(*found)),
            _ => Ok(Ended::Stopped),
        }
    }

    fn judge_steps_alone(
        &self,
        config: &ModelConfig,
        folder: &Path,
    ) -> Result<Ended<Option<Gain>>> {
        let path = folder.join(GAIN);
        if path.is_file() {
            return Ok(Ended::Done(read_record::<Tried>(&path)?.gain));
        }
        let few = self.few(config.tokens())?;
        let Some(folds) = few.folds(self.trial.seed) else {
            return Ok(Ended::Done(None));
        };
        let nobody = |_, _| ();
        let Ended::Done((seen, steps)) = self.every_fold(&few, config, &folds, folder, &nobody)?
        else {
            return Ok(Ended::Stopped);
        };
        let found = (seen.solved && steps > 0).then(|| gain(&seen.start, &seen.stepped, steps));
        disk::make_folder(folder)?;
        write_record(&path, &Tried { gain: found })?;
        Ok(Ended::Done(found))
    }

    /// What a model finds that was made without each fold, and the steps it was trained for.
    pub(super) fn every_fold(
        &self,
        few: &Few,
        config: &ModelConfig,
        folds: &Folds,
        folder: &Path,
        watch: &dyn Fn(usize, usize),
    ) -> Result<Ended<(Seen, u64)>> {
        let count = folds.held().len();
        let (mut seen, mut steps) = (Seen::none(true), 0);
        for (fold, held) in folds.held().iter().enumerate() {
            watch(fold + 1, count);
            let trained = folds.without(&[fold], few.classes.len());
            let model = self.session.first_model(config, self.trial.seed)?;
            let (features, _) = few.part(held)?;
            let mut one = Seen::none(self.solve(few, model.as_ref(), &trained)?);
            one.clips.clone_from(held);
            one.start = few.held(held, self.logits(model.as_ref(), &features)?);
            let means = few.means(&trained)?;
            one.belonging = means.scores(&features)?;
            if let Some(strangers) = &few.strangers {
                one.strangers = means.scores(strangers)?;
            }
            let wanted = self.steps_of_a_fold(model.as_ref(), &trained, count, one.solved);
            if wanted > 0 {
                let place = folder.join(format!("fold-{fold}"));
                match self.steps(few, model.as_ref(), &trained, wanted, &place)? {
                    Ended::Done(made) => steps = steps.max(made),
                    Ended::Stopped => return Ok(Ended::Stopped),
                }
                one.stepped = few.held(held, self.logits(model.as_ref(), &features)?);
            }
            seen.add(one);
        }
        Ok(Ended::Done((seen, steps)))
    }

    /// Solves what can be solved over the clips `trained`; whether nothing is left but steps.
    pub(super) fn solve(
        &self,
        few: &Few,
        model: &dyn VideoTextModel,
        trained: &[usize],
    ) -> Result<bool> {
        let learning = model.learning();
        if learning == Learning::Frozen {
            return Ok(true);
        }
        if learning == Learning::Steps && !self.may_solve(trained.len()) {
            return Ok(false);
        }
        let labels = self.session.labels(&self.trial.classes);
        let (_, classes) = few.part(trained)?;
        let at: Vec<i64> = trained.iter().map(|clip| *clip as i64).collect();
        let views = few.views.f_index_select(0, &Tensor::from_slice(&at))?;
        let recordings = trained.iter().filter_map(|clip| few.recordings.get(*clip));
        let choice = solve(model, &labels, &views, &classes, &numbered(recordings))?;
        Ok(learning == Learning::Solved || choice.is_some())
    }

    /// The steps of each fold: all folds together make half of the steps of the run, so that its cost
    /// stays below twice that without folds. None if an epoch is longer than that, and the start
    /// can be judged instead.
    fn steps_of_a_fold(
        &self,
        model: &dyn VideoTextModel,
        trained: &[usize],
        folds: usize,
        solved: bool,
    ) -> u64 {
        if model.learning() != Learning::Steps {
            return 0;
        }
        let train = &self.session.config.train;
        let length = |clips, epochs, least| Length::new(clips, train.batch_size, epochs, least);
        let all = length(self.trial.train.len(), train.epochs, train.min_steps).steps();
        let wanted = (all / (2 * folds as u64)).max(1);
        let epoch = length(trained.len(), 1, 0).steps();
        match solved && epoch * folds as u64 > all {
            true => 0,
            false => wanted,
        }
    }

    /// Trains `model` on the clips `trained`; the steps made.
    fn steps(
        &self,
        few: &Few,
        model: &dyn VideoTextModel,
        trained: &[usize],
        wanted: u64,
        folder: &Path,
    ) -> Result<Ended<u64>> {
        let clear = || match folder.exists() {
            true => std::fs::remove_dir_all(folder).map_err(Error::file("cannot remove", folder)),
            false => Ok(()),
        };
        clear()?;
        let clips: Vec<usize> = trained
            .iter()
            .filter_map(|clip| few.positions.get(*clip).copied())
            .collect();
        let clips = match self.session.config.protocol.balance {
            true => balanced(&self.session.dataset, &clips),
            false => clips,
        };
        let class: BTreeMap<usize, i64> = few
            .positions
            .iter()
            .copied()
            .zip(few.classes.iter().copied())
            .collect();
        let classes = clips
            .iter()
            .filter_map(|clip| class.get(clip).copied())
            .collect();
        let train = Train {
            epochs: 1,
            min_steps: wanted,
            save_every: u64::MAX,
            ..self.session.config.train.clone()
        };
        let ended = engine::train(
            &mut Task {
                model,
                labels: &self.session.labels(&self.trial.classes),
                clips: &mut self.clips.kept(clips, classes)?,
                train: &train,
                seed: self.trial.seed,
                folder,
                interrupt: &self.session.interrupt,
                quiet: true,
                group: &dist::Solo,
            },
            &(),
            |(), ()| true,
        )?;
        let made = read_steps(&folder.join("log.jsonl"))?.len() as u64;
        clear()?;
        Ok(ended.map(|()| made))
    }

    /// Logits of clips `[N, T, D]` against the trial's classes.
    pub(super) fn logits(
        &self,
        model: &dyn VideoTextModel,
        features: &Tensor,
    ) -> Result<Vec<Vec<f64>>> {
        let _guard = tch::no_grad_guard();
        let classifier = model.bind(&self.session.labels(&self.trial.classes))?;
        let mut rows = Vec::new();
        for part in features.split(BATCH, 0) {
            let scores = classifier.score(&Clips::Features(part))?;
            let _ = scores.finite_probabilities()?;
            let logits = scores.logits.to_device(Device::Cpu).to_kind(Kind::Double);
            rows.extend(Vec::<Vec<f64>>::try_from(logits)?);
        }
        Ok(rows)
    }

    fn judgement(
        &self,
        few: &Few,
        config: &ModelConfig,
        folds: &Folds,
        seen: &Seen,
        steps: u64,
    ) -> Result<Judgement> {
        let gain = (seen.solved && steps > 0).then(|| gain(&seen.start, &seen.stepped, steps));
        let stepped = steps > 0 && gain.is_none_or(|gain| gain.is_real());
        let held = if stepped { &seen.stepped } else { &seen.start };
        let temperature = held.temperature();
        let nested = self.nested(few, config, folds, seen.solved && !stepped)?;
        let (mut probabilities, mut refused) = (Vec::new(), 0);
        let mut start = 0;
        for (fold, nested) in folds.held().iter().zip(&nested) {
            let rows = start..start + fold.len();
            start = rows.end;
            let own = HeldOut {
                logits: held.logits.get(rows.clone()).unwrap_or_default().to_vec(),
                classes: Vec::new(),
            };
            probabilities.extend(own.probabilities(nested.temperature.unwrap_or(temperature)));
            let scores = seen.belonging.get(rows).unwrap_or_default();
            refused += scores
                .iter()
                .filter(|score| **score < nested.threshold)
                .count();
        }
        let strangers: Vec<f64> = seen
            .strangers
            .iter()
            .map(|sum| sum / nested.len() as f64)
            .collect();
        let rate = self.session.config.protocol.wrongly_refused;
        let threshold = threshold(&seen.belonging, &strangers, rate);
        let calibrated = nested.iter().all(|fold| fold.temperature.is_some());
        let names = self.session.names(&self.trial.classes);
        let outcome = outcome(few, &seen.clips, &probabilities, &held.classes, names)?;
        let recordings: BTreeSet<&String> = seen
            .clips
            .iter()
            .filter_map(|clip| few.recordings.get(*clip))
            .collect();
        let (low, high) = interval_of_folds(outcome.accuracy.top1, recordings.len(), nested.len());
        Ok(Judgement {
            cross_validation: CrossValidation {
                folds: nested.len(),
                clips: seen.clips.len(),
                recordings: recordings.len(),
                all_clips: few.positions.len(),
                interval: [low, high],
                steps: if stepped { steps } else { 0 },
                training: gain,
                trained: gain.is_none_or(|gain| gain.is_real()),
                temperature,
                before: reliability(&held.probabilities(1.0), &held.classes),
                after: match calibrated {
                    true => reliability(&probabilities, &held.classes),
                    false => Vec::new(),
                },
                threshold,
                refused,
                strangers: few.strangers.as_ref().map(|_| {
                    [
                        strangers.len(),
                        strangers.iter().filter(|score| **score < threshold).count(),
                    ]
                }),
                suspects: suspects(few, &seen.clips, &outcome, &probabilities)?,
            },
            outcome,
            calibration: Calibration {
                temperature,
                score: BelongingScore::ClassSimilarity,
                classes: ClassMeans::fit(&few.views.f_select(1, 0)?, &few.classes)?,
                threshold,
                wrongly_refused: rate,
            },
        })
    }

    /// The temperature and threshold for each fold, chosen by the others: by models and class means
    /// that were made without both. Temperatures only `with_models`, and if each can be solved.
    fn nested(
        &self,
        few: &Few,
        config: &ModelConfig,
        folds: &Folds,
        with_models: bool,
    ) -> Result<Vec<Nested>> {
        let count = folds.held().len();
        let rate = self.session.config.protocol.wrongly_refused;
        let mut held = vec![HeldOut::default(); count];
        let mut scores = vec![Vec::new(); count];
        let mut solved = with_models && count > 2;
        for one in 0..count {
            for other in one + 1..count {
                let trained = folds.without(&[one, other], few.classes.len());
                if trained.is_empty() {
                    continue;
                }
                let means = few.means(&trained)?;
                let mut model = None;
                if solved {
                    let made = self.session.first_model(config, self.trial.seed)?;
                    solved = self.solve(few, made.as_ref(), &trained)?;
                    model = Some(made);
                }
                for (judged, by) in [(one, other), (other, one)] {
                    let clips = folds.held().get(by).map_or(&[][..], Vec::as_slice);
                    let features = few.part(clips)?.0;
                    if let Some(scores) = scores.get_mut(judged) {
                        scores.extend(means.scores(&features)?);
                    }
                    if let (Some(model), Some(held)) = (&model, held.get_mut(judged)) {
                        held.extend(few.held(clips, self.logits(model.as_ref(), &features)?));
                    }
                }
            }
        }
        let folds = held.iter().zip(&scores);
        Ok(folds
            .map(|(held, scores)| Nested {
                temperature: solved.then(|| held.temperature()),
                threshold: threshold(scores, &[], rate),
            })
            .collect())
    }
}

/// Chosen without a fold.
struct Nested {
    temperature: Option<f64>,
    threshold: f64,
}

/// How much smaller the loss of the same clips is after some steps.
fn gain(start: &HeldOut, stepped: &HeldOut, steps: u64) -> Gain {
    let losses = |held: &HeldOut| held.losses(held.temperature());
    let spread = Spread::paired(&losses(start), &losses(stepped));
    let (gain, error) = spread.map_or((0.0, 0.0), |spread| {
        (spread.mean, spread.deviation / (spread.count as f64).sqrt())
    });
    Gain { steps, gain, error }
}

fn outcome(
    few: &Few,
    clips: &[usize],
    probabilities: &[Vec<f64>],
    classes: &[usize],
    labels: Vec<String>,
) -> Result<Outcome> {
    let scored = Scored {
        probabilities: probabilities.iter().flatten().map(|x| *x as f32).collect(),
        labels: classes.to_vec(),
        classes: labels.len(),
        belonging: Vec::new(),
    };
    let ids = clips.iter().filter_map(|clip| few.ids.get(*clip));
    Ok(Outcome {
        test: HELD_OUT.into(),
        labels,
        accuracy: scored.accuracy()?,
        mean_average_precision: None,
        clips: scored.clips(ids.map(String::as_str)),
    })
}

/// The clips that clips of other recordings contradict, most contradicted first; a few of each class.
fn suspects(
    few: &Few,
    clips: &[usize],
    outcome: &Outcome,
    probabilities: &[Vec<f64>],
) -> Result<Vec<Suspect>> {
    let count = outcome.labels.len();
    let found = contradictions(
        &few.views.f_select(1, 0)?,
        &few.classes,
        count,
        &few.recordings,
    )?;
    let name = |class: usize| outcome.labels.get(class).cloned().unwrap_or_default();
    let mut all: Vec<(f64, Suspect)> = clips
        .iter()
        .zip(outcome.clips.iter().zip(probabilities))
        .filter_map(|(clip, (scored, row))| {
            let Contradiction { other, strength } = *found.get(*clip)?;
            (strength > 0.0).then(|| {
                let suspect = Suspect {
                    id: scored.id.clone(),
                    class: name(scored.label),
                    probability: row.get(scored.label).copied().unwrap_or(0.0),
                    other: name(other),
                };
                (strength, suspect)
            })
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    let suspects = all.into_iter().map(|(_, suspect)| suspect);
    Ok(suspects
        .filter(|suspect| {
            let count = named.entry(suspect.class.clone()).or_default();
            *count += 1;
            *count <= SUSPECTS
        })
        .collect())
}
