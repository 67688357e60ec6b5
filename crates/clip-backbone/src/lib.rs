//! CLIP's two towers on libtorch.
//!
//! [`VisionTower`] turns frames into joint-space vectors, [`TextTower`] token ids or token
//! embeddings; [`ClipModel`] holds both. The crate is independent of video: a temporal module
//! inside the image tower is attached through a [`BlockHook`].

mod block;
mod checkpoint;
mod clip;
mod config;
mod error;
mod frames;
mod hook;
mod linear;
mod packed;
mod parameters;
mod preprocess;
mod recompute;
mod text;
mod tokenizer;
mod vision;
pub mod weights;

pub use block::{Block, Mask, Mlp, SelfAttention};
pub use checkpoint::{Checkpoint, transformers_config};
pub use clip::{ClipModel, Freeze};
pub use config::{Config, TextConfig, VisionConfig};
pub use error::Error;
pub use frames::{EncodedFrames, FrameTokens};
pub use hook::{BlockHook, NoHook};
#[cfg(feature = "hub")]
pub use hub;
pub use linear::PackedLinear;
pub use parameters::{Parameter, ParameterSource, Usage};
/// Pictures and geometry, used by [`Preprocess`].
pub use pixels;
pub use preprocess::Preprocess;
pub use recompute::{Recomputed, WayBack};
pub use text::TextTower;
pub use tokenizer::{OPENAI_VOCABULARY, Tokenizer, Tokens};
pub use vision::VisionTower;

pub use layers::Activation;
pub use tch;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
