#![doc = include_str!("../README.md")]

pub mod captions;
mod error;
pub mod motion;
pub mod pretrain;
pub mod quality;
mod raster;
pub mod scenes;
pub mod stills;
pub mod video_set;
mod vocabulary;

pub use error::{Error, Result};
pub use motion::Motion;
