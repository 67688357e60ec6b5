//! CLIP's two towers on libtorch.
//!
//! [`VisionTower`] turns frames into joint-space vectors, [`TextTower`] token ids or token
//! embeddings; [`Clip`] holds both. The crate knows nothing of video: a temporal module that
//! must act inside the image tower does so through a [`BlockHook`].

mod clip;
mod config;
mod error;
mod hook;
pub mod layers;
mod parameters;
mod text;
mod vision;

pub use clip::Clip;
pub use config::{Config, TextConfig, VisionConfig};
pub use error::Error;
pub use hook::{BlockHook, NoHook};
pub use parameters::{ParameterSource, Usage};
pub use text::TextTower;
pub use vision::VisionTower;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
