#![doc = include_str!("../README.md")]

mod class_name;
mod clip_source;
#[cfg(feature = "decode")]
pub mod decode;
#[cfg(feature = "decode")]
pub mod encode;
mod error;
pub mod feature_cache;
mod fingerprint;
pub mod formats;
pub mod frame;
mod loader;
mod manifest;
mod persist;
pub mod random;
mod recipe;
mod rows;
pub mod sampler;
mod skip_list;
pub mod splits;
pub mod transform;
#[cfg(feature = "decode")]
mod video_source;
mod views;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use class_name::{ClassName, NameStyle};
pub use clip_source::{ClipError, ClipSource, FrameSink};
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use frame::Frame;
pub use loader::{Loader, LoaderConfig, Pass, PassReport, Sample, Skipped};
pub use manifest::{Clip, Manifest};
pub use recipe::{ClipPixels, Recipe};
pub use rows::{Rows, Stripe};
pub use sampler::Sampling;
pub use skip_list::SkipList;
pub use splits::Split;
#[cfg(feature = "decode")]
pub use video_source::VideoSource;
pub use views::Views;
