#![doc = include_str!("../README.md")]

mod auto_precision;
mod backbone;
pub mod check_videos;
mod clip_source;
mod clip_stream;
mod error;
mod extract;
pub mod feature_cache;
mod features;
mod file_identity;
mod fingerprint;
mod interrupt;
mod kept_rows;
mod pixels;
mod precision;
mod read_ahead;
mod recipe;

pub use auto_precision::Chosen;
pub use backbone::{Backbone, Identity};
pub use clip_source::{ClipError, ClipSource, VideoFiles};
pub use clip_stream::{ClipStream, Sample};
pub use error::{Error, Result};
pub use extract::{Extraction, Extractor, Rates, Work, clips_at_once};
pub use features::FeatureSet;
pub use file_identity::file_identities;
pub use fingerprint::Fingerprint;
pub use interrupt::{Ended, Interrupt};
pub use pixels::{ClipPixels, to_tensor};
pub use precision::{Precision, PrecisionChoice};
pub use read_ahead::{Ahead, Emit, ReadAhead};
pub use recipe::Recipe;

/// The `tch` version of the public interface.
pub use tch;
