//! Exact frames of a video file by their index, through FFmpeg.
//!
//! The frame of index i is the i-th frame of a full sequential decode, whatever the
//! container's header, index or timestamps say; see [`Video`]. Files are not trusted:
//! [`Limits`] bound what one may cost, and only its own bytes are ever read.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use data::decode::{Limits, Video};
//!
//! # fn main() -> Result<(), data::decode::DecodeError> {
//! let mut video = Video::open(Path::new("clip.avi"), &Limits::default())?;
//! // Eight frames spread over all that decode.
//! let sample = video.sample(|count| (0..8).map(|i| (2 * i + 1) * count / 16).collect())?;
//! for frame in &sample.frames {
//!     println!("{} at {:.2} s: {}x{}", frame.index, frame.time, frame.width, frame.height);
//! }
//! # Ok(())
//! # }
//! ```

// FFmpeg is a C library; the integer types of its constants differ between its versions.
#[allow(unsafe_code, clippy::unnecessary_cast)]
mod av;
mod error;
mod file;
mod limits;
mod orientation;
mod pass;
mod script;
mod tape;
mod video;
mod yuv420;

pub use self::{
    error::DecodeError,
    limits::{FORMATS, Limits},
    orientation::Orientation,
    video::{FrameCount, Header, Sample, Verified, Video},
};
