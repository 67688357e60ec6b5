//! The sections of a configuration, each with its defaults and ranges.
//!
//! A missing key has its default, so that a checkpoint of an earlier version loads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{VideoLimits, at_least, value, within};
use crate::{Error, Result};
use clip_backbone::FrameTokens;
use clips::PrecisionChoice;
use clips::feature_cache::Storage;
use data::formats::{self, Columns, Format};
use data::{Dataset, DatasetOptions, NameStyle, Views};
use models::action_clip::ActionClipConfig;
use models::{ModelConfig, Parts, Preset, Row, SifConfig};
use optim::{MethodName, WarmUp};
use pixels::{Augment, ColourJitter};

/// The systems that can be trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Motion prompts on a frozen CLIP.
    #[default]
    SeeingInFlowing,
    /// All of CLIP, fine-tuned, with a temporal head.
    ActionClip,
}

/// The source of training and test clips.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Features of the frozen image tower, computed once and cached.
    #[default]
    Features,
    /// The videos, decoded and augmented anew in every epoch.
    Video,
}

/// The use of the temporal head that a run starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartHead {
    /// Training continues from it; the model must have the same head.
    #[default]
    Keep,
    /// The run has a new head.
    Drop,
}

/// The use of videos without a split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsplit {
    /// An error if a split is needed.
    #[default]
    Refuse,
    /// Cross-validation over recordings, then training on all of them, as in `trainer fit`.
    CrossValidate,
    /// One recording in five is held out of each class, as in `trainer fit --hold-out`.
    HoldOut,
    /// All of them are tested.
    Test,
}

/// The evaluation protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolKind {
    /// The whole training list.
    ClosedSet,
    /// A few clips per class.
    FewShot,
    /// Nothing is trained; tested on all classes of the split.
    ZeroShot,
    /// Nothing is trained; each seed draws half of the classes.
    ZeroShotHalves,
    /// 16 shots of half the classes, tested on each half.
    BaseToNovel,
}

/// The videos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// The registered data set or layout, by name.
    pub layout: &'static Format,
    /// The folder of videos, or a prepared folder.
    pub root: Option<PathBuf>,
    /// The folder of official lists; for `csv` the list itself.
    pub lists: Option<PathBuf>,
    /// A list of one's own training videos, instead of `lists`.
    pub train_list: Option<PathBuf>,
    /// A list of one's own test videos, instead of `lists`.
    pub test_list: Option<PathBuf>,
    /// A table of class names for the numbers of one's own lists.
    pub class_table: Option<PathBuf>,
    /// The columns of one's own table: `video=NAME,label=NAME`, also `group` and `split`.
    pub columns: Option<Columns>,
    /// A list of videos that cannot be decoded, as `check-videos` writes it.
    pub skip_list: Option<PathBuf>,
    /// What a video may cost.
    pub limits: VideoLimits,
    /// Skip and count missing clips of the lists instead of failing.
    pub allow_missing: bool,
    /// The use of videos without a split: `refuse`, `cross-validate`, `hold-out`, or `test` all.
    pub unsplit: Unsplit,
    /// Whether symbolic links may lead out of the root.
    pub follow_links: bool,
    /// Class names as `words` ("apply eye makeup"), or `raw`, as the data set writes them.
    pub class_names: NameStyle,
    /// The folder of cached features.
    pub cache: PathBuf,
    /// The format of cached features: `f16`, or `f32`, as computed.
    pub cache_precision: Storage,
    /// T, frames per video.
    pub frames: usize,
    /// The features that are kept of each frame: `class`, that of the class token, and with it those of
    /// the patches that move (`moving`), of all patches (`patches`), of each quarter (`regions`), of
    /// earlier class tokens (`layers`), or the patches' covariance (`second_order`).
    pub tokens: FrameTokens,
    /// Cached features, or the videos themselves.
    pub source: Source,
    /// Cached training views per video: the first is the test view, the others have random
    /// frames and `augment`. A solved start has all of them as rows.
    pub train_views: usize,
    /// The augmentation of training views.
    pub augment: Augment,
}

/// The frozen CLIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backbone {
    /// The checkpoint: a folder or a file of a known layout.
    pub weights: Option<PathBuf>,
    /// The architecture of weights without a configuration: a preset's name, such as `ViT-B-16`, or
    /// the path of a configuration file.
    pub architecture: Option<String>,
    /// The precision of both towers: fp32, bf16, fp16, or the fastest one whose features are close to
    /// those in fp32 (auto). A run records the one taken.
    pub precision: PrecisionChoice,
}

/// The evaluation protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocol {
    /// The protocol.
    pub name: ProtocolKind,
    /// The official split, 1 to 3.
    pub split: usize,
    /// Training clips per class; few-shot and base-to-novel.
    pub shots: usize,
    /// Seeds of the draws; the result is a mean over them.
    pub seeds: Vec<u64>,
    /// A published list of training clips instead of a draw, or a folder of such lists under
    /// their published names: `train1_few_shot_16.txt` for few-shot, where seeds then affect
    /// training only; `fs_base_s1_train.txt`, `base_val.txt` and `novel_val.txt` for
    /// base-to-novel, where seed n uses list n.
    pub draws: Option<PathBuf>,
    /// Views of a test video.
    pub views: Views,
    /// Repeat clips of small classes, so that all classes are seen equally often.
    pub balance: bool,
    /// Shuffle the training labels: a sanity check that must end at chance.
    pub shuffle_labels: bool,
    /// With `data.unsplit = "cross-validate"`: the share of clips of the classes that may be said to
    /// show none of them.
    pub wrongly_refused: f64,
}

/// The model on the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The system, which also determines the defaults of `data` and `train`.
    #[serde(default)]
    pub system: System,
    /// The preset with the defaults of Seeing in Flowing.
    pub preset: Preset,
    /// The row of the paper's tables: the blocks of Seeing in Flowing in use, or a head that is
    /// compared with it.
    pub row: Row,
    /// Every option of the blocks; those of blocks outside the row are ignored.
    #[serde(with = "without_frames")]
    pub sif: SifConfig,
    /// Every option of ActionCLIP.
    #[serde(default = "ActionClipConfig::published", with = "without_frames")]
    pub action_clip: ActionClipConfig,
}

/// The training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// The optimiser.
    pub optimizer: MethodName,
    /// The learning rate after warm-up.
    pub learning_rate: f64,
    /// SGD's momentum, AdamW's first beta.
    pub momentum: f64,
    /// AdamW's second beta.
    pub beta2: f64,
    /// Weight decay; not applied to norms, biases and positions.
    pub weight_decay: f64,
    /// B, clips per step. The last batch of an epoch is the rest.
    pub batch_size: usize,
    /// Lanes of a batch, a power of two: parts with gradients of their own, computed on a thread each.
    /// A result depends on their number, not on that of the threads.
    pub lanes: usize,
    /// Micro-batches per lane, to save memory; the step is the same.
    pub micro_batches: usize,
    /// Epochs.
    pub epochs: u64,
    /// Epochs are added up to this many steps.
    pub min_steps: u64,
    /// The kind of warm-up.
    pub warm_up: WarmUp,
    /// Epochs of warm-up.
    pub warm_up_epochs: u64,
    /// The learning rate of a constant warm-up.
    pub warm_up_learning_rate: f64,
    /// μ of the penalty μ / 2 |θ − θ₀|² on the distance of the trained parameters from their start, such as
    /// a solved one; 0: off.
    pub pull: f64,
    /// Gradient norms are clipped to this; 0: off.
    pub clip_norm: f64,
    /// Label smoothing: fraction of the target spread over all classes.
    pub label_smoothing: f64,
    /// α of mixup of two clips' features and labels, with λ from Beta(α, α); 0: off.
    pub mixup_alpha: f64,
    /// Decay of the exponential moving average of the weights, which is tested and saved; 0: the
    /// last weights are.
    pub ema_decay: f64,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Checkpoints kept.
    pub keep_checkpoints: usize,
    /// A run or an official ActionCLIP checkpoint to start from.
    pub start_from: Option<PathBuf>,
    /// Whether ActionCLIP's temporal head is also loaded from there.
    pub start_head: StartHead,
    /// Whether few-shot training starts from a solved outer residual ([`models::WarmStart`])
    /// instead of zero.
    pub warm_start: bool,
    /// Whether steps after a solved start are made only if they lower the loss of held-out clips, by more
    /// than its standard error; judging them costs half as much.
    pub judge_steps: bool,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            layout: &formats::CLASS_FOLDERS,
            root: None,
            lists: None,
            train_list: None,
            test_list: None,
            class_table: None,
            columns: None,
            skip_list: None,
            limits: VideoLimits::default(),
            allow_missing: false,
            unsplit: Unsplit::Refuse,
            follow_links: false,
            class_names: NameStyle::Words,
            cache: "features".into(),
            cache_precision: Storage::F16,
            frames: 8,
            tokens: FrameTokens::Class,
            source: Source::Features,
            train_views: 1,
            augment: Augment::default(),
        }
    }
}

impl Default for Backbone {
    fn default() -> Self {
        Self {
            weights: None,
            architecture: None,
            precision: PrecisionChoice::Auto,
        }
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            name: ProtocolKind::FewShot,
            split: 1,
            shots: 16,
            seeds: (0..10).collect(),
            draws: None,
            views: Views::SINGLE,
            balance: false,
            shuffle_labels: false,
            wrongly_refused: 0.05,
        }
    }
}

impl Model {
    pub(super) fn preset(system: System, preset: Preset) -> Self {
        Self {
            system,
            preset,
            row: Row::FULL,
            sif: SifConfig::preset(preset),
            action_clip: ActionClipConfig::published(),
        }
    }

    /// Rejects options that are invalid for the frames of `data`, or for the system or the
    /// row.
    pub(super) fn check(&self, data: &Data, protocol: &Protocol, train: &Train) -> Result<()> {
        let model = self.build(data.frames);
        self.located(model.check())?;
        if ![FrameTokens::Class, data.tokens].contains(&model.tokens()) {
            let read = model.tokens();
            return Err(value(
                "data.tokens",
                &format!("{read}, or `--set model.sif.tokens={}`", data.tokens),
                data.tokens,
            ));
        }
        match self.system {
            System::SeeingInFlowing => self.check_row(data, protocol, train),
            System::ActionClip => self.check_action_clip(data, train),
        }
    }

    fn check_row(&self, data: &Data, protocol: &Protocol, train: &Train) -> Result<()> {
        if train.start_head == StartHead::Drop {
            return Err(value(
                "train.start_head",
                "keep with `--set model.system=seeing-in-flowing`, which has no temporal head",
                "drop",
            ));
        }
        if !matches!(
            self.row.parts,
            Parts::Probe | Parts::ValidatedProbe | Parts::Head(_)
        ) {
            return Ok(());
        }
        let row = self.row.key;
        if data.source == Source::Video {
            return Err(value(
                "data.source",
                &format!(
                    "features with `--set model.row={row}`, which is solved over all clips at once"
                ),
                "video",
            ));
        }
        match protocol.name {
            ProtocolKind::ClosedSet | ProtocolKind::FewShot => Ok(()),
            other => Err(value(
                "protocol.name",
                &format!(
                    "closed-set or few-shot with `--set model.row={row}`, which has only the classes \
                     that it was fitted to"
                ),
                spelled(other),
            )),
        }
    }

    fn check_action_clip(&self, data: &Data, train: &Train) -> Result<()> {
        if self.row != Row::FULL {
            return Err(value(
                "model.row",
                "full with `--set model.system=action-clip`: the rows are for Seeing in Flowing",
                self.row.key,
            ));
        }
        if data.source == Source::Features {
            return Err(value(
                "data.source",
                "video with `--set model.system=action-clip`: fine-tuning changes the tower of the \
                 cached features",
                "features",
            ));
        }
        for (key, share) in [
            ("train.mixup_alpha", train.mixup_alpha),
            ("train.label_smoothing", train.label_smoothing),
        ] {
            if share != 0.0 {
                return Err(value(
                    key,
                    "0 with `--set model.system=action-clip`: its contrastive loss takes whole classes",
                    share,
                ));
            }
        }
        Ok(())
    }

    /// The model for clips of `frames` frames.
    pub fn build(&self, frames: usize) -> ModelConfig {
        let frames = frames as i64;
        match self.system {
            System::ActionClip => ModelConfig::ActionClip(ActionClipConfig {
                frames,
                ..self.action_clip.clone()
            }),
            System::SeeingInFlowing => self.row.model(&SifConfig {
                frames,
                ..self.sif.clone()
            }),
        }
    }

    /// Adds the key to a model's configuration error.
    pub(crate) fn located<T>(&self, built: models::Result<T>) -> Result<T> {
        built.map_err(|error| {
            let section = match self.system {
                System::ActionClip => "model.action_clip",
                System::SeeingInFlowing => "model.sif",
            };
            match error.field() {
                Some((field, expected, got)) => value(
                    &format!("{section}.{field}"),
                    &typed_keys(expected, section),
                    got,
                ),
                None => error.into(),
            }
        })
    }
}

/// `text` with each quoted key of a model's options as one types it.
fn typed_keys(text: &str, section: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(index, part)| match index % 2 == 1 && part.contains('.') {
        true => format!("--set {section}.{part}"),
        false => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

/// A protocol's name in a configuration.
fn spelled(name: ProtocolKind) -> String {
    let value = serde_json::to_value(name).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

impl Default for Train {
    fn default() -> Self {
        Self::preset(Preset::Best)
    }
}

impl Train {
    /// The published recipe of ActionCLIP.
    pub(super) fn action_clip() -> Self {
        Self {
            optimizer: MethodName::Adamw,
            learning_rate: 5e-6,
            momentum: 0.9,
            beta2: 0.98,
            weight_decay: 0.2,
            epochs: 50,
            min_steps: 1,
            warm_up: WarmUp::Linear,
            warm_up_epochs: 5,
            clip_norm: 20.0,
            lanes: 1,
            ..Self::preset(Preset::Paper)
        }
    }

    /// The preset's recipe for few-shot runs.
    pub fn preset(preset: Preset) -> Self {
        let paper = Self {
            optimizer: MethodName::Sgd,
            learning_rate: 0.0015,
            momentum: 0.9,
            beta2: 0.999,
            weight_decay: 5e-4,
            batch_size: 32,
            lanes: 2,
            micro_batches: 1,
            epochs: 50,
            min_steps: 1500,
            warm_up: WarmUp::Constant,
            warm_up_epochs: 1,
            warm_up_learning_rate: 1e-5,
            clip_norm: 0.0,
            label_smoothing: 0.0,
            mixup_alpha: 0.0,
            ema_decay: 0.0,
            pull: 0.0,
            save_every: 500,
            keep_checkpoints: 2,
            start_from: None,
            start_head: StartHead::Keep,
            warm_start: false,
            judge_steps: false,
        };
        match preset {
            Preset::Paper => paper,
            Preset::Best => Self {
                optimizer: MethodName::Adamw,
                warm_up: WarmUp::Linear,
                learning_rate: 1e-4,
                weight_decay: 0.01,
                clip_norm: 1.0,
                warm_start: true,
                judge_steps: true,
                ..paper
            },
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        within("train.learning_rate", self.learning_rate, 0.0, 100.0)?;
        within("train.momentum", self.momentum, 0.0, 0.9999)?;
        within("train.beta2", self.beta2, 0.0, 0.999_999)?;
        within("train.weight_decay", self.weight_decay, 0.0, 10.0)?;
        within(
            "train.warm_up_learning_rate",
            self.warm_up_learning_rate,
            0.0,
            100.0,
        )?;
        within("train.clip_norm", self.clip_norm, 0.0, 1e6)?;
        within("train.label_smoothing", self.label_smoothing, 0.0, 0.99)?;
        within("train.mixup_alpha", self.mixup_alpha, 0.0, 100.0)?;
        within("train.pull", self.pull, 0.0, 1e6)?;
        within("train.ema_decay", self.ema_decay, 0.0, 0.9999)?;
        at_least("train.batch_size", self.batch_size, 1)?;
        if !self.lanes.is_power_of_two() || self.lanes > 1024 {
            return Err(value(
                "train.lanes",
                "a power of two up to 1024",
                self.lanes,
            ));
        }
        at_least("train.micro_batches", self.micro_batches, 1)?;
        at_least("train.keep_checkpoints", self.keep_checkpoints, 1)?;
        if self.save_every == 0 {
            return Err(value("train.save_every", "at least 1", 0));
        }
        if self.epochs == 0 && self.min_steps == 0 {
            return Err(value("train.epochs", "at least 1", 0));
        }
        Ok(())
    }
}

impl Data {
    /// The preset's clips.
    pub(super) fn preset(preset: Preset) -> Self {
        Self {
            tokens: match preset {
                Preset::Paper => FrameTokens::Class,
                Preset::Best => FrameTokens::Moving,
            },
            ..Self::default()
        }
    }

    /// ActionCLIP's training data: videos, with its published augmentation.
    pub(super) fn action_clip() -> Self {
        Self {
            source: Source::Video,
            augment: Augment {
                jitter: Some(ColourJitter::default()),
                grey: 0.2,
                ..Augment::default()
            },
            ..Self::default()
        }
    }

    /// Reads the data set.
    ///
    /// # Errors
    /// [`Error::Value`] if root or lists are needed and not given, or a prepared root contains
    /// another data set than `layout`; and errors of reading them.
    pub fn read(&self) -> Result<Dataset> {
        let root = self
            .root
            .clone()
            .ok_or_else(|| value("data.root", "the folder of videos", ""))?;
        let options = DatasetOptions {
            lists: self.lists.clone(),
            train_list: self.train_list.clone(),
            test_list: self.test_list.clone(),
            class_table: self.class_table.clone(),
            columns: self.columns.clone(),
            skip_list: self.skip_list.clone(),
            allow_missing: self.allow_missing,
            follow_links: self.follow_links,
            class_names: self.class_names,
            ..DatasetOptions::new(self.layout, root)
        };
        Dataset::read(&options).map_err(|error| match error {
            data::Error::Option {
                name,
                expected,
                got,
            } => value(&format!("data.{name}"), &expected, got),
            other => Error::Data(other),
        })
    }

    /// Whether both name the same clips with the same labels.
    pub(crate) fn same_videos(&self, other: &Self) -> bool {
        let videos = |data: &Self| Self {
            root: data.root.clone(),
            lists: data.lists.clone(),
            train_list: data.train_list.clone(),
            test_list: data.test_list.clone(),
            class_table: data.class_table.clone(),
            columns: data.columns.clone(),
            skip_list: data.skip_list.clone(),
            layout: data.layout,
            allow_missing: data.allow_missing,
            unsplit: data.unsplit,
            follow_links: data.follow_links,
            class_names: data.class_names,
            ..Self::default()
        };
        videos(self) == videos(other)
    }

    pub(super) fn check(&self) -> Result<()> {
        at_least("data.frames", self.frames, 2)?;
        at_least("data.train_views", self.train_views, 1)?;
        self.limits.check()?;
        self.augment.check().map_err(|error| match error {
            pixels::Error::Option {
                name,
                expected,
                got,
            } => value(&format!("data.augment.{name}"), &expected, got),
            other => other.into(),
        })
    }
}

impl Protocol {
    /// Whether training clips are drawn.
    fn draws_clips(&self) -> bool {
        matches!(self.name, ProtocolKind::FewShot | ProtocolKind::BaseToNovel)
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(1..=3).contains(&self.split) {
            return Err(value("protocol.split", "1, 2 or 3", self.split));
        }
        at_least("protocol.shots", self.shots, 1)?;
        within("protocol.wrongly_refused", self.wrongly_refused, 0.0, 0.5)?;
        if let (Some(place), false) = (&self.draws, self.draws_clips()) {
            let expected = format!(
                "none with `--set protocol.name={}`; few-shot and base-to-novel draw clips",
                spelled(self.name)
            );
            return Err(value("protocol.draws", &expected, place.display()));
        }
        match self.seeds.is_empty() {
            true => Err(value("protocol.seeds", "at least one seed", "[]")),
            false => Ok(()),
        }
    }
}

/// A model's options without `frames`, which is `data.frames`.
mod without_frames {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::{Map, Value};

    const FRAMES: &str = "frames";

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        model: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut switches = serde_json::to_value(model).map_err(S::Error::custom)?;
        if let Value::Object(switches) = &mut switches {
            switches.remove(FRAMES);
        }
        switches.serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let mut switches = Map::deserialize(deserializer)?;
        if switches.insert(FRAMES.into(), 0.into()).is_some() {
            return Err(D::Error::custom("unknown field `frames`"));
        }
        serde_json::from_value(Value::Object(switches)).map_err(D::Error::custom)
    }
}
