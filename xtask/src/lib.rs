//! Development tasks: setting up a machine, diagnosing it, checking the workspace, preparing
//! data sets and benchmarking.
//!
//! Depends on neither libtorch nor FFmpeg, so `cargo xtask setup` runs on a bare machine.
//! Results go to stdout, everything else to stderr.

mod archive;
pub mod bench;
pub mod check;
pub mod demo;
pub mod dist;
pub mod docs;
pub mod doctor;
pub mod download_clip;
mod error;
pub mod gpu_check;
mod hygiene;
pub mod layering;
pub mod needs;
mod places;
pub mod prepare;
mod progress;
pub mod registry;
pub mod setup;
pub mod supply_chain;
pub mod torture;
pub mod workspace;

pub use error::{Error, Result};
