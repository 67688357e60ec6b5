#![doc = include_str!("../README.md")]

mod api;
mod decoders;
mod engine;
mod error;
mod ffmpeg;
mod guard;
mod limits;
mod metrics;
mod page;
mod problem;
mod runs;
mod sandbox;
mod server;
mod trainee;
mod upload;
mod wire;
mod worker;

pub use decoders::DECODE_WORKER;
pub use error::{Error, Result};
pub use runs::TRAIN_WORKER;
pub use server::{Options, serve};
pub use trainee::confine_training;
pub use worker::{confine_decoding, decode_worker, upload_limits};

/// The `tch` version of the public interface.
pub use tch;
