//! Everything between video files and batches.

pub mod class_name;
#[cfg(feature = "decode")]
pub mod decode;
mod error;
pub mod formats;
pub mod frame;
pub mod manifest;
mod persist;
pub mod random;
pub mod sampler;
pub mod splits;
pub mod transform;
pub mod views;

pub use class_name::{ClassName, NameStyle};
pub use error::{Error, Result};
pub use frame::Frame;
pub use manifest::{Clip, Manifest};
pub use sampler::Sampling;
pub use splits::Split;
pub use views::Views;
