#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod config;
mod disk;
mod error;
pub mod interrupt;
pub mod log;
pub mod metrics;
pub mod optim;

pub mod predict;
pub mod runtime;
pub mod schedule;
pub mod seed;

pub use error::Error;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
