#![doc = include_str!("../README.md")]

// FFmpeg is a C library; the integer types of its constants differ between its versions.
#[allow(unsafe_code, clippy::unnecessary_cast)]
mod av;
mod encode;
mod error;
mod file;
mod frame;
mod limits;
mod orientation;
mod pass;
mod script;
mod sink;
mod stream;
mod tape;
mod timing;
mod video;
mod yuv420;

pub use self::{
    av::ffmpeg_version,
    encode::write_clip,
    error::Error,
    frame::Frame,
    limits::{FORMATS, Limits},
    orientation::Orientation,
    sink::FrameSink,
    stream::VideoStream,
    timing::Timing,
    video::{Decoded, FrameCount, Header, Sample, Verified, Video},
};
