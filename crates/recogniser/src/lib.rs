#![doc = include_str!("../README.md")]

mod answer;
mod backbones;
mod calibration;
pub mod checkpoint;
mod decode;
mod error;
mod labels;
#[cfg(test)]
mod one_road;
mod recogniser;
mod run_folder;
mod sliding;
mod templates;
mod timeline;
mod windows;

pub use answer::{Answer, NONE, Scored, Shown, UsedFrame, printable};
pub use backbones::Backbones;
pub use calibration::{Belonging, BelongingScore, Calibration, ClassMeans};
pub use decode::{DecodedVideo, decode_ahead, decode_clip};
pub use error::{Error, Result};
pub use labels::Labels;
pub use recogniser::{Judged, Ready, Recogniser, same_classes};
pub use run_folder::{
    Card, State, expect_not_run, find, load_parameters, newest, parameters, store,
};
pub use sliding::{FrameFeatures, Sliding, StreamWindow};
pub use templates::templates;
pub use timeline::{Cut, Moment, StreamAnswer, Timeline};
pub use windows::{Part, Span, WindowEvent, decode_windows};

/// The `tch` version of the public interface.
pub use tch;

/// The backbone used in the paper.
pub const DEFAULT_CHECKPOINT: &str = "openai/clip-vit-base-patch16";

/// The paper's hand-crafted prompt C, which initialises the learned prompts.
pub const DEFAULT_TEMPLATE: &str = "a common human action of {}.";
