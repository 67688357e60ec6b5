//! The training loop: batches of clips under the loss of Eq. 3, resumable at any step.

use std::collections::BTreeMap;
use std::path::Path;

use dist::Group;
use models::{Classifier, Clips, Lane, Lanes, Piece, Targets, VideoTextModel};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Kind, Tensor};

use crate::config::Train;
use crate::log::{RunLog, StepRecord};
use crate::ranks::{Cut, Header, Mates, cuts, exchange, own_lanes, without};
use crate::source::BatchSource;
use crate::{Error, Result};
use clips::{Ended, Interrupt};
use optim::{Length, Method, MethodName, Optimizer, Parameter, Schedule};
use random::{Purpose, StepStream};
use recogniser::checkpoint::{OPTIMIZER, TRAINED, Tensors};
use recogniser::{State, load_parameters, parameters, store};

/// The group of the last parameters, if the tested ones are a moving average.
const CURRENT: &str = "current";

/// One training run.
pub struct Task<'a> {
    /// The model to train.
    pub model: &'a dyn VideoTextModel,
    /// The training classes, in the order of their indices.
    pub labels: &'a [String],
    /// The training clips.
    pub clips: &'a mut dyn BatchSource,
    /// The hyper-parameters.
    pub train: &'a Train,
    /// Seed of shuffling, views, mixup and dropout.
    pub seed: u64,
    /// The run's folder: log and checkpoints.
    pub folder: &'a Path,
    /// Checked after every step.
    pub interrupt: &'a Interrupt,
    /// Hides the progress on stderr.
    pub quiet: bool,
    /// The processes that train together. Rank 0 alone writes into the folder.
    pub group: &'a dyn Group,
}

/// Runs `task` to its end, from its newest checkpoint if there is one.
///
/// `run` describes the run. It is stored in every checkpoint, and a folder whose checkpoint holds
/// another description is refused, so that two runs are never mixed.
///
/// # Errors
/// [`Error::NotFinite`] for a loss or gradient that is not finite, [`Error::Disk`] if the
/// disk is full (the last checkpoint is intact), and any error of the model or the clips.
pub fn train<R>(task: &mut Task<'_>, run: &R, same: fn(&R, &R) -> bool) -> Result<Ended<()>>
where
    R: Serialize + DeserializeOwned + Clone,
{
    let train = task.train;
    let count = task.clips.classes().len();
    if count == 0 {
        return Err(Error::mismatch("training clips", "at least 1", 0));
    }
    let length = Length::new(count, train.batch_size, train.epochs, train.min_steps);
    let schedule = Schedule {
        rate: train.learning_rate,
        warm_up: train.warm_up,
        warm_up_rate: train.warm_up_learning_rate,
        warm_up_steps: train.warm_up_epochs.saturating_mul(length.epoch_steps),
        steps: length.steps(),
    };
    let store = store(task.folder, train.keep_checkpoints);
    // A resumed training is pulled to the same start: its checkpoint is not loaded yet.
    let mut optimizer =
        Optimizer::new(method(train), trainable(task.model, train.weight_decay)).pulled(train.pull);
    let mut average = (train.ema_decay > 0.0).then(|| in_full(parameters(task.model)));
    let mut done = 0;
    if let Some(loaded) = store.load::<State<R>>()? {
        if !same(&loaded.state.run, run) {
            return Err(Error::Checkpoint {
                path: loaded.path,
                reason: "belongs to a run with another configuration, data, labels or backbone; \
                    choose another folder, or remove this one"
                    .into(),
            });
        }
        for (path, reason) in &loaded.refused {
            tracing::warn!("{}: skipped: {reason}", path.display());
        }
        done = loaded.step;
        average = resume(
            task.model,
            &mut optimizer,
            loaded.groups,
            loaded.state.updates,
        )?
        .filter(|_| average.is_some());
    }

    agree(task, done)?;
    let leads = task.group.rank() == 0;
    if leads {
        store.tidy()?;
    }
    let mut log = match leads {
        true => Some(RunLog::open(task.folder, done, length.steps(), task.quiet)?),
        false => None,
    };
    let started = done;
    let mut saved = done;
    {
        let classifier = task.model.bind(task.labels)?;
        let mut order = EpochOrder::new(task, done / length.epoch_steps);
        loop {
            let ended = done == length.steps();
            let batch = match ended {
                true => None,
                false => Some(draw(task, &mut order, length, done)?),
            };
            // Asked for before the first step, it stops after it.
            let stop = done > started && batch.as_ref().is_some_and(|batch| batch.stop);
            let due = done % train.save_every == 0 || ended || stop;
            if due && done > saved {
                agree(task, done)?;
                if let Some(log) = &mut log {
                    log.sync()?;
                    let state = State {
                        updates: optimizer.steps(),
                        run: run.clone(),
                    };
                    store.save(
                        done,
                        &groups(task.model, &optimizer, average.as_ref()),
                        &state,
                    )?;
                }
                saved = done;
            }
            let Some(batch) = batch.filter(|_| !stop) else {
                break;
            };
            let record = step(
                task,
                classifier.as_ref(),
                &mut optimizer,
                &schedule,
                batch,
                length,
                done,
            )?;
            if let Some(average) = &mut average {
                update_average(average, task.model, train.ema_decay, done);
            }
            done += 1;
            if let Some(log) = &mut log {
                log.step(&record.0, record.1)?;
            }
        }
    }
    if let Some(log) = &mut log {
        log.close()?;
    }
    // The last checkpoint is there.
    task.group.meet()?;
    if done < length.steps() {
        return Ok(Ended::Stopped);
    }
    if let Some(average) = &average {
        load_parameters(task.model, average)?;
    }
    Ok(Ended::Done(()))
}

/// Checks that every process is at the same step, with the same parameters.
fn agree(task: &Task<'_>, done: u64) -> Result<()> {
    if task.group.size() == 1 {
        return Ok(());
    }
    let parameters = recogniser::checkpoint::fingerprint(&parameters(task.model))?;
    let facts = [
        ("the number of steps done", done.to_string()),
        ("the SHA-256 of the parameters", parameters),
    ];
    Ok(task.group.agree(&facts)?)
}

/// A batch that the processes have drawn together.
struct SharedBatch {
    /// The clips of the whole batch, or of this process's lanes.
    clips: Clips,
    /// The place of the first of them in the whole batch.
    first: usize,
    /// The positions of the whole batch, without the clips that cannot be read.
    positions: Vec<usize>,
    /// Ids of the latter.
    left_out: Vec<String>,
    /// All lanes, with their places in the whole batch.
    lanes: Vec<Cut>,
    /// A stop is asked for.
    stop: bool,
}

fn draw(
    task: &mut Task<'_>,
    order: &mut EpochOrder,
    length: Length,
    done: u64,
) -> Result<SharedBatch> {
    let group = task.group;
    let lanes = task.train.lanes;
    let own = own_lanes(lanes, group.rank(), group.size());
    let is_divided = task.clips.is_divided() && group.size() > 1;
    if is_divided && task.train.mixup_alpha > 0.0 {
        return Err(Error::Value {
            key: "train.mixup_alpha".into(),
            expected: "0 for training from videos on several ranks, each of which reads its own"
                .into(),
            got: task.train.mixup_alpha.to_string(),
        });
    }
    let asked = |wanted: &[usize]| -> Vec<usize> {
        let cuts = cuts(wanted.len(), lanes);
        let own = cuts.get(own.clone()).unwrap_or_default();
        let places = own.iter().flat_map(|cut| cut.places.clone());
        match is_divided {
            true => places
                .filter_map(|place| wanted.get(place).copied())
                .collect(),
            false => wanted.to_vec(),
        }
    };
    let (epoch, within) = (done / length.epoch_steps, done % length.epoch_steps);
    let wanted = order.batch(epoch, within);
    let drawn = task.clips.batch(&asked(&wanted), task.seed, epoch)?;
    let (next_epoch, next) = (
        (done + 1) / length.epoch_steps,
        (done + 1) % length.epoch_steps,
    );
    if next_epoch < length.epochs {
        let positions = asked(&order.batch(next_epoch, next));
        task.clips.ahead(&positions, task.seed, next_epoch)?;
    }
    let header = Header {
        step: done + 1,
        batch: disk::sha256(format!("{wanted:?}")),
        kept: drawn.positions,
        left_out: drawn.left_out,
        stop: task.interrupt.asked(),
    };
    let headers = exchange(group, &header)?;
    let stop = headers.iter().any(|header| header.stop);
    let before = headers.iter().take(group.rank());
    let first = match is_divided {
        true => before.map(|header| header.kept.len()).sum(),
        false => 0,
    };
    let speaking = match is_divided {
        true => headers,
        false => vec![header],
    };
    let (mut positions, mut left_out) = (Vec::new(), Vec::new());
    for header in speaking {
        positions.extend(header.kept);
        left_out.extend(header.left_out);
    }
    if positions.is_empty() {
        return Err(Error::mismatch(
            format!("clips of step {}", done + 1),
            "at least 1 decodable",
            format!("none of {}", left_out.join(", ")),
        ));
    }
    Ok(SharedBatch {
        clips: drawn.clips,
        first,
        lanes: without(&cuts(wanted.len(), lanes), &wanted, &positions),
        positions,
        left_out,
        stop,
    })
}

/// One step over a batch; its statistics, and its number of clips.
fn step(
    task: &mut Task<'_>,
    classifier: &dyn Classifier,
    optimizer: &mut Optimizer,
    schedule: &Schedule,
    drawn: SharedBatch,
    length: Length,
    done: u64,
) -> Result<(StepRecord, usize)> {
    let train = task.train;
    let group = task.group;
    let (epoch, within) = (done / length.epoch_steps, done % length.epoch_steps);
    let SharedBatch {
        clips,
        first,
        positions,
        left_out,
        lanes,
        ..
    } = drawn;
    let classes: Vec<i64> = positions
        .iter()
        .map(|position| class_of(task, *position, epoch))
        .collect();
    // Dropout draws from libtorch's own generator: seeded at each step, its state is not saved. Of
    // several lanes, each has a seed of its own.
    let mut draws = StepStream::new(task.seed, Purpose::Step, epoch, within);
    let mut seed = move || (draws.next_u64() >> 1) as i64;
    tch::manual_seed(seed());
    let seeds: Vec<i64> = lanes.iter().map(|_| seed()).collect();

    let whole = Tensor::from_slice(&classes);
    let shown = shown(task, &positions)?;
    let targets = match &shown {
        Some(shown) => Targets::classes(&whole).showing(shown),
        None => Targets::classes(&whole),
    };
    let read = clips.count();
    let cut = |x: &Tensor| x.f_narrow(0, first as i64, read);
    let batch = Batch {
        classes: cut(&whole)?,
        weights: None,
        shown: shown.as_ref().map(cut).transpose()?,
        clips,
    };
    let batch = match train.mixup_alpha > 0.0 {
        true => batch.mixed(
            task.labels.len(),
            train.mixup_alpha,
            StepStream::new(task.seed, Purpose::Mix, epoch, within),
        )?,
        false => batch,
    };
    optimizer.zero_grad();
    let own = own_lanes(train.lanes, group.rank(), group.size());
    let mut own_cuts = lanes.get(own).unwrap_or_default().iter();
    let start = own_cuts.clone().next().map_or(0, |cut| cut.places.start);
    let own_cuts = own_cuts
        .by_ref()
        .filter(|cut| !cut.places.is_empty())
        .map(|cut| {
            let pieces = shares(
                cut.places.start - first,
                cut.places.len(),
                train.micro_batches,
            )
            .map(|(start, count)| {
                let part = batch.part(start as i64, count as i64)?;
                let targets = part.targets().smoothed(train.label_smoothing)?;
                Ok(Piece {
                    clips: part.clips,
                    targets,
                })
            })
            .collect::<Result<Vec<Piece>>>()?;
            Ok(Lane {
                number: cut.number,
                seed: seeds.get(cut.number).copied().filter(|_| train.lanes > 1),
                pieces,
            })
        })
        .collect::<Result<Vec<Lane>>>()?;
    // Copied before work is queued that a GPU would have to finish first.
    let truth = whole.to_device(task.model.trained().device());
    let mates = Mates::new(group, &lanes);
    let batch = Lanes {
        count: train.lanes,
        own: own_cuts,
        targets,
        start: start as i64,
    };
    let learned = classifier.learn_lanes(batch, &mates);
    let learned = learned.map_err(|error| mates.failure(error))?;
    optimizer.pull()?;
    let predicted = &learned.predicted;
    let right = predicted
        .eq_tensor(&truth.to_device(predicted.device()))
        .sum(Kind::Double);
    let (norm, [loss, right]) = optimizer.gradient_norm([&learned.loss, &right])?;
    for (what, value) in [("loss", loss), ("gradient norm", norm)] {
        if !value.is_finite() {
            return Err(Error::NotFinite {
                step: done + 1,
                what,
                value,
                whose: mates.culprits()?,
            });
        }
    }
    optimizer.limit_gradients(norm, train.clip_norm);
    let learning_rate = schedule.rate(done);
    optimizer.step(learning_rate);
    let record = StepRecord {
        step: done + 1,
        epoch,
        loss,
        learning_rate,
        gradient_norm: norm,
        top1: right / positions.len() as f64,
        skipped: left_out,
    };
    Ok((record, positions.len()))
}

/// The first of each and the number of `count` clips from `start` on, in `parts` whose sizes differ by
/// at most one; empty ones are left out.
fn shares(start: usize, count: usize, parts: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = cuts(count, parts).into_iter();
    let parts = parts.map(move |cut| (start + cut.places.start, cut.places.len()));
    parts.filter(|(_, count)| *count > 0)
}

/// The order of the clips in an epoch: a permutation of all of them, made once per epoch.
struct EpochOrder {
    seed: u64,
    /// Clips per batch.
    batch: usize,
    epoch: u64,
    order: Vec<usize>,
}

impl EpochOrder {
    fn new(task: &Task<'_>, epoch: u64) -> Self {
        let mut order = Self {
            seed: task.seed,
            batch: task.train.batch_size,
            epoch,
            order: (0..task.clips.classes().len()).collect(),
        };
        order.shuffle();
        order
    }

    fn shuffle(&mut self) {
        self.order.sort_unstable();
        StepStream::new(self.seed, Purpose::Shuffle, self.epoch, 0).shuffle(&mut self.order);
    }

    /// The clips of step `within` of `epoch`.
    fn batch(&mut self, epoch: u64, within: u64) -> Vec<usize> {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.shuffle();
        }
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        let mut batches = self.order.chunks(self.batch);
        batches.nth(within).unwrap_or_default().to_vec()
    }
}

/// The class of a clip in `epoch`: its only one, or one of several drawn per epoch.
fn class_of(task: &Task<'_>, position: usize, epoch: u64) -> i64 {
    let shown = task.clips.shown(position);
    let draw = StepStream::new(task.seed, Purpose::Class, epoch, position as u64)
        .below(shown.len().max(1));
    let one = || task.clips.classes().get(position).copied();
    shown.get(draw).copied().or_else(one).unwrap_or(0)
}

/// 1 for every class each clip shows, `[B, K]`, if clips show several.
fn shown(task: &Task<'_>, positions: &[usize]) -> Result<Option<Tensor>> {
    let sets: Vec<&[i64]> = positions.iter().map(|at| task.clips.shown(*at)).collect();
    if sets.iter().all(|set| set.is_empty()) {
        return Ok(None);
    }
    let mut rows = vec![0f32; sets.len() * task.labels.len()];
    for (row, set) in rows.chunks_mut(task.labels.len().max(1)).zip(sets) {
        for class in set {
            let slot = usize::try_from(*class)
                .ok()
                .and_then(|class| row.get_mut(class));
            *slot.ok_or_else(|| Error::mismatch("class", task.labels.len(), class))? = 1.0;
        }
    }
    let size = [positions.len() as i64, task.labels.len() as i64];
    Ok(Some(Tensor::from_slice(&rows).f_view(size)?))
}

/// Clips with their targets.
struct Batch {
    clips: Clips,
    /// `[B]`
    classes: Tensor,
    /// `[B, K]`, if clips were mixed.
    weights: Option<Tensor>,
    /// `[B, K]`, if clips show several classes.
    shown: Option<Tensor>,
}

impl Batch {
    /// Each clip mixed with another of the batch, features and labels alike, with one weight
    /// drawn from Beta(`alpha`, `alpha`) (mixup, ICLR 2018).
    fn mixed(self, labels: usize, alpha: f64, mut stream: StepStream) -> Result<Self> {
        let mut share = stream.beta(alpha);
        // The clip itself has the larger weight, so that `classes` stays its class.
        share = share.max(1.0 - share);
        let size = self.classes.size1()?;
        let mut partners: Vec<i64> = (0..size).collect();
        stream.shuffle(&mut partners);
        let partners = Tensor::from_slice(&partners);
        let mix = |x: &Tensor| {
            let partners = x.index_select(0, &partners.to_device(x.device()));
            x * share + partners * (1.0 - share)
        };
        let clips = match &self.clips {
            Clips::Features(features) => Clips::Features(mix(features)),
            Clips::Pixels(pixels) => Clips::Pixels(mix(pixels)),
        };
        let truth = match &self.shown {
            Some(shown) => shown / shown.sum_dim_intlist(-1, true, Kind::Float),
            None => self.classes.f_one_hot(labels as i64)?.to_kind(Kind::Float),
        };
        Ok(Self {
            clips,
            weights: Some(mix(&truth)),
            classes: self.classes,
            shown: None,
        })
    }

    fn part(&self, start: i64, size: i64) -> Result<Self> {
        let cut = |x: &Tensor| x.f_narrow(0, start, size);
        Ok(Self {
            clips: match &self.clips {
                Clips::Features(features) => Clips::Features(cut(features)?),
                Clips::Pixels(pixels) => Clips::Pixels(cut(pixels)?),
            },
            classes: cut(&self.classes)?,
            weights: self.weights.as_ref().map(cut).transpose()?,
            shown: self.shown.as_ref().map(cut).transpose()?,
        })
    }

    fn targets(&self) -> Targets {
        match (&self.weights, &self.shown) {
            (Some(weights), _) => Targets::weights(weights),
            (None, Some(shown)) => Targets::classes(&self.classes).showing(shown),
            (None, None) => Targets::classes(&self.classes),
        }
    }
}

fn method(train: &Train) -> Method {
    match train.optimizer {
        MethodName::Sgd => Method::Sgd {
            momentum: train.momentum,
        },
        MethodName::Adamw => Method::AdamW {
            beta1: train.momentum,
            beta2: train.beta2,
            eps: 1e-8,
        },
    }
}

fn trainable(model: &dyn VideoTextModel, weight_decay: f64) -> Vec<Parameter> {
    let variables = model.trained().variables();
    variables
        .into_iter()
        .filter(|(_, tensor)| tensor.requires_grad())
        .map(|(name, tensor)| {
            let group = model.group(&name);
            Parameter {
                name,
                tensor,
                rate: group.rate,
                decay: if group.decay { weight_decay } else { 0.0 },
            }
        })
        .collect()
}

/// The content of a checkpoint.
fn groups<'a>(
    model: &dyn VideoTextModel,
    optimizer: &Optimizer,
    average: Option<&Tensors>,
) -> BTreeMap<&'a str, Tensors> {
    let mut groups = BTreeMap::from([(OPTIMIZER, optimizer.state())]);
    let current = parameters(model);
    match average {
        None => {
            groups.insert(TRAINED, current);
        }
        Some(average) => {
            let copy = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
            groups.insert(TRAINED, average.iter().map(copy).collect());
            groups.insert(CURRENT, current);
        }
    }
    groups
}

/// Restores a checkpoint's tensors; returns the moving average, if there was one.
fn resume(
    model: &dyn VideoTextModel,
    optimizer: &mut Optimizer,
    mut groups: BTreeMap<String, Tensors>,
    updates: u64,
) -> Result<Option<Tensors>> {
    let mut take = |group: &str| groups.remove(group);
    let trained = take(TRAINED).unwrap_or_default();
    optimizer.restore(&take(OPTIMIZER).unwrap_or_default(), updates)?;
    match take(CURRENT) {
        None => {
            load_parameters(model, &trained)?;
            Ok(None)
        }
        Some(current) => {
            load_parameters(model, &current)?;
            let device = model.trained().device();
            let average = trained.into_iter();
            let average = average.map(|(name, tensor)| (name, tensor.to_device(device)));
            Ok(Some(average.collect()))
        }
    }
}

/// At least fp32: the increments of an average are too small for bf16.
fn in_full(tensors: Tensors) -> Tensors {
    let full = |tensor: Tensor| match tensor.kind() {
        Kind::Half | Kind::BFloat16 => tensor.to_kind(Kind::Float),
        _ => tensor,
    };
    let tensors = tensors.into_iter();
    tensors.map(|(name, tensor)| (name, full(tensor))).collect()
}

/// Exponential moving average; a plain mean over the first steps, so that the random initial
/// values weigh no more than any other step.
fn update_average(average: &mut Tensors, model: &dyn VideoTextModel, decay: f64, done: u64) {
    let _guard = tch::no_grad_guard();
    let decay = decay.min((1 + done) as f64 / (2 + done) as f64);
    let mut current = model.trained().variables();
    for (name, mean) in average {
        if let Some(tensor) = current.remove(name) {
            let _ = mean.g_mul_scalar_(decay);
            let share = tensor.detach().to_kind(mean.kind()) * (1.0 - decay);
            let _ = mean.g_add_(&share);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::log::read_steps;
    use crate::source::tests::InMemory;
    use models::Preset;
    use models::{Evidence, Scores, TrainingLoss};
    use tch::Device;
    use tch::nn::{self, Module as _};

    /// A linear map of the mean frame feature, with dropout.
    struct Linear {
        store: nn::VarStore,
        map: nn::Linear,
        labels: Vec<String>,
        dropout: f64,
    }

    impl Linear {
        fn new(classes: i64) -> Self {
            tch::manual_seed(1);
            let store = nn::VarStore::new(Device::Cpu);
            let map = nn::linear(
                store.root() / "map",
                6,
                classes,
                nn::LinearConfig::default(),
            );
            let labels = (0..classes).map(|class| format!("class {class}")).collect();
            Self {
                store,
                map,
                labels,
                dropout: 0.2,
            }
        }

        fn forward(&self, clips: &Clips, train: bool) -> Scores {
            let Clips::Features(features) = clips else {
                panic!("features expected");
            };
            let video = features
                .mean_dim(1, false, Kind::Float)
                .dropout(self.dropout, train);
            let empty = || Tensor::zeros([0], (Kind::Float, Device::Cpu));
            Scores {
                logits: self.map.forward(&video),
                video,
                text: empty(),
                evidence: Evidence {
                    video: empty(),
                    text: empty(),
                    motion: None,
                    prompt_residual: None,
                },
            }
        }
    }

    impl VideoTextModel for Linear {
        fn bind<'a>(&'a self, _labels: &[String]) -> models::Result<Box<dyn Classifier + 'a>> {
            Ok(Box::new(Bound(self)))
        }

        fn trained(&self) -> &nn::VarStore {
            &self.store
        }

        fn trained_mut(&mut self) -> &mut nn::VarStore {
            &mut self.store
        }
    }

    struct Bound<'a>(&'a Linear);

    impl Classifier for Bound<'_> {
        fn labels(&self) -> &[String] {
            &self.0.labels
        }

        fn score(&self, clips: &Clips) -> models::Result<Scores> {
            Ok(self.0.forward(clips, false))
        }

        fn loss<'a>(
            &'a self,
            clips: &Clips,
            targets: &Targets,
        ) -> models::Result<TrainingLoss<'a>> {
            let scores = self.0.forward(clips, true);
            let value = targets.cross_entropy(&scores.logits)?;
            let predicted = scores.logits.detach().argmax(1, false);
            Ok(TrainingLoss::new(value, scores, predicted, |loss| {
                loss.f_backward()?;
                Ok(())
            }))
        }
    }

    fn clips(count: i64) -> InMemory {
        tch::manual_seed(2);
        let classes: Vec<i64> = (0..count).map(|clip| clip % 3).collect();
        let features = Tensor::randn([count, 2, 4, 6], (Kind::Float, Device::Cpu));
        let place = Tensor::from_slice(&classes).one_hot(6).to_kind(Kind::Float);
        InMemory::new(features + place.view([count, 1, 1, 6]) * 2.0, classes)
    }

    fn recipe() -> Train {
        Train {
            learning_rate: 0.05,
            batch_size: 4,
            epochs: 6,
            min_steps: 1,
            save_every: 3,
            mixup_alpha: 0.3,
            ema_decay: 0.9,
            label_smoothing: 0.1,
            pull: 0.01,
            ..Train::preset(Preset::Best)
        }
    }

    /// Trains below `folder`; returns the tested parameters' fingerprint and the log.
    fn run(folder: &Path, train: &Train, stop_at_start: bool) -> (Ended<()>, String, Vec<u8>) {
        run_model(&Linear::new(3), folder, train, stop_at_start)
    }

    fn run_model(
        model: &Linear,
        folder: &Path,
        train: &Train,
        stop_at_start: bool,
    ) -> (Ended<()>, String, Vec<u8>) {
        let interrupt = Interrupt::default();
        if stop_at_start {
            interrupt.ask();
        }
        let ended = super::train(
            &mut Task {
                model,
                labels: &model.labels,
                clips: &mut clips(10),
                train,
                seed: 5,
                folder,
                interrupt: &interrupt,
                quiet: true,
                group: &dist::Solo,
            },
            &"one run".to_owned(),
            String::eq,
        )
        .unwrap();
        (
            ended,
            recogniser::checkpoint::fingerprint(&parameters(model)).unwrap(),
            std::fs::read(folder.join("log.jsonl")).unwrap(),
        )
    }

    #[test]
    fn a_run_stopped_after_every_step_ends_like_one_never_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let straight = run(&folder.path().join("a"), &recipe(), false);
        assert_eq!(straight.0, Ended::Done(()));
        let stopped = folder.path().join("b");
        let mut stops = 0;
        while run(&stopped, &recipe(), true).0 != Ended::Done(()) {
            stops += 1;
        }
        assert_eq!(stops, 17, "18 steps: 3 per epoch, the last of 2 clips");
        assert_eq!(run(&stopped, &recipe(), false), straight);
    }

    #[test]
    fn a_pull_keeps_the_parameters_near_their_start() {
        let folder = tempfile::tempdir().unwrap();
        let away = |pull: f64| {
            let model = Linear::new(3);
            let before = in_full(parameters(&model));
            let train = Train { pull, ..recipe() };
            run_model(&model, &folder.path().join(pull.to_string()), &train, false);
            let after = in_full(parameters(&model));
            let square = |(name, tensor): (&String, &Tensor)| {
                let step = tensor - &before[name];
                step.square().sum(Kind::Double).double_value(&[])
            };
            after.iter().map(square).sum::<f64>().sqrt()
        };
        let (free, pulled) = (away(0.0), away(10.0));
        assert!(pulled < 0.5 * free, "{pulled}, without a pull {free}");
    }

    #[test]
    fn a_batch_in_pieces_is_the_same_step() {
        let folder = tempfile::tempdir().unwrap();
        let first = |name: &str, micro_batches| {
            let train = Train {
                micro_batches,
                batch_size: 10,
                epochs: 1,
                mixup_alpha: 0.0,
                ema_decay: 0.0,
                ..recipe()
            };
            let folder = folder.path().join(name);
            let mut model = Linear::new(3);
            model.dropout = 0.0;
            run_model(&model, &folder, &train, false);
            read_steps(&folder.join("log.jsonl")).unwrap().remove(0)
        };
        let (whole, pieces) = (first("whole", 1), first("pieces", 4));
        assert!(
            (whole.loss - pieces.loss).abs() < 1e-6,
            "{whole:?} {pieces:?}"
        );
        assert!((whole.gradient_norm - pieces.gradient_norm).abs() < 1e-6);
        assert_eq!(whole.top1, pieces.top1);
    }

    #[test]
    fn a_clip_of_several_classes_names_each_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        let model = Linear::new(3);
        let train = recipe();
        let shown = (0..10i64)
            .map(|clip| vec![clip % 3, (clip + 1) % 3])
            .collect();
        let mut source = clips(10);
        source.shown = shown;
        let task = Task {
            model: &model,
            labels: &model.labels,
            clips: &mut source,
            train: &train,
            seed: 5,
            folder: folder.path(),
            interrupt: &Interrupt::default(),
            quiet: true,
            group: &dist::Solo,
        };
        let named: std::collections::BTreeSet<i64> =
            (0..40).map(|epoch| class_of(&task, 4, epoch)).collect();
        assert_eq!(named.into_iter().collect::<Vec<_>>(), [1, 2]);
        let rows = shown_of(&shown_at(&task, &[4, 5]));
        assert_eq!(rows, [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]);
    }

    fn shown_at(task: &Task<'_>, positions: &[usize]) -> Tensor {
        super::shown(task, positions).unwrap().unwrap()
    }

    fn shown_of(rows: &Tensor) -> Vec<Vec<f32>> {
        Vec::try_from(rows).unwrap()
    }

    #[test]
    fn a_folder_of_another_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &recipe(), false);
        let model = Linear::new(3);
        let error = super::train(
            &mut Task {
                model: &model,
                labels: &model.labels,
                clips: &mut clips(10),
                train: &recipe(),
                seed: 5,
                folder: folder.path(),
                interrupt: &Interrupt::default(),
                quiet: true,
                group: &dist::Solo,
            },
            &"another run".to_owned(),
            String::eq,
        );
        assert!(matches!(error, Err(Error::Checkpoint { .. })));
    }

    #[test]
    fn a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let model = Linear::new(3);
        let nan = Tensor::full([10, 1, 4, 6], f64::NAN, (Kind::Float, Device::Cpu));
        let error = super::train(
            &mut Task {
                model: &model,
                labels: &model.labels,
                clips: &mut InMemory::new(nan, vec![0; 10]),
                train: &recipe(),
                seed: 5,
                folder: folder.path(),
                interrupt: &Interrupt::default(),
                quiet: true,
                group: &dist::Solo,
            },
            &"run".to_owned(),
            String::eq,
        )
        .unwrap_err();
        assert!(
            matches!(
                error,
                Error::NotFinite {
                    step: 1,
                    what: "loss",
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            recogniser::newest::<String>(folder.path())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_number_lost_on_the_way_leaves_the_checkpoint_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let model = Linear::new(3);
        let train = Train {
            batch_size: 1,
            epochs: 1,
            save_every: 1,
            mixup_alpha: 0.0,
            ..recipe()
        };
        // One of ten clips is bad: the run stops at its batch.
        let features = Tensor::ones([10, 1, 4, 6], (Kind::Float, Device::Cpu));
        let _ = features.get(3).fill_(f64::NAN);
        let error = super::train(
            &mut Task {
                model: &model,
                labels: &model.labels,
                clips: &mut InMemory::new(features, vec![0; 10]),
                train: &train,
                seed: 5,
                folder: folder.path(),
                interrupt: &Interrupt::default(),
                quiet: true,
                group: &dist::Solo,
            },
            &"run".to_owned(),
            String::eq,
        )
        .unwrap_err();
        let Error::NotFinite { step, .. } = error else {
            panic!("{error}");
        };
        assert!(step > 1, "the seed puts it first; take another");
        let last = recogniser::newest::<String>(folder.path())
            .unwrap()
            .unwrap();
        assert_eq!(last.step, step - 1);
        let finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) == 1;
        assert!(last.groups.values().all(|group| group.values().all(finite)));
    }

    #[test]
    fn training_learns_what_can_be_learned() {
        let folder = tempfile::tempdir().unwrap();
        let train = Train {
            epochs: 60,
            mixup_alpha: 0.0,
            ..recipe()
        };
        run(folder.path(), &train, false);
        let steps = read_steps(&folder.path().join("log.jsonl")).unwrap();
        let mean = |part: &[StepRecord]| {
            part.iter().map(|step| step.loss).sum::<f64>() / part.len() as f64
        };
        assert!(mean(&steps[170..]) < 0.7 * mean(&steps[..10]));
    }

    #[test]
    fn what_shuffled_labels_teach_stays_at_chance() {
        const CLIPS: i64 = 240;
        let truth: Vec<i64> = (0..CLIPS).map(|clip| clip % 6).collect();
        let drawn = |seed| {
            tch::manual_seed(seed);
            let place = Tensor::from_slice(&truth).one_hot(6).to_kind(Kind::Float);
            let noise = Tensor::randn([CLIPS, 1, 4, 6], (Kind::Float, Device::Cpu));
            noise + place.view([CLIPS, 1, 1, 6]) * 2.0
        };
        let unseen = Clips::Features(drawn(7).squeeze_dim(1));
        let accuracy = |classes: Vec<i64>| {
            let folder = tempfile::tempdir().unwrap();
            let model = Linear::new(6);
            let train = Train {
                batch_size: 24,
                mixup_alpha: 0.0,
                epochs: 20,
                save_every: 1000,
                ..recipe()
            };
            let mut task = Task {
                model: &model,
                labels: &model.labels,
                clips: &mut InMemory::new(drawn(6), classes),
                train: &train,
                seed: 5,
                folder: folder.path(),
                interrupt: &Interrupt::default(),
                quiet: true,
                group: &dist::Solo,
            };
            super::train(&mut task, &"one run".to_owned(), String::eq).unwrap();
            let nearest = model.forward(&unseen, false).logits.argmax(1, false);
            let right = nearest.eq_tensor(&Tensor::from_slice(&truth));
            right
                .to_kind(Kind::Float)
                .mean(Kind::Float)
                .double_value(&[])
        };
        assert!(accuracy(truth.clone()) > 0.9);
        let mut shuffled = truth.clone();
        StepStream::new(5, Purpose::Labels, 0, 0).shuffle(&mut shuffled);
        // Chance is 1/6; three standard errors of 240 clips are 0.07.
        let taught = accuracy(shuffled);
        assert!((taught - 1.0 / 6.0).abs() < 0.12, "{taught}");
    }

    #[test]
    fn mixed_labels_stay_a_distribution_led_by_the_clips_own() {
        let batch = Batch {
            clips: Clips::Features(Tensor::ones([4, 2, 3], (Kind::Float, Device::Cpu))),
            classes: Tensor::from_slice(&[0i64, 1, 2, 1]),
            weights: None,
            shown: None,
        };
        let mixed = batch
            .mixed(3, 0.5, StepStream::new(0, Purpose::Mix, 0, 0))
            .unwrap();
        let weights = mixed.weights.unwrap();
        let sums: Vec<f32> = weights
            .sum_dim_intlist(-1i64, false, Kind::Float)
            .try_into()
            .unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6));
        let own = weights.nll_loss(&mixed.classes);
        assert!(own.double_value(&[]) <= -0.5);
    }
}
