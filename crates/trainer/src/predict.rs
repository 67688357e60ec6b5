//! Naming the action in a video.

mod answer;
mod clips;
mod labels;
mod recognise;
mod templates;
mod timeline;
mod trained;
mod windows;
mod zero_shot;

pub use answer::{Answer, Scored, Shown, UsedFrame, printable};
pub use clips::{Clip, decode_ahead};
pub use labels::{LabelError, Labels};
pub use recognise::{Recognise, answer};
pub use templates::{TemplateError, Templates};
pub use timeline::{Cut, Moment, Timeline, timeline};
pub use trained::TrainedRun;
pub use windows::{NoSpan, Span};
pub use zero_shot::ZeroShot;

use std::path::PathBuf;

/// The backbone of the paper.
pub const DEFAULT_CHECKPOINT: &str = "openai/clip-vit-base-patch16";

/// The paper's hand-made prompt C, which the learned prompts start from.
pub const DEFAULT_TEMPLATE: &str = "a common human action of {}.";

/// What keeps a video from being answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The video gave no frames.
    #[error(transparent)]
    Decode(#[from] data::decode::DecodeError),
    /// The thread that decoded the video died.
    #[error("{}: the decoding thread stopped unexpectedly", .0.display())]
    Decoder(PathBuf),
    /// The backbone refused.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// The model refused.
    #[error(transparent)]
    Model(#[from] crate::Error),
}
