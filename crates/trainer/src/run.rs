//! One configured run: its trials trained and tested, each in a folder of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use clip_backbone::Checkpoint;
use clips::feature_cache::ShareOfWork;
use clips::{Backbone, Ended, Extraction, Extractor, FeatureSet, Interrupt, Recipe};
use data::{Dataset, Sampling, Views};
use models::{Clips, Learning, ModelConfig, VideoTextModel, WarmStart};
use random::{Purpose, StepStream};
use recogniser::Card;
use recogniser::checkpoint::{Loaded, Tensors, encode_tensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tch::Device;

use crate::config::{Checked, Config, ProtocolKind, Source};
use crate::engine::{self, Task};
use crate::evaluate::{ClipScore, Scored};
use crate::fit::{HOLD_OUT, split_unsplit};
use crate::live::{LiveClips, LiveRecipe, LiveScorer, LiveScores as Tested};
use indicatif::ProgressBar;

use crate::log::{StepRecord, progress_bar, read_steps};
use crate::metrics::{Accuracy, mean_average_precision};
use crate::runtime::{peak_memory, watch_memory};
use crate::source::{BatchSource, KeptClips};
use crate::start::{Start, expect_backbone, trained_of};
use crate::trial::{
    Test, Trial, numbers, shown_classes, split_name, split_of, training_classes, trials,
};
use crate::{Error, Result};

/// The commit this binary was built from.
pub const REVISION: &str = env!("TRAINER_REVISION");

/// Training clips of a split above which only the drawn ones are extracted.
const LARGE: usize = 20_000;
/// Training clips up to which a warm start is solved: beyond, steps are many and it decides little.
const FEW: usize = 2048;

/// What a run is, as its checkpoints hold it: all that predicting with it needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The part that recognises.
    pub card: Card,
    /// The resolved configuration.
    pub config: Config,
    /// The classes as their data set spells them, in the labels' order.
    pub classes: Vec<String>,
    /// Seed of the draw and of the training.
    pub seed: u64,
    /// SHA-256 over ids and classes of the training clips.
    pub data: String,
    /// SHA-256 over all of the above that decides the result.
    pub fingerprint: String,
    /// The commit that trained it.
    pub revision: String,
}

impl Record {
    /// Whether both describe the same training; the commit and where the backbone lay may
    /// differ.
    pub fn is_same_training(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// What one test of one trial gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// `test`, `base` or `novel`.
    pub test: String,
    /// The classes chosen from, as words.
    pub labels: Vec<String>,
    /// Accuracy over all clips; of those with several classes, on the first.
    pub accuracy: Accuracy,
    /// Mean average precision, 0 to 1, where clips show several classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// Every clip with its best classes.
    pub clips: Vec<ClipScore>,
}

/// The result of one trial: `result.json` in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrialResult {
    /// The run's name.
    pub name: String,
    /// Protocol, split, shots, views and name style in one line.
    pub protocol: String,
    /// Seed of the draw and of the training.
    pub seed: u64,
    /// Training clips.
    pub train_clips: usize,
    /// Hash of the checkpoint tested; none where nothing was trained.
    pub checkpoint: Option<String>,
    /// SHA-256 of the backbone's weights.
    pub backbone: String,
    /// The commit that computed it.
    pub revision: String,
    /// Seconds it took.
    pub seconds: f64,
    /// Clips that could not be decoded and were left out, with the reason.
    #[serde(default)]
    pub skipped: Vec<(String, String)>,
    /// What the training cost, where there was one and it ran in one go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<TrainingCost>,
    /// What the warm start chose, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<WarmStart>,
    /// Its tests.
    pub tests: Vec<Outcome>,
}

/// What a training cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingCost {
    /// Number of trainable parameters.
    pub trainable_parameters: u64,
    /// Steps.
    pub steps: u64,
    /// Mean seconds a step, decoding and checkpoints among them.
    pub seconds_per_step: f64,
    /// The most memory the process held during training, in bytes, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

/// A trial's scores, with what its training gave.
struct Trained {
    tested: Vec<Tested>,
    checkpoint: Option<String>,
    cost: Option<TrainingCost>,
    warm_start: Option<WarmStart>,
}

impl TrialResult {
    /// Names the clips that a training from videos had to leave out of its batches.
    fn leave_out_untrained(&mut self, steps: &[StepRecord]) {
        let ids = steps.iter().flat_map(|step| &step.skipped);
        for id in ids.collect::<BTreeSet<_>>() {
            if !self.skipped.iter().any(|(known, _)| known == id) {
                let reason = "cannot be decoded: left out in training";
                self.skipped.push((id.clone(), reason.into()));
            }
        }
    }
}

/// Everything a run needs, loaded.
pub struct Session {
    config: Checked,
    /// The frozen CLIP.
    pub backbone: Rc<Backbone>,
    /// The videos.
    pub dataset: Rc<Dataset>,
    /// Asked between steps and clips.
    pub interrupt: Interrupt,
    /// No progress on stderr.
    pub quiet: bool,
    /// What training starts from.
    start: Option<Start>,
}

impl Session {
    /// Lets training go on from a checkpoint's parameters, with whatever classes this session
    /// has: no parameter belongs to a class.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where it stands on another backbone or holds no parameters.
    pub fn start_from(&mut self, loaded: &Loaded<Record>) -> Result<()> {
        self.start = Some(Start::of_run(loaded, &self.backbone.identity)?);
        Ok(())
    }

    /// Loads backbone and data set, and sets libtorch's threads. What the configuration says is
    /// checked against the backbone's shape before a weight is read.
    ///
    /// # Errors
    /// [`Error::Value`] where the configuration names no backbone, one that its model cannot
    /// stand on or a start that is not there, and whatever loading meets.
    pub fn open(config: Checked, interrupt: Interrupt, quiet: bool) -> Result<Self> {
        let weights = config.backbone.weights.as_deref().ok_or(Error::Value {
            key: "backbone.weights".into(),
            expected: "a CLIP checkpoint, such as a folder with config.json".into(),
            got: "not set".into(),
        })?;
        let device = device(&config.device)?;
        let checkpoint = Checkpoint::open(weights)?;
        let start = start_of(&config, checkpoint.config())?;
        let backbone = Backbone::new(checkpoint, weights, config.backbone.precision, device)?;
        let dataset = config.data.read()?;
        let dataset = split_unsplit(dataset, config.data.unsplit, config.seed)?;
        Self::of(
            config,
            Rc::new(backbone),
            Rc::new(dataset),
            start,
            interrupt,
            quiet,
        )
    }

    /// A session of another configuration, which shares the backbone and the videos where it
    /// names the same.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with(&self, config: Checked) -> Result<Self> {
        let same = config.backbone == self.config.backbone
            && config.device == self.config.device
            && config.data.same_videos(&self.config.data)
            && config.seed == self.config.seed;
        if !same {
            return Self::open(config, self.interrupt.clone(), self.quiet);
        }
        let start = start_of(&config, self.backbone.config())?;
        let (backbone, dataset) = (self.backbone.clone(), self.dataset.clone());
        let interrupt = self.interrupt.clone();
        Self::of(config, backbone, dataset, start, interrupt, self.quiet)
    }

    fn of(
        config: Checked,
        backbone: Rc<Backbone>,
        dataset: Rc<Dataset>,
        start: Option<Start>,
        interrupt: Interrupt,
        quiet: bool,
    ) -> Result<Self> {
        tch::set_num_threads(i32::try_from(config.threads).unwrap_or(i32::MAX));
        if let Some(start) = &start {
            start.expect_backbone(&backbone.identity)?;
        }
        Ok(Self {
            config,
            backbone,
            dataset,
            interrupt,
            quiet,
            start,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Checked {
        &self.config
    }

    /// The recipe of test views.
    pub fn test_recipe(&self) -> Recipe {
        self.recipe_of(self.config.protocol.views)
    }

    fn recipe_of(&self, views: Views) -> Recipe {
        Recipe::Test {
            sampling: self.sampling(),
            geometry: self.backbone.preprocess.geometry,
            views,
            seed: 0,
        }
    }

    /// The recipes of training views: the centre, and the random ones where asked for.
    pub fn train_recipes(&self) -> Vec<Recipe> {
        let mut recipes = vec![self.recipe_of(Views::SINGLE)];
        let copies = self.config.data.train_views - 1;
        if copies > 0 {
            recipes.push(Recipe::Train {
                sampling: self.sampling(),
                geometry: self.backbone.preprocess.geometry,
                augment: self.config.data.augment.clone(),
                seed: 0,
                epoch: 0,
                copies,
            });
        }
        recipes
    }

    fn sampling(&self) -> Sampling {
        Sampling::Segments {
            frames: self.config.data.frames,
        }
    }

    /// Computes the features that are not kept yet of the clips at `positions` under `recipe`, or
    /// one process's share of them.
    ///
    /// # Errors
    /// As [`Extractor::extract`].
    pub fn extract(
        &self,
        positions: &[usize],
        recipe: &Recipe,
        share: ShareOfWork,
    ) -> Result<Ended<Extraction>> {
        let bar = match self.quiet {
            true => ProgressBar::hidden(),
            false => progress_bar(
                0,
                "features {bar:20} {pos}/{len} clips, {per_sec}, {eta} left",
            ),
        };
        let progress = |done: usize, of: usize| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        };
        let ended = self.extractor(&progress).extract(positions, recipe, share);
        bar.finish_and_clear();
        Ok(ended?)
    }

    fn extractor<'a>(&'a self, progress: &'a dyn Fn(usize, usize)) -> Extractor<'a> {
        Extractor {
            backbone: &self.backbone,
            manifest: &self.dataset.manifest,
            folder: &self.config.data.cache,
            storage: self.config.data.cache_precision,
            interrupt: &self.interrupt,
            progress,
        }
    }

    /// Trains and tests every trial below `folder`, going on where it stopped: finished
    /// trials are read, an unfinished one resumes.
    ///
    /// # Errors
    /// Whatever a trial meets; those before it have their results.
    pub fn run(&self, folder: &Path) -> Result<Ended<Vec<TrialResult>>> {
        let mut trials = trials(&self.config.protocol, &self.dataset)?;
        if self.dataset.manifest.split(HOLD_OUT).is_ok() {
            trials.iter_mut().for_each(Trial::test_something);
        }
        // Whatever backbone, tokenizer or start refuse is known before anything is written.
        self.first_model(
            &self.config.model.build(self.config.data.frames),
            self.config.seed,
        )?;
        disk::write(
            &folder.join("config.toml"),
            self.config.to_toml()?.as_bytes(),
        )?;
        let Some(features) = self.prepare(&trials)? else {
            return Ok(Ended::Stopped);
        };
        for trial in &mut trials {
            features.leave_out_undecodable(trial);
            if trial.tests.iter().all(|test| test.clips.is_empty()) {
                return Err(Error::mismatch("test clips", "at least 1 that decodes", 0));
            }
        }
        let mut results = Vec::with_capacity(trials.len());
        for trial in &trials {
            match self.trial(trial, &features, &folder.join(&trial.name))? {
                Some(result) => results.push(result),
                None => return Ok(Ended::Stopped),
            }
        }
        Ok(Ended::Done(results))
    }

    /// Tests a loaded checkpoint by this session's protocol, on this session's clips against
    /// this session's classes, whatever it was trained on. Results go below `folder`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where the checkpoint stands on another backbone or does not fit
    /// its own configuration.
    pub fn evaluate(
        &self,
        loaded: &Loaded<Record>,
        folder: &Path,
    ) -> Result<Ended<Vec<TrialResult>>> {
        self.evaluate_or_read(loaded, folder, |_| None)
    }

    /// As [`evaluate`](Self::evaluate); results of the same checkpoint, backbone and protocol
    /// that are below `folder` already are read.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_what_is_left(
        &self,
        loaded: &Loaded<Record>,
        folder: &Path,
    ) -> Result<Ended<Vec<TrialResult>>> {
        let protocol = self.protocol();
        self.evaluate_or_read(loaded, folder, |place| {
            let result: TrialResult = read_json(&place.join("result.json")).ok()?;
            let same = result.checkpoint.as_ref() == Some(&loaded.hash)
                && result.backbone == self.backbone.identity.sha256
                && result.protocol == protocol;
            same.then_some(result)
        })
    }

    fn evaluate_or_read(
        &self,
        loaded: &Loaded<Record>,
        folder: &Path,
        known: impl Fn(&Path) -> Option<TrialResult>,
    ) -> Result<Ended<Vec<TrialResult>>> {
        let record = &loaded.state;
        expect_backbone(loaded, &self.backbone.identity)?;
        let model = self.model(&record.card.model, record.seed)?;
        recogniser::load_parameters(model.as_ref(), trained_of(loaded)?)?;
        // A draw of training clips decides nothing here: one test for each draw of test clips.
        let mut protocol = self.config.protocol.clone();
        match protocol.name {
            ProtocolKind::ZeroShotHalves => {}
            ProtocolKind::BaseToNovel => protocol.seeds = vec![record.seed],
            _ => {
                protocol.name = ProtocolKind::ZeroShot;
                protocol.seeds = vec![record.seed];
            }
        }
        let mut trials = trials(&protocol, &self.dataset)?;
        for trial in &mut trials {
            trial.train.clear();
            if trial.tests.iter().all(|test| test.clips.is_empty()) {
                return Err(Error::mismatch("test clips", "at least 1", 0));
            }
        }
        let all: Vec<_> = trials
            .iter()
            .map(|trial| known(&folder.join(&trial.name)))
            .collect();
        if let Some(results) = all.into_iter().collect() {
            return Ok(Ended::Done(results));
        }
        let Some(features) = self.prepare(&trials)? else {
            return Ok(Ended::Stopped);
        };
        let mut results = Vec::with_capacity(trials.len());
        for trial in &mut trials {
            let place = folder.join(&trial.name);
            if let Some(result) = known(&place) {
                results.push(result);
                continue;
            }
            features.leave_out_undecodable(trial);
            let started = Instant::now();
            let Some(scored) = self.score_all(model.as_ref(), trial, &features)? else {
                return Ok(Ended::Stopped);
            };
            let hash = Some(loaded.hash.clone());
            let result = self.result(trial, &scored, hash, &features, &place, started)?;
            write_json(&place.join("result.json"), &result)?;
            results.push(result);
        }
        Ok(Ended::Done(results))
    }

    /// Extracts the features the trials need, where they stand on features; `None` where it was
    /// stopped.
    fn prepare(&self, trials: &[Trial]) -> Result<Option<Prepared>> {
        if self.config.data.source == Source::Video {
            return Ok(Some(Prepared::Live));
        }
        let (train, test) = self.parts(trials)?;
        let mut sets = Vec::new();
        if !train.is_empty() {
            for recipe in self.train_recipes() {
                match self.features(&train, &recipe)? {
                    Some(set) => sets.push(set),
                    None => return Ok(None),
                }
            }
        }
        let Some(test) = self.features(&test, &self.test_recipe())? else {
            return Ok(None);
        };
        Ok(Some(Prepared::Kept {
            train: sets,
            test: Box::new(test),
        }))
    }

    /// The clips whose features the trials need. All clips of the split are taken, so that
    /// other draws find theirs too; of a very large split only those that were drawn.
    pub fn parts(&self, trials: &[Trial]) -> Result<(Vec<usize>, Vec<usize>)> {
        let drawn: Vec<usize> = trials
            .iter()
            .flat_map(|trial| trial.train.clone())
            .collect();
        let tests = trials.iter().flat_map(|trial| &trial.tests);
        let tested: Vec<usize> = tests.flat_map(|test| test.clips.clone()).collect();
        let split = split_of(&self.config.protocol, &self.dataset)?;
        let train = match drawn.is_empty() || split.train.len() > LARGE {
            true => drawn,
            false => split.train,
        };
        Ok((train, tested))
    }

    fn features(&self, clips: &[usize], recipe: &Recipe) -> Result<Option<FeatureSet>> {
        match self.extract(clips, recipe, ShareOfWork::ALL)? {
            Ended::Done(_) => Ok(Some(self.extractor(&|_, _| {}).open(clips, recipe)?)),
            Ended::Stopped => Ok(None),
        }
    }

    /// Trains and tests one trial; `None` where it was stopped.
    fn trial(
        &self,
        trial: &Trial,
        features: &Prepared,
        folder: &Path,
    ) -> Result<Option<TrialResult>> {
        let result_path = folder.join("result.json");
        let protocol = self.protocol();
        if result_path.is_file() {
            let result: TrialResult = read_json(&result_path)?;
            if result.name == self.config.name
                && result.protocol == protocol
                && result.backbone == self.backbone.identity.sha256
            {
                return Ok(Some(result));
            }
            return Err(Error::mismatch(
                format!("result in {}", folder.display()),
                format!("{}: {protocol}", self.config.name),
                format!("{}: {}", result.name, result.protocol),
            ));
        }
        let started = Instant::now();
        let model = self.config.model.build(self.config.data.frames);
        let Some(trained) = self.train_and_test(trial, &model, features, folder)? else {
            return Ok(None);
        };
        let (tested, checkpoint) = (&trained.tested, trained.checkpoint);
        let mut result = self.result(trial, tested, checkpoint, features, folder, started)?;
        result.cost = trained.cost;
        result.warm_start = trained.warm_start;
        result.leave_out_untrained(&read_steps(&folder.join("log.jsonl"))?);
        write_json(&result_path, &result)?;
        Ok(Some(result))
    }

    /// The result of scored tests, their raw scores written below `folder`.
    fn result(
        &self,
        trial: &Trial,
        scored: &[Tested],
        checkpoint: Option<String>,
        features: &Prepared,
        folder: &Path,
        started: Instant,
    ) -> Result<TrialResult> {
        let mut tests = Vec::with_capacity(scored.len());
        let mut skipped = features.skipped();
        for (test, tested) in trial.tests.iter().zip(scored) {
            let scored = &tested.scored;
            save_scores(
                &folder.join(format!("scores-{}.safetensors", test.name)),
                scored,
            )?;
            skipped.extend(tested.skipped.clone());
            tests.push(Outcome {
                test: test.name.clone(),
                labels: self.labels(&test.classes),
                accuracy: scored.accuracy()?,
                mean_average_precision: self.mean_average_precision(test, tested)?,
                clips: scored.clips(tested.clips.iter().map(|clip| self.dataset.id(*clip))),
            });
        }
        Ok(TrialResult {
            name: self.config.name.clone(),
            protocol: self.protocol(),
            seed: trial.seed,
            train_clips: trial.train.len(),
            checkpoint,
            backbone: self.backbone.identity.sha256.clone(),
            revision: REVISION.into(),
            seconds: started.elapsed().as_secs_f64(),
            skipped: skipped
                .into_iter()
                .map(|(clip, reason)| (self.dataset.id(clip).to_owned(), reason))
                .collect(),
            cost: None,
            warm_start: None,
            tests,
        })
    }

    fn mean_average_precision(&self, test: &Test, tested: &Tested) -> Result<Option<f64>> {
        if !self.dataset.is_multi_label() {
            return Ok(None);
        }
        let shown = |clip: &usize| numbers(&test.classes, self.dataset.classes(*clip));
        let shown: Vec<Vec<i64>> = tested.clips.iter().map(shown).collect();
        let scored = &tested.scored;
        mean_average_precision(&scored.probabilities, &shown, scored.classes)
    }

    /// Every number is printed with this: protocol, split, shots, views, name style.
    pub fn protocol(&self) -> String {
        let p = &self.config.protocol;
        let kind = serde_json::to_value(p.name).unwrap_or_default();
        let names = serde_json::to_value(self.config.data.class_names).unwrap_or_default();
        let shots = match p.name {
            ProtocolKind::FewShot | ProtocolKind::BaseToNovel => format!(", {} shots", p.shots),
            _ => String::new(),
        };
        let draws = match p.draws.as_deref().and_then(std::path::Path::file_name) {
            Some(list) => format!(" of {}", list.display()),
            None => String::new(),
        };
        let balance = if p.balance { ", balanced" } else { "" };
        let shuffled = if p.shuffle_labels {
            ", SHUFFLED LABELS"
        } else {
            ""
        };
        format!(
            "{} {}, split {}{shots}{draws}{balance}{shuffled}, views {}, names {}",
            self.dataset.manifest.dataset(),
            kind.as_str().unwrap_or_default(),
            split_name(&self.dataset.manifest, p.split),
            p.views,
            names.as_str().unwrap_or_default()
        )
    }

    fn labels(&self, classes: &[usize]) -> Vec<String> {
        let label = |class: &usize| self.dataset.labels.get(*class).cloned();
        classes.iter().filter_map(label).collect()
    }

    /// Trains a trial and scores its tests; `None` where stopped.
    fn train_and_test(
        &self,
        trial: &Trial,
        config: &ModelConfig,
        features: &Prepared,
        folder: &Path,
    ) -> Result<Option<Trained>> {
        let model = self.first_model(config, trial.seed)?;
        let (mut checkpoint, mut cost, mut warm_start) = (None, None, None);
        let learning = match trial.train.is_empty() {
            true => Learning::Frozen,
            false => model.learning(),
        };
        let labels = self.labels(&trial.classes);
        let classes = training_classes(trial, &self.dataset, self.config.protocol.shuffle_labels);
        if learning == Learning::Solved {
            let centre = features.centre(&trial.train)?; // (N, T, D)
            model.solve(&labels, &Clips::Features(centre), &classes)?;
        }
        if learning == Learning::Steps {
            let record = self.record(trial, config, labels.clone(), &classes)?;
            warm_start = self.warm_start(trial, model.as_ref(), &labels, &classes, features)?;
            let mut clips = self.training_clips(trial, classes, features)?;
            let before = read_steps(&folder.join("log.jsonl"))?.len();
            watch_memory();
            let started = Instant::now();
            let ended = engine::train(
                &mut Task {
                    model: model.as_ref(),
                    labels: &labels,
                    clips: clips.as_mut(),
                    train: &self.config.train,
                    seed: trial.seed,
                    folder,
                    interrupt: &self.interrupt,
                    quiet: self.quiet,
                },
                &record,
                Record::is_same_training,
            )?;
            if ended == Ended::Stopped {
                return Ok(None);
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
        let tested = self.score_all(model.as_ref(), trial, features)?;
        Ok(tested.map(|tested| Trained {
            tested,
            checkpoint,
            cost,
            warm_start,
        }))
    }

    /// Lets `model` start from what can be solved over the training clips, where the
    /// configuration asks for it and the clips are few: kept features of one class each.
    ///
    /// A resumed training overwrites it with its checkpoint.
    fn warm_start(
        &self,
        trial: &Trial,
        model: &dyn VideoTextModel,
        labels: &[String],
        classes: &[i64],
        features: &Prepared,
    ) -> Result<Option<WarmStart>> {
        let asked = self.config.train.warm_start && self.start.is_none();
        let kept = matches!(features, Prepared::Kept { .. });
        if !asked || !kept || self.dataset.is_multi_label() || trial.train.len() > FEW {
            return Ok(None);
        }
        // A clip that is repeated for balance would be held out from itself.
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

    /// What a trial's training draws its batches from.
    fn training_clips<'a>(
        &self,
        trial: &Trial,
        classes: Vec<i64>,
        features: &'a Prepared,
    ) -> Result<Box<dyn BatchSource + 'a>> {
        let shown = shown_classes(trial, &self.dataset, self.config.protocol.shuffle_labels)?;
        let Prepared::Kept { train, .. } = features else {
            let clips = LiveClips::new(
                Arc::new(self.dataset.manifest.clone()),
                trial.train.clone(),
                classes,
                LiveRecipe {
                    sampling: self.sampling(),
                    augment: self.config.data.augment.clone(),
                    preprocess: self.backbone.preprocess.clone(),
                    device: self.backbone.device(),
                },
            )?;
            return Ok(Box::new(clips.showing(shown)));
        };
        let clips = KeptClips::new(train, trial.train.clone(), classes)?;
        Ok(Box::new(clips.showing(shown)))
    }

    /// The model of a trial as its training begins: with its first values, or those that the
    /// configuration starts from.
    fn first_model(&self, config: &ModelConfig, seed: u64) -> Result<Box<dyn VideoTextModel>> {
        let model = self.model(config, seed)?;
        if let Some(start) = &self.start {
            start.put_into(model.as_ref(), config, self.config.train.start_head)?;
        }
        Ok(model)
    }

    /// The model of a trial with its first values, which depend on the seed and on the kind of
    /// device alone.
    pub fn model(&self, config: &ModelConfig, seed: u64) -> Result<Box<dyn VideoTextModel>> {
        let draws = StepStream::new(seed, Purpose::Initialise, 0, 0).next_u64();
        tch::manual_seed((draws >> 1) as i64);
        let clip = self.backbone.clip(config.usage())?;
        let built = models::build(config, clip, self.backbone.words.clone());
        self.config.model.located(built)
    }

    /// Scores the clips of every test with `model`; `None` where it was stopped.
    fn score_all(
        &self,
        model: &dyn VideoTextModel,
        trial: &Trial,
        features: &Prepared,
    ) -> Result<Option<Vec<Tested>>> {
        let tests = trial.tests.iter();
        tests
            .map(|test| self.score(model, test, features))
            .collect()
    }

    fn score(
        &self,
        model: &dyn VideoTextModel,
        test: &Test,
        features: &Prepared,
    ) -> Result<Option<Tested>> {
        let labels = self.labels(&test.classes);
        let classifier = model.bind(&labels)?;
        let truth = self.truth(test);
        let Prepared::Kept { test: kept, .. } = features else {
            let scorer = LiveScorer {
                manifest: &Arc::new(self.dataset.manifest.clone()),
                recipe: &self.test_recipe(),
                preprocess: &self.backbone.preprocess,
                device: self.backbone.device(),
                interrupt: &self.interrupt,
                quiet: self.quiet,
            };
            return Ok(
                match scorer.score(classifier.as_ref(), &test.clips, &truth)? {
                    Ended::Done(tested) => Some(tested),
                    Ended::Stopped => None,
                },
            );
        };
        Ok(Some(Tested {
            scored: Scored::new(classifier.as_ref(), kept, &test.clips, truth)?,
            clips: test.clips.clone(),
            skipped: BTreeMap::new(),
        }))
    }

    fn truth(&self, test: &Test) -> Vec<usize> {
        let number = |clip: &usize| {
            let class = self.dataset.class(*clip);
            let place = test.classes.iter().position(|other| *other == class);
            place.unwrap_or(0)
        };
        test.clips.iter().map(number).collect()
    }

    fn record(
        &self,
        trial: &Trial,
        model: &ModelConfig,
        labels: Vec<String>,
        classes: &[i64],
    ) -> Result<Record> {
        let mut hash = Sha256::new();
        for (position, class) in trial.train.iter().zip(classes) {
            hash.update(format!("{}\t{class}\n", self.dataset.id(*position)));
            if self.dataset.is_multi_label() {
                hash.update(format!("{:?}\n", self.dataset.classes(*position)));
            }
        }
        let names = self.dataset.manifest.classes();
        let name = |class: &usize| names.get(*class).map(|name| name.raw().to_owned());
        let data = disk::hex(hash.finalize());
        // Written as text, so that reading a checkpoint back can round nothing.
        let decides = (
            Config::clone(&self.config),
            model,
            &labels,
            &self.backbone.identity.sha256,
            trial.seed,
            &data,
            self.start.as_ref().map(|start| &start.hash),
        );
        let text = serde_json::to_string(&decides).map_err(|error| Error::Syntax {
            origin: "run".into(),
            reason: error.to_string(),
        })?;
        Ok(Record {
            card: Card {
                model: model.clone(),
                labels,
                frames: self.config.data.frames,
                backbone: self.backbone.identity.clone(),
            },
            config: Config::clone(&self.config),
            classes: trial.classes.iter().filter_map(name).collect(),
            seed: trial.seed,
            data,
            fingerprint: disk::sha256(text),
            revision: REVISION.into(),
        })
    }
}

/// What the configuration starts from, after a check of its model on a backbone of the shape
/// `clip`.
fn start_of(config: &Checked, clip: &clip_backbone::Config) -> Result<Option<Start>> {
    config.model_on(clip)?;
    let start = config.train.start_from.as_deref();
    start.map(|place| Start::read(place, clip)).transpose()
}

/// Where a run's clips come from.
enum Prepared {
    /// From kept features.
    Kept {
        /// One set for each recipe of training views; the first is the centre view.
        train: Vec<FeatureSet>,
        test: Box<FeatureSet>,
    },
    /// From their videos.
    Live,
}

impl Prepared {
    /// The centre view of training clips: `[N, T, D]`.
    fn centre(&self, clips: &[usize]) -> Result<tch::Tensor> {
        let Self::Kept { train, .. } = self else {
            return Err(no_features());
        };
        let centre = train.first();
        let rows = centre.map(|set| clips.iter().map(move |clip| (set, *clip, 0)).collect());
        Ok(FeatureSet::gather(&rows.unwrap_or_else(Vec::new))?)
    }

    /// Drops the clips that could not be decoded. They are named in the results.
    fn leave_out_undecodable(&self, trial: &mut Trial) {
        let Self::Kept {
            train,
            test: tested,
        } = self
        else {
            return;
        };
        trial
            .train
            .retain(|clip| train.iter().all(|set| set.has(*clip)));
        for test in &mut trial.tests {
            test.clips.retain(|clip| tested.has(*clip));
        }
    }

    fn skipped(&self) -> BTreeMap<usize, String> {
        let Self::Kept { train, test } = self else {
            return BTreeMap::new();
        };
        let mut all = test.skipped();
        for set in train {
            all.extend(set.skipped());
        }
        all
    }
}

fn no_features() -> Error {
    Error::mismatch("data.source", "features", "video")
}

/// `cpu` or `cuda:N`; a device that is not there is an error, never another one.
///
/// # Errors
/// [`Error::Value`].
pub fn device(name: &str) -> Result<Device> {
    let Some(index) = name.strip_prefix("cuda:") else {
        return Ok(Device::Cpu);
    };
    let count = tch::Cuda::device_count();
    match index.parse::<usize>() {
        Ok(index) if (index as i64) < count => Ok(Device::Cuda(index)),
        _ => Err(Error::Value {
            key: "device".into(),
            expected: format!(
                "cpu, or one of the {count} GPUs that libtorch sees; `cargo xtask doctor` says why \
                 not more, `cargo xtask setup --cuda` fetches a libtorch with CUDA"
            ),
            got: name.into(),
        }),
    }
}

/// Raw scores: `probabilities` `[N, K]` and `labels` `[N]`.
fn save_scores(path: &Path, scored: &Scored) -> Result<()> {
    let labels: Vec<i64> = scored.labels.iter().map(|label| *label as i64).collect();
    let probabilities = tch::Tensor::from_slice(&scored.probabilities);
    let tensors = Tensors::from([
        (
            "probabilities".to_owned(),
            probabilities.f_view([labels.len() as i64, scored.classes as i64])?,
        ),
        ("labels".to_owned(), tch::Tensor::from_slice(&labels)),
    ]);
    Ok(disk::write(path, &encode_tensors(&tensors)?)?)
}

/// Reads a JSON file.
///
/// # Errors
/// [`Error::File`] and [`Error::Syntax`], naming the file.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(Error::file("cannot read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Syntax {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// Writes a JSON file, whole or not at all.
///
/// # Errors
/// [`Error::File`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Error::Syntax {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })?;
    text.push(b'\n');
    Ok(disk::write(path, &text)?)
}
