#![doc = include_str!("../README.md")]

mod block;
mod config;
mod difference;
mod encoder;
mod error;
mod statistics;

pub use block::{MotionCues, MotionFeatures, MotionModellingBlock};
pub use config::{CheckedMotion, MotionConfig};
pub use difference::DifferenceSet;
pub use encoder::{Encoder, EncoderConfig};
pub use error::Error;
pub use statistics::TimeStatistics;

pub use layers::{Activation, NormOrder, tch};

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
