#![doc = include_str!("../README.md")]

mod block;
mod config;
mod error;

pub use block::{Communicated, CommunicationBlock, VideoTokens};
pub use config::{Attention, CheckedMcb, McbConfig, SmaKeys};
pub use error::Error;

pub use layers::tch;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
