//! The configuration of a model.

use clip_backbone::{FrameTokens, Usage};
use mcb::{Attention, McbConfig, SmaKeys};
use motion::MotionConfig;
use prompts::{AdapterConfig, Template, TextEncoding, Tokenize, paper_words, word_tokens};
use serde::{Deserialize, Serialize};

use crate::action_clip::ActionClipConfig;
use crate::{Error, HeadConfig, Result};

/// H in the paper.
const PAPER_VECTORS: i64 = 5;

/// A model, by its system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "system", rename_all = "snake_case")]
pub enum ModelConfig {
    /// "Seeing in Flowing", whole or in part.
    SeeingInFlowing(SifConfig),
    /// ActionCLIP.
    ActionClip(ActionClipConfig),
    /// Frozen CLIP with a hand-crafted prompt.
    Clip(ZeroShotConfig),
    /// Logistic regression on the mean of the frame features, with a penalty of 1.
    LinearProbe,
    /// The same with a penalty by cross-validation.
    ValidatedProbe,
    /// A published few-shot head on the same mean.
    Head(HeadConfig),
}

impl ModelConfig {
    /// How the backbone has to be loaded.
    pub fn usage(&self) -> Usage {
        match self {
            Self::ActionClip(_) => Usage::FineTuned,
            Self::SeeingInFlowing(_)
            | Self::Clip(_)
            | Self::LinearProbe
            | Self::ValidatedProbe
            | Self::Head(_) => Usage::Frozen,
        }
    }

    /// The features of each frame that the model reads.
    pub fn tokens(&self) -> FrameTokens {
        match self {
            Self::SeeingInFlowing(config) => config.tokens,
            _ => FrameTokens::Class,
        }
    }

    /// Refuses invalid options, whatever the backbone.
    ///
    /// # Errors
    /// [`Error::Config`], or a part's error, with the first field that is out of range.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::SeeingInFlowing(config) => config.check(),
            Self::ActionClip(config) => config.check(),
            Self::Clip(_) | Self::LinearProbe | Self::ValidatedProbe | Self::Head(_) => Ok(()),
        }
    }

    /// Refuses options that do not fit a backbone of the shape `backbone`; its weights need not
    /// be read.
    ///
    /// # Errors
    /// Same as [`check`](Self::check).
    pub fn check_on(&self, backbone: &clip_backbone::Config) -> Result<()> {
        self.check()?;
        if let Self::SeeingInFlowing(config) = self {
            let width = backbone.joint_width;
            config.motion.check(config.frames, width)?;
            config.communication.check(width)?;
        }
        Ok(())
    }
}

/// The two readings of the method; they differ in options only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The paper, literally.
    Paper,
    /// Starts as frozen CLIP, models the order of frames, communicates over tokens.
    Best,
}

impl Preset {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Paper, Self::Best];
}

impl std::fmt::Display for Preset {
    /// Its name in a configuration.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Paper => "paper",
            Self::Best => "best",
        })
    }
}

/// "Seeing in Flowing".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SifConfig {
    /// T, frames per clip.
    pub frames: i64,
    /// The features of each frame that the motion block reads.
    #[serde(default)]
    pub tokens: FrameTokens,
    /// The motion modelling block; its motion stream is the ablation's switch "MMB".
    pub motion: MotionConfig,
    /// The prompts; `motion_aware` is the switch "MAP".
    pub prompts: PromptConfig,
    /// The communication block; `attention` is the switch "MCB".
    pub communication: McbConfig,
    /// The temperature of the cosines.
    pub temperature: Temperature,
    /// How text features are computed.
    #[serde(default)]
    pub text: TextEncoding,
}

/// The prompts of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// Learned vectors shifted by each video's motion; otherwise `template`, frozen.
    pub motion_aware: bool,
    /// The hand-crafted prompt of a model without motion-aware prompts.
    pub template: Template,
    /// H, the number of learned vectors; by default the number of tokens of the words.
    #[serde(default)]
    pub vectors: Option<i64>,
    /// The words that initialise the vectors, H tokens; by default the paper's for H = 3, 4, 5,
    /// those for 5 if H is not given either.
    #[serde(default)]
    pub init_words: Option<String>,
    /// The motion adapter.
    pub adapter: AdapterConfig,
}

impl PromptConfig {
    /// H in the paper's vocabulary.
    pub fn vectors(&self) -> i64 {
        self.vectors.unwrap_or(PAPER_VECTORS)
    }

    /// The words that initialise the vectors.
    ///
    /// # Errors
    /// [`Error::Config`] if there are none for this H.
    pub fn init_words(&self) -> Result<&str> {
        let count = self.vectors();
        self.init_words
            .as_deref()
            .or(paper_words(count))
            .ok_or_else(|| Error::Config {
                field: "prompts.init_words",
                expected: format!(
                    "words of {count} tokens to initialise the vectors, or no `prompts.vectors`"
                ),
                got: String::new(),
            })
    }

    /// The token ids of those words, one for each vector.
    ///
    /// # Errors
    /// [`Error::Config`] if they are not as many as `vectors`, or leave no room for a label in
    /// `context`.
    pub fn init_tokens(&self, tokenizer: &dyn Tokenize, context: i64) -> Result<Vec<i64>> {
        let words = self.init_words()?;
        word_tokens(words, self.vectors, tokenizer, context).map_err(|error| match error {
            prompts::Error::TokenCount { expected, got, .. } => Error::Config {
                field: "prompts.vectors",
                expected: format!(
                    "{got}, the tokens of {words:?} in this vocabulary; leave it out, or give \
                     `prompts.init_words=…` of {expected} tokens"
                ),
                got: expected.to_string(),
            },
            prompts::Error::Config { expected, got, .. } if self.vectors.is_none() => {
                Error::Config {
                    field: "prompts.init_words",
                    expected: format!("{expected}; these words have {got}"),
                    got: words.to_owned(),
                }
            }
            other => other.into(),
        })
    }
}

/// τ of Eq. 3: the divisor of the cosines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Temperature {
    /// A constant.
    Fixed {
        /// τ
        tau: f64,
    },
    /// The backbone's own logit scale (1 / 100 in CLIP).
    Clip {
        /// Whether it is trained.
        learned: bool,
    },
}

/// Frozen CLIP over the mean of the frame features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroShotConfig {
    /// Hand-crafted prompts, at least one; several are averaged.
    pub templates: Vec<Template>,
}

/// The blocks of a row of the paper's ablation: see [`crate::Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ablation {
    /// The motion stream of the motion modelling block.
    pub mmb: bool,
    /// Motion-aware prompts; needs `mmb`.
    pub map: bool,
    /// The communication block.
    pub mcb: bool,
}

impl Ablation {
    /// The spatial stream and a hand-crafted prompt.
    pub const BASELINE: Self = Self {
        mmb: false,
        map: false,
        mcb: false,
    };
}

impl SifConfig {
    /// A preset: T = 8, s = 4, H = 5.
    pub fn preset(preset: Preset) -> Self {
        let (tokens, motion, adapter, communication, temperature) = match preset {
            Preset::Paper => (
                FrameTokens::Class,
                MotionConfig::paper(),
                AdapterConfig::paper(),
                McbConfig::paper(),
                Temperature::Fixed { tau: 0.07 },
            ),
            Preset::Best => (
                FrameTokens::Moving,
                MotionConfig::best(),
                AdapterConfig::best(),
                McbConfig::best(),
                Temperature::Clip { learned: false },
            ),
        };
        Self {
            frames: 8,
            tokens,
            motion,
            prompts: PromptConfig {
                motion_aware: true,
                template: Template::c(),
                vectors: None,
                init_words: None,
                adapter,
            },
            communication,
            temperature,
            text: TextEncoding::default(),
        }
    }

    /// The same model without the blocks that `ablation` removes.
    ///
    /// Without a motion stream the classes attend to the frames alone.
    pub fn ablated(mut self, ablation: Ablation) -> Self {
        self.motion.motion_stream &= ablation.mmb;
        if !ablation.mmb {
            self.tokens = FrameTokens::Class;
        }
        self.motion.time_statistics &= ablation.mmb;
        self.prompts.motion_aware &= ablation.map;
        if !ablation.mcb {
            self.communication.attention = Attention::Off;
        }
        if !ablation.mmb && self.communication.sma_kv == SmaKeys::FramesAndMotion {
            self.communication.sma_kv = SmaKeys::Frames;
        }
        self
    }

    /// Refuses invalid combinations of options. The parts check themselves.
    pub(crate) fn check(&self) -> Result<()> {
        if let Temperature::Fixed { tau } = self.temperature
            && !(tau.is_finite() && tau > 0.0)
        {
            return Err(Error::Config {
                field: "temperature.tau",
                expected: "a positive number".into(),
                got: tau.to_string(),
            });
        }
        self.motion.check_steps(self.frames)?;
        if self.prompts.motion_aware {
            self.prompts.init_words()?;
        }
        if self.motion.motion_stream {
            return Ok(());
        }
        let needs_motion = |field, got: &str| Error::Config {
            field,
            expected: "no use of motion with `motion.motion_stream=false`".into(),
            got: got.into(),
        };
        if self.prompts.motion_aware {
            return Err(needs_motion("prompts.motion_aware", "true"));
        }
        if self.communication.attention != Attention::Off
            && self.communication.sma_kv == SmaKeys::FramesAndMotion
        {
            return Err(needs_motion("communication.sma_kv", "frames_and_motion"));
        }
        Ok(())
    }
}
