#![doc = include_str!("../README.md")]

pub mod action_clip;
mod clips;
mod config;
pub mod cost;
mod error;
mod examples;
mod failure;
mod heads;
mod kernel_logistic;
mod label_text;
mod lanes;
mod linear_probe;
mod logistic;
mod model;
mod rows;
mod scores;
mod seeing_in_flowing;
mod warm_start;
mod zero_shot;

pub use clips::Clips;
pub use config::{
    Ablation, ModelConfig, Preset, PromptConfig, SifConfig, Temperature, ZeroShotConfig,
};
pub use error::Error;
pub use examples::Examples;
pub use failure::{Failure, caught, silence_failures};
pub use heads::{Head, HeadConfig, HeadMethod};
pub use lanes::{Alone, Lane, Lanes, Mates, Sums};
pub use linear_probe::{LinearProbe, Penalty};
pub use logistic::LogisticRegression;
pub use model::{Classifier, Learned, Learning, ParameterGroup, Piece, VideoTextModel, build};
pub use prompts::{Template, TextEncoding, TextPath, Tokenize};
pub use rows::{Parts, Row};
pub use scores::{Evidence, Scores, Targets, TrainingLoss};
pub use seeing_in_flowing::SeeingInFlowing;
pub use warm_start::WarmStart;
pub use zero_shot::ZeroShot;

pub use tch;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
