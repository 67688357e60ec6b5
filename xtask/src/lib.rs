//! What stands around the product: setting a machine up, saying what is wrong with it,
//! running the whole check, and fetching a checkpoint.
//!
//! It needs neither libtorch nor FFmpeg, so that `cargo xtask setup` starts on a bare
//! machine. Results go to stdout, everything else to stderr.

pub mod archive;
pub mod bench;
pub mod check;
pub mod demo;
pub mod doctor;
pub mod download_clip;
mod error;
pub mod hygiene;
pub mod layering;
pub mod needs;
pub mod places;
pub mod prepare;
pub mod progress;
pub mod registry;
pub mod setup;
pub mod workspace;

pub use error::{Error, Result};
