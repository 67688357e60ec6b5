#![doc = include_str!("../README.md")]

mod class_name;
mod dataset;
mod error;
pub mod formats;
mod manifest;
mod names;
mod recordings;
pub mod sampler;
mod skip_list;
mod span;
pub mod splits;
mod views;

pub use class_name::{ClassName, NameStyle, twins};
pub use dataset::{Dataset, DatasetOptions};
pub use error::{Error, Result};
pub use manifest::{Manifest, VideoEntry};
pub use names::{counted, message, named, printable};
pub use recordings::recordings;
pub use sampler::Sampling;
pub use skip_list::SkipList;
pub use span::Span;
pub use splits::Split;
pub use views::Views;

/// The paper's hand-crafted prompt C, which initialises the learned prompts; `{}` is the class.
pub const DEFAULT_TEMPLATE: &str = "a common human action of {}.";
