//! The configuration of a run: defaults in code, then a TOML file, then `--set key=value`.
//!
//! The system and its preset determine the defaults, so they are read first. An unknown key is an
//! error that names the nearest one. Only a [`Checked`] configuration can be run.

mod limits;
mod sections;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use models::{ModelConfig, Preset};
use serde::{Deserialize, Serialize};

use clips::{Precision, PrecisionChoice};

use crate::{Error, Result};
pub use limits::VideoLimits;
pub use sections::{
    Backbone, Data, Model, Protocol, ProtocolKind, Source, StartHead, System, Train, Unsplit,
};

/// Everything that determines a run's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The run's name, its folder's default name and its title in a report.
    pub name: String,
    /// Seed of every random choice but the few-shot draw.
    pub seed: u64,
    /// Threads for decoding and computing; by default as many processors as the process may use. Results are
    /// reproducible only with the same number.
    #[serde(default)]
    pub threads: Option<usize>,
    /// `cpu`, `cuda:N`, or `cuda`: the GPU of a rank's number on its host, else the first. There is no
    /// fallback.
    pub device: String,
    /// The videos.
    pub data: Data,
    /// The frozen CLIP.
    pub backbone: Backbone,
    /// The evaluation protocol.
    pub protocol: Protocol,
    /// The model on the backbone.
    pub model: Model,
    /// The training.
    pub train: Train,
}

/// A configuration with every value in range.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked(Config);

impl Checked {
    /// The same with a precision, unless it has one.
    #[must_use]
    pub fn in_precision(mut self, precision: Precision) -> Self {
        if self.0.backbone.precision == PrecisionChoice::Auto {
            self.0.backbone.precision = PrecisionChoice::Fixed(precision);
        }
        self
    }

    /// The same with device `cuda` as the GPU of this number.
    #[must_use]
    pub fn on_gpu(mut self, index: usize) -> Self {
        if self.0.device == "cuda" {
            self.0.device = format!("cuda:{index}");
        }
        self
    }
}

impl std::ops::Deref for Checked {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0
    }
}

/// A change of the defaults in code, such as a row of the paper.
pub struct Change<'a> {
    /// System and preset of the defaults, unless a setting names others.
    pub base: Option<(System, Preset)>,
    /// Changes the defaults.
    pub apply: &'a dyn Fn(&mut Config),
}

impl Change<'_> {
    fn none() -> Self {
        Self {
            base: None,
            apply: &|_| {},
        }
    }
}

impl Checked {
    /// The model for a backbone of shape `backbone`, whose weights are not needed.
    ///
    /// # Errors
    /// [`Error::Value`] with the key that does not match the backbone.
    pub fn model_on(&self, backbone: &clip_backbone::Config) -> Result<ModelConfig> {
        let model = self.model.build(self.data.frames);
        self.model.located(model.check_on(backbone))?;
        Ok(model)
    }
}

impl Config {
    /// The defaults of a preset of Seeing in Flowing.
    pub fn preset(preset: Preset) -> Self {
        Self::defaults(System::SeeingInFlowing, preset)
    }

    /// The defaults of a system.
    pub fn defaults(system: System, preset: Preset) -> Self {
        let (data, train) = match system {
            System::SeeingInFlowing => (Data::preset(preset), Train::preset(preset)),
            System::ActionClip => (Data::action_clip(), Train::action_clip()),
        };
        Self {
            name: "run".into(),
            seed: 0,
            threads: None,
            device: "cpu".into(),
            data,
            backbone: Backbone::default(),
            protocol: Protocol::default(),
            model: Model::preset(system, preset),
            train,
        }
    }

    /// Reads `file` (none: the defaults) and applies `settings`, each `dotted.key=value`, over
    /// it.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::Syntax`], [`Error::UnknownKey`] with the nearest known key,
    /// and [`Error::Value`] for a value of the wrong type or out of range.
    pub fn read(file: Option<&Path>, settings: &[String]) -> Result<Checked> {
        Self::read_changed(file, Change::none(), settings)
    }

    /// As [`read`](Self::read), with `change` applied between the file and the settings.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_changed(
        file: Option<&Path>,
        change: Change<'_>,
        settings: &[String],
    ) -> Result<Checked> {
        let mut layers = Vec::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(Error::file("cannot read", path))?;
            layers.push(text::Layer::file(&path.display().to_string(), &text)?);
        }
        text::resolve(&layers, change, &text::Layer::settings(settings)?)?.check()
    }

    /// As [`read`](Self::read), from TOML text named `origin` in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(origin: &str, toml: &str, settings: &[String]) -> Result<Checked> {
        let file = text::Layer::file(origin, toml)?;
        text::resolve(&[file], Change::none(), &text::Layer::settings(settings)?)?.check()
    }

    /// The configuration as TOML, with every key that has a value.
    ///
    /// # Errors
    /// [`Error::Syntax`] if a value has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        text::to_toml(self)
    }

    /// Each key that affects a run's result, dotted, with its value as JSON. Places are not
    /// among them: what lies there decides, and the run compares that.
    ///
    /// # Errors
    /// [`Error::Syntax`] if a value has no JSON form.
    pub(crate) fn decisive(&self) -> Result<BTreeMap<String, String>> {
        const OTHERS: [&str; 17] = [
            "name",
            "threads",
            "data.root",
            "data.lists",
            "data.train_list",
            "data.test_list",
            "data.class_table",
            "data.columns",
            "data.skip_list",
            "data.allow_missing",
            "data.cache",
            "backbone.weights",
            "protocol.seeds",
            "train.save_every",
            "train.keep_checkpoints",
            "train.start_from",
            "data.follow_links",
        ];
        let mut all = text::flat(self)?;
        all.retain(|key, _| !OTHERS.contains(&key.as_str()));
        if self.data.unsplit != Unsplit::CrossValidate {
            all.remove("protocol.wrongly_refused");
        }
        Ok(all)
    }

    /// The keys that are the same on all processes of a training, dotted: all but places and devices.
    ///
    /// # Errors
    /// [`Error::Syntax`] if a value has no JSON form.
    pub(crate) fn shared(&self) -> Result<BTreeMap<String, String>> {
        const OWN: [&str; 4] = ["threads", "device", "data.root", "backbone.weights"];
        let mut all = text::flat(self)?;
        all.retain(|key, _| !OWN.contains(&key.as_str()));
        Ok(all)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Value`] with the first key that is out of range.
    pub fn check(self) -> Result<Checked> {
        at_least("threads", self.threads.unwrap_or(1), 1)?;
        let index = self.device.strip_prefix("cuda:");
        let named = ["cpu", "cuda"].contains(&self.device.as_str());
        if !named && index.is_none_or(|index| index.parse::<u8>().is_err()) {
            return Err(value("device", "cpu, cuda or cuda:N", &self.device));
        }
        self.data.check()?;
        self.protocol.check()?;
        self.train.check()?;
        self.model.check(&self.data, &self.protocol, &self.train)?;
        if self.backbone.precision.fixed() == Some(Precision::Fp16) {
            let refused = |expected| Err(value("backbone.precision", expected, "fp16"));
            if self.device == "cpu" {
                return refused(
                    "fp32 or bf16 with `--set device=cpu`; fp16 needs a GPU: \
                     `--set device=cuda:0`, or `--set backbone.precision=bf16`",
                );
            }
            if self.model.system == System::ActionClip {
                return refused(
                    "fp32 or bf16 with `--set model.system=action-clip`, whose backbone is trained",
                );
            }
        }
        Ok(Checked(self))
    }
}

fn value(key: &str, expected: &str, got: impl ToString) -> Error {
    Error::Value {
        key: key.into(),
        expected: expected.into(),
        got: got.to_string(),
    }
}

fn at_least(key: &str, got: usize, least: usize) -> Result<()> {
    if got < least {
        return Err(value(key, &format!("at least {least}"), got));
    }
    Ok(())
}

fn within(key: &str, got: f64, low: f64, high: f64) -> Result<()> {
    // NaN is in no range.
    if !(low..=high).contains(&got) {
        return Err(value(key, &format!("{low} to {high}"), got));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    fn set(settings: &[&str]) -> Result<Checked> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        Config::read(None, &settings)
    }

    #[test]
    fn every_preset_is_in_range() {
        for preset in [Preset::Paper, Preset::Best] {
            Config::preset(preset).check().unwrap();
        }
    }

    #[test]
    fn settings_win_over_the_file_and_the_file_over_the_preset() {
        let toml = "[model]\npreset = \"paper\"\n[train]\nbatch_size = 64\nlearning_rate = 0.01\n";
        let settings = [
            "train.learning_rate=0.02".to_owned(),
            "name=mine".to_owned(),
        ];
        let config = Config::parse("test", toml, &settings).unwrap();
        assert_eq!(config.train.batch_size, 64);
        assert_eq!(config.train.learning_rate, 0.02);
        assert_eq!(config.name, "mine");
        assert_eq!(
            config.train.weight_decay,
            Train::preset(Preset::Paper).weight_decay
        );
        assert_ne!(
            Train::preset(Preset::Best).weight_decay,
            config.train.weight_decay
        );
    }

    #[test]
    fn own_videos_train_on_all_clips_unless_told() {
        let kind = |settings: &[&str]| set(settings).unwrap().protocol.name;
        for own in ["data.layout=csv", "data.layout=folder", "data.train_list=a"] {
            assert_eq!(kind(&[own]), ProtocolKind::ClosedSet, "{own}");
            let told = kind(&[own, "protocol.name=few-shot"]);
            assert_eq!(told, ProtocolKind::FewShot, "{own}");
        }
        assert_eq!(kind(&["data.layout=ucf101"]), ProtocolKind::FewShot);
        let columns = set(&["data.columns=video=a,label=b"]).unwrap();
        let again = Config::parse("again", &columns.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(columns, again);
        let error = set(&["data.columns=film"]).unwrap_err().to_string();
        assert!(error.contains("video=NAME,label=NAME"), "{error}");
    }

    #[test]
    fn fp16_is_for_frozen_towers_on_a_gpu() {
        let fp16 = "backbone.precision=fp16";
        set(&[fp16, "device=cuda:0"]).unwrap();
        let error = set(&[fp16, "device=cpu"]).unwrap_err().to_string();
        assert!(error.contains("backbone.precision") && error.contains("GPU"));
        assert_eq!(Precision::Fp16.on(tch::Device::Cpu), Precision::Fp32);
        assert_eq!(Precision::Fp16.on(tch::Device::Cuda(0)), Precision::Fp16);
        assert_eq!(Precision::Bf16.on(tch::Device::Cpu), Precision::Bf16);
        let learns = [fp16, "device=cuda:0", "model.system=action-clip"];
        let error = set(&learns).unwrap_err().to_string();
        assert!(error.contains("backbone is trained"), "{error}");
    }

    #[test]
    fn a_key_is_written_as_one_types_it() {
        for (setting, said) in [
            (
                "train.batch_size=0",
                "`--set train.batch_size=0`: expected at least 1",
            ),
            (
                "train.epochs=many",
                "`--set train.epochs=many`: expected a whole number of at least 0",
            ),
            (
                "protocol.seeds=[]",
                "`--set 'protocol.seeds=[]'`: expected at least one seed",
            ),
            (
                "model.sif.motion.motion_stream=false",
                "with `--set model.sif.motion.motion_stream=false`",
            ),
            (
                "backbone.precision=fp16",
                "with `--set device=cpu`; fp16 needs a GPU: `--set device=cuda:0`, or \
                 `--set backbone.precision=bf16`",
            ),
        ] {
            let error = set(&[setting]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let unset = Data::default().read().unwrap_err().to_string();
        assert_eq!(
            unset,
            "`--set data.root=…` is missing: expected the folder of videos"
        );
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = set(&["train.batch_sise=3"]).unwrap_err().to_string();
        assert!(error.contains("`train.batch_size`"), "{error}");
        let error = set(&["batch_size=3"]).unwrap_err().to_string();
        assert!(error.contains("`train.batch_size`"), "{error}");
        let toml = "[trian]\nbatch_size = 3\n";
        let error = Config::parse("x.toml", toml, &[]).unwrap_err().to_string();
        assert!(
            error.contains("x.toml") && error.contains("train"),
            "{error}"
        );
    }

    #[test]
    fn an_earlier_name_of_a_key_leads_to_the_present_one() {
        for (earlier, present) in [
            ("train.rate", "train.learning_rate"),
            ("train.mix", "train.mixup_alpha"),
            ("train.keep", "train.keep_checkpoints"),
            ("train.batch", "train.batch_size"),
            ("data.names", "data.class_names"),
            ("data.skip", "data.skip_list"),
            ("model.sif.prompts.words", "model.sif.prompts.init_words"),
        ] {
            let error = set(&[&format!("{earlier}=1")]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{present}`")), "{error}");
        }
    }

    #[test]
    fn wrong_kinds_and_ranges_name_their_key() {
        for setting in [
            "train.batch_size=many",
            "train.batch_size=0",
            "train.learning_rate=nan",
            "train.label_smoothing=1.5",
            "threads=0",
            "device=gpu",
            "protocol.views=two",
            "model.preset=worst",
            "protocol.seeds=[]",
            "data.augment.flip=2",
            "model.row=fuller",
            "model.sif.motion.max_step=9",
        ] {
            let key = setting.split('=').next().unwrap();
            let error = set(&[setting]).unwrap_err().to_string();
            assert!(error.contains(key), "{setting}: {error}");
        }
        assert!(matches!(set(&["train"]), Err(Error::Syntax { .. })));
        assert!(set(&["model.sif.motion.droupout=0.1"]).is_err());
    }

    #[test]
    fn every_switch_of_the_model_is_a_key() {
        let config = set(&[
            "model.sif.motion.dropout=0.1",
            "model.sif.prompts.init_words=a human action seen in",
            "model.sif.temperature={ kind = 'fixed', tau = 0.05 }",
        ])
        .unwrap();
        assert_eq!(config.model.sif.motion.dropout, 0.1);
        assert_eq!(
            config.model.sif.prompts.init_words.as_deref(),
            Some("a human action seen in")
        );
        assert!(matches!(
            config.model.sif.temperature,
            models::Temperature::Fixed { tau: 0.05 }
        ));
    }

    #[test]
    fn the_system_decides_the_defaults_of_data_and_training() {
        let config = set(&["model.system=action-clip"]).unwrap();
        assert_eq!(config.data.source, Source::Video);
        assert_eq!(
            (config.train.learning_rate, config.train.beta2),
            (5e-6, 0.98)
        );
        assert_eq!(
            (config.train.weight_decay, config.train.clip_norm),
            (0.2, 20.0)
        );
        assert!(config.data.augment.jitter.is_some() && config.data.augment.grey == 0.2);
        let model = config.model.build(config.data.frames);
        assert!(matches!(model, models::ModelConfig::ActionClip(_)));
        let toml = "[model]\nsystem = \"action-clip\"\n[model.action_clip]\nhead = \"lstm\"\n\
                    visual_prompt = \"in_network\"\n[model.action_clip.frozen]\nimage_blocks = 3\n";
        let config = Config::parse("test", toml, &["train.learning_rate=1e-4".to_owned()]).unwrap();
        assert_eq!(config.train.learning_rate, 1e-4);
        assert_eq!(config.model.action_clip.frozen.image_blocks, 3);
    }

    #[test]
    fn what_action_clip_cannot_be_combined_with_is_told_with_its_reason() {
        for (setting, reason) in [
            ("data.source=features", "changes the tower"),
            ("train.mixup_alpha=0.3", "whole classes"),
            ("train.label_smoothing=0.1", "whole classes"),
            ("model.row=mmb", "Seeing in Flowing"),
            (
                "model.action_clip.visual_prompt=pre_network",
                "nothing to order",
            ),
        ] {
            let error = set(&["model.system=action-clip", setting])
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{setting}: {error}");
        }
        let joint = [
            "model.system=action-clip",
            "model.action_clip.visual_prompt=pre_network",
        ];
        assert!(set(&[joint[0], joint[1], "model.action_clip.head=mean"]).is_ok());
        let error = set(&["data.source=video", "model.row=probe"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("solved over all clips"), "{error}");
        let error = set(&["protocol.name=base-to-novel", "model.row=probe"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("protocol.name"), "{error}");
    }

    #[test]
    fn frames_are_said_once_and_checked_on_the_backbone() {
        let config = set(&["data.frames=16", "model.sif.motion.heads=7"]).unwrap();
        let error = config.model_on(&clip_backbone::Config::vit_b_16());
        let error = error.unwrap_err().to_string();
        let said = "`--set model.sif.motion.heads=7`: expected a divisor of the width 512";
        assert!(error.contains(said), "{error}");
        let error = set(&["model.sif.frames=8"]).unwrap_err().to_string();
        assert!(error.contains("`data.frames`"), "{error}");
        let baseline = set(&["model.row=baseline", "model.sif.motion.max_step=9"]);
        assert!(baseline.is_ok(), "it has no motion stream");
    }

    #[test]
    fn the_resolved_text_reads_back_to_the_same() {
        let config = set(&["data.root=/x y/\u{fc}", "protocol.seeds=[1,2]"]).unwrap();
        let again = Config::parse("again", &config.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(config, again);
        let config = set(&["model.system=action-clip", "data.augment.jitter.hue=0.2"]).unwrap();
        let again = Config::parse("again", &config.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(config, again);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}", setting in ".{0,60}") {
            let _ = Config::parse("fuzz", &text, std::slice::from_ref(&setting));
            let _ = Config::read(None, &[setting]);
        }
    }
}
