#![doc = include_str!("../README.md")]

pub mod backbone;
pub mod check_videos;
pub mod checkpoint;
pub mod config;
pub mod dataset;
pub mod demo;
mod disk;
pub mod engine;
mod error;
pub mod evaluate;
pub mod features;
pub mod fit;
pub mod interrupt;
pub mod live;
pub mod log;
pub mod metrics;
pub mod optim;
pub mod paper;
pub mod predict;
pub mod report;
pub mod run;
pub mod runtime;
pub mod schedule;
pub mod seed;
pub mod source;
pub mod start;
pub mod trial;

pub use error::Error;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
