#![doc = include_str!("../README.md")]

mod answer;
mod backbones;
mod calibration;
pub mod checkpoint;
mod decode;
mod error;
mod export;
mod labels;
#[cfg(test)]
mod one_road;
mod recogniser;
mod run_folder;
mod sliding;
mod templates;
mod timeline;
mod windows;

pub use answer::{Answer, NONE, Scored, Shown, UsedFrame};
pub use backbones::Backbones;
pub use calibration::{Belonging, BelongingScore, Calibration, ClassMeans};
pub use decode::{DecodedVideo, decode_ahead, decode_clip};
pub use error::{Error, Result};
pub use export::{export, is_exported};
pub use labels::Labels;
pub use recogniser::{Judged, Ready, Recogniser, same_classes};
pub use run_folder::{
    Card, State, expect_not_run, find, find_trained, load_parameters, newest, parameters, store,
};
pub use sliding::{FrameFeatures, Sliding, StreamWindow};
pub use templates::templates;
pub use timeline::{Cut, Moment, StreamAnswer, Timeline};
pub use windows::{Part, WindowEvent, decode_windows};

pub use data::{DEFAULT_TEMPLATE, Span, printable};

/// The `tch` version of the public interface.
pub use tch;
