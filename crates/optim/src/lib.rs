#![doc = include_str!("../README.md")]

mod error;
mod optimizer;
mod pull;
mod schedule;

pub use error::{Error, Result};
pub use optimizer::{Method, MethodName, Optimizer, Parameter};
pub use schedule::{Length, Schedule, WarmUp};

/// The `tch` version of the public interface.
pub use tch;
