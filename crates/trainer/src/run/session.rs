//! The inputs of a run.

use std::cell::RefCell;
use std::rc::Rc;

use clip_backbone::{Checkpoint, FrameTokens};
use clips::{
    Backbone, Ended, Extraction, Extractor, FeatureSet, Interrupt, Recipe, Work, file_identities,
};
use clips::{Chosen, Precision, PrecisionChoice, feature_cache::ShareOfWork};
use data::{Sampling, Views, counted, named};
use dist::{Group, Solo};
use indicatif::ProgressBar;
use models::{ModelConfig, VideoTextModel};
use random::{Purpose, StepStream};
use recogniser::checkpoint::Loaded;
use tch::Tensor;

use super::Record;
use crate::config::{Checked, ProtocolKind, System, Unsplit};
use crate::fit::{self, split_unsplit};
use crate::log::progress_bar;
use crate::ranks;
use crate::runtime::device;
use crate::start::Start;
use crate::threads::{threads, use_threads};
use crate::trial::split_name;
use crate::{Error, Result};
use data::Dataset;

/// The inputs of a run, loaded: configuration, backbone, videos, and initial parameters.
pub struct Session {
    pub(super) config: Checked,
    /// The frozen CLIP.
    pub backbone: Rc<Backbone>,
    /// The videos.
    pub dataset: Rc<Dataset>,
    /// Checked between steps and clips.
    pub interrupt: Interrupt,
    /// Hides the progress on stderr.
    pub quiet: bool,
    /// The processes that train and test together. Rank 0 alone writes into the run's folder.
    pub group: Rc<dyn Group>,
    /// The identity of each clip's file.
    pub(super) files: Rc<[String]>,
    /// The initial parameters of the training.
    pub(super) start: Option<Start>,
    /// The choices made for the configuration.
    choices: Vec<String>,
    /// Remarks on the text side: labels that are cut.
    label_notes: Vec<String>,
}

impl Session {
    /// Continues training from a checkpoint's parameters, with the classes of this session,
    /// whatever they are: no parameter belongs to a class.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if its backbone is another or it holds no parameters.
    pub fn start_from(&mut self, loaded: &Loaded<Record>) -> Result<()> {
        self.start = Some(Start::of_run(loaded, &self.backbone.identity)?);
        Ok(())
    }

    /// Loads backbone and data set, and sets libtorch's threads. The configuration is
    /// checked against the backbone's shape before a weight is read.
    ///
    /// # Errors
    /// [`Error::Value`] if the configuration names no backbone, one that does not fit its
    /// model or a start that does not exist, and any error of loading.
    pub fn open(config: Checked, interrupt: Interrupt, quiet: bool) -> Result<Self> {
        let weights = config.backbone.weights.as_deref().ok_or(Error::Value {
            key: "backbone.weights".into(),
            expected: "a CLIP checkpoint, such as a folder with config.json".into(),
            got: String::new(),
        })?;
        let device = device(&config.device)?;
        let architecture = config.backbone.architecture.as_deref();
        let checkpoint = Checkpoint::open_as(weights, architecture)?;
        let start = start_of(&config, checkpoint.config())?;
        use_threads(threads(config.threads))?;
        let chosen = match (config.backbone.precision, config.model.system) {
            (PrecisionChoice::Fixed(_), _) => None,
            (PrecisionChoice::Auto, System::SeeingInFlowing) => {
                Some(Chosen::of(&checkpoint, device)?)
            }
            (PrecisionChoice::Auto, System::ActionClip) => Some(Chosen {
                precision: Precision::Fp32,
                reason: "computing in fp32: CLIP itself is trained".into(),
            }),
        };
        let notes = chosen.iter().map(|chosen| chosen.reason.clone()).collect();
        let fixed = config.backbone.precision.fixed();
        let precision = chosen.map_or(fixed, |chosen| Some(chosen.precision));
        let precision = precision.unwrap_or(Precision::Fp32);
        let backbone = Backbone::new(checkpoint, weights, precision, device)?;
        let config = config.in_precision(precision);
        let dataset = config.data.read()?;
        let dataset = split_unsplit(dataset, &config)?;
        let files = file_identities(&dataset.manifest).into();
        let mut session = Self::of(
            config,
            Rc::new(backbone),
            files,
            Rc::new(dataset),
            start,
            interrupt,
            quiet,
        )?;
        session.choices = notes;
        Ok(session)
    }

    /// A session with another configuration, which shares the backbone and the videos if it
    /// names the same.
    ///
    /// # Errors
    /// Same as [`open`](Self::open).
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
        let files = self.files.clone();
        let session = Self::of(
            config, backbone, files, dataset, start, interrupt, self.quiet,
        )?;
        Ok(session.in_group(self.group.clone()))
    }

    /// The same, trained and tested by all processes of `group`.
    #[must_use]
    pub fn in_group(self, group: Rc<dyn Group>) -> Self {
        Self { group, ..self }
    }

    fn of(
        config: Checked,
        backbone: Rc<Backbone>,
        files: Rc<[String]>,
        dataset: Rc<Dataset>,
        start: Option<Start>,
        interrupt: Interrupt,
        quiet: bool,
    ) -> Result<Self> {
        use_threads(threads(config.threads))?;
        if let Some(start) = &start {
            start.expect_backbone(&backbone.identity)?;
        }
        let model = config.model.build(config.data.frames);
        let context = backbone.config().text.context;
        let label_notes = model.check_text(&*backbone.words, context, &dataset.labels);
        Ok(Self {
            choices: Vec::new(),
            label_notes: config.model.located(label_notes)?,
            config,
            backbone,
            dataset,
            interrupt,
            quiet,
            group: Rc::new(Solo),
            files,
            start,
        })
    }

    /// What a user should know before it runs, each a sentence: choices made for the configuration
    /// and in opening backbone and data set, labels that are cut.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        let backbone = self.choices.iter().chain(self.backbone.notes());
        backbone.chain(&self.dataset.notes).chain(&self.label_notes)
    }

    /// The configuration.
    pub fn config(&self) -> &Checked {
        &self.config
    }

    /// The class of the data set that holds examples of strangers, if it is used so.
    pub fn strangers(&self) -> Option<usize> {
        match self.config.data.unsplit {
            Unsplit::CrossValidate => fit::strangers(&self.dataset),
            _ => None,
        }
    }

    /// Of kept features, `[…, F]`, those of each frame that `tokens` names.
    pub(super) fn read_by(&self, features: &Tensor, tokens: FrameTokens) -> Result<Tensor> {
        let width = tokens.count() * self.backbone.identity.joint_width;
        Ok(features.f_narrow(-1, 0, width)?)
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

    /// The recipes of training views: the centre, and the random ones if configured.
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

    pub(super) fn sampling(&self) -> Sampling {
        Sampling::Segments {
            frames: self.config.data.frames,
        }
    }

    /// Computes the missing features of the clips at `positions` under `recipe`, or one process's
    /// part of them.
    ///
    /// # Errors
    /// Same as [`Extractor::extract`].
    pub fn extract(
        &self,
        positions: &[usize],
        recipe: &Recipe,
        work: Work<'_>,
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
        let ended = self.extractor(&progress).extract(positions, recipe, work);
        bar.finish_and_clear();
        let ended = ended?;
        if let Ended::Done(Extraction { short, .. }) = &ended
            && !short.is_empty()
        {
            let ids: Vec<&str> = short.keys().map(|clip| self.dataset.id(*clip)).collect();
            eprintln!(
                "note: {} shorter than the {} frames sampled; frames repeat: {}",
                counted(ids.len(), "clip"),
                self.config.data.frames,
                named(&ids)
            );
        }
        Ok(ended)
    }

    fn extractor<'a>(&'a self, progress: &'a dyn Fn(usize, usize)) -> Extractor<'a> {
        Extractor {
            tokens: self.config.data.tokens,
            backbone: &self.backbone,
            manifest: &self.dataset.manifest,
            files: &self.files,
            folder: &self.config.data.cache,
            at_once: clips::clips_at_once(self.backbone.device(), self.config.data.frames),
            storage: self.config.data.cache_precision,
            limits: (&self.config.data.limits).into(),
            interrupt: &self.interrupt,
            progress,
        }
    }

    /// Stored features, computed first if missing: of several processes, each computes the shards that
    /// it claims.
    pub(super) fn features(&self, clips: &[usize], recipe: &Recipe) -> Result<Ended<FeatureSet>> {
        let group = self.group.as_ref();
        let failed = RefCell::new(None);
        let claim = |features: &str, shard: usize| {
            let claimed = group.claim(&format!("{features}/{shard}"));
            claimed.map_err(|error| {
                let message = error.to_string();
                failed.replace(Some(error));
                message
            })
        };
        let work = match group.size() {
            1 => Work::Share(ShareOfWork::ALL),
            _ => Work::Claimed(&claim),
        };
        let ended = self.extract(clips, recipe, work);
        if let Some(failed) = failed.take() {
            return Err(failed.into());
        }
        let stopped = matches!(ended?, Ended::Stopped);
        // The others may compute for long.
        group.meet()?;
        if ranks::gather(group, &stopped)?.contains(&true) {
            return Ok(Ended::Stopped);
        }
        let set = self.extractor(&|_, _| {}).open(clips, recipe)?;
        Ok(Ended::Done(set))
    }

    /// The model of a trial at the start of its training: with its initial values, or those that
    /// the configuration starts from.
    pub(super) fn first_model(
        &self,
        config: &ModelConfig,
        seed: u64,
    ) -> Result<Box<dyn VideoTextModel>> {
        let model = self.model(config, seed)?;
        if let Some(start) = &self.start {
            start.put_into(model.as_ref(), config, self.config.train.start_head)?;
        }
        Ok(model)
    }

    /// The model of a trial with its initial values, which depend only on the seed and the kind of
    /// device.
    pub fn model(&self, config: &ModelConfig, seed: u64) -> Result<Box<dyn VideoTextModel>> {
        let draws = StepStream::new(seed, Purpose::Initialise, 0, 0).next_u64();
        tch::manual_seed((draws >> 1) as i64);
        let clip = self.backbone.clip(config.usage())?;
        let built = models::build(config, clip, self.backbone.words.clone());
        self.config.model.located(built)
    }

    /// The classes' names as prompts have them.
    pub(super) fn labels(&self, classes: &[usize]) -> Vec<String> {
        let label = |class: &usize| self.dataset.labels.get(*class).cloned();
        classes.iter().filter_map(label).collect()
    }

    /// The classes' names as the data set writes them, for people.
    pub(super) fn names(&self, classes: &[usize]) -> Vec<String> {
        let names = self.dataset.manifest.classes();
        let name = |class: &usize| Some(names.get(*class)?.raw().to_owned());
        classes.iter().filter_map(name).collect()
    }

    /// Printed with every number: protocol, split, shots, views, name style.
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
}

/// The initial parameters of the configuration, after checking its model on a backbone of the
/// shape `clip`.
fn start_of(config: &Checked, clip: &clip_backbone::Config) -> Result<Option<Start>> {
    config.model_on(clip)?;
    let start = config.train.start_from.as_deref();
    start.map(|place| Start::read(place, clip)).transpose()
}
