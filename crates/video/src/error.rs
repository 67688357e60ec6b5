//! The errors of this crate, with the file.

use std::{io, path::PathBuf};

/// Why a video gave no frames, or not the requested ones. Every variant names the file.
///
/// File names are shown quoted and escaped: they are as untrusted as the file's
/// content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such file.
    #[error("{path:?}: no such file")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file exists, but this user may not read it.
    #[error("{path:?}: no permission to read it")]
    Forbidden {
        /// The file.
        path: PathBuf,
    },
    /// A folder where a file was expected.
    #[error("{path:?}: a folder, not a video file")]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A pipe, a device or a socket: reading those may never end.
    #[error("{path:?}: not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Zero bytes.
    #[error("{path:?}: the file is empty (0 bytes)")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Reading the file failed.
    #[error("{path:?}: cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The content matches no known media format.
    #[error("{path:?}: not a video (its content matches no known format)")]
    NotAVideo {
        /// The file.
        path: PathBuf,
    },
    /// A format that is recognised but not opened: playlists and scripts, which name other
    /// files, pictures, subtitles, and containers outside [`FORMATS`](super::FORMATS).
    #[error("{path:?}: its content is {format:?}, which is not opened as a video")]
    Refused {
        /// The file.
        path: PathBuf,
        /// FFmpeg's name of the format.
        format: String,
    },
    /// A known container whose header is damaged or cut off.
    #[error("{path:?}: the {format} header cannot be read ({reason}); damaged or cut off?")]
    Header {
        /// The file.
        path: PathBuf,
        /// FFmpeg's name of the format.
        format: String,
        /// FFmpeg's message.
        reason: String,
    },
    /// There is an audio stream, but no video stream.
    #[error("{path:?}: audio only, no video stream")]
    AudioOnly {
        /// The file.
        path: PathBuf,
    },
    /// A container without a video or audio stream.
    #[error("{path:?}: no video stream among its {streams} streams")]
    NoVideo {
        /// The file.
        path: PathBuf,
        /// The number of streams.
        streams: usize,
    },
    /// This FFmpeg has no decoder for the stream.
    #[error("{path:?}: FFmpeg has no decoder for its video stream (codec tag {tag:?})")]
    NoDecoder {
        /// The file.
        path: PathBuf,
        /// The codec's four characters as the container gives them.
        tag: String,
    },
    /// The decoder did not start on this stream.
    #[error("{path:?}: the {codec} decoder refuses the stream ({reason})")]
    Decoder {
        /// The file.
        path: PathBuf,
        /// FFmpeg's name of the decoder.
        codec: String,
        /// FFmpeg's message.
        reason: String,
    },
    /// Not one frame of the stream decodes.
    #[error("{path:?}: no frame decodes ({packets} packets, {corrupt} of them refused)")]
    NothingDecodes {
        /// The file.
        path: PathBuf,
        /// Packets of the video stream that could be read.
        packets: usize,
        /// Packets that the decoder refused.
        corrupt: usize,
    },
    /// More of the stream is damaged than [`Limits::max_corrupt`](super::Limits) allows.
    #[error(
        "{path:?}: {corrupt} of {packets} packets are damaged, more than {:.0} % allowed",
        allowed * 100.0
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Packets of the video stream.
        packets: usize,
        /// Packets that were refused or gave a damaged picture.
        corrupt: usize,
        /// The share that is allowed.
        allowed: f64,
    },
    /// A frame beyond the last one was requested.
    #[error("{path:?}: frame {index} was requested, but only {count} frames decode")]
    NoSuchFrame {
        /// The file.
        path: PathBuf,
        /// The requested frame, counted from 0.
        index: usize,
        /// The number of frames that decode.
        count: usize,
    },
    /// The picture is larger than [`Limits::max_pixels`](super::Limits) allows.
    #[error("{path:?}: a picture of {width}x{height} is more than the {max} pixels allowed")]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// The limit, in pixels.
        max: u64,
    },
    /// One of the other limits was reached.
    #[error("{path:?}: {what} exceed the limit of {max}")]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The limited quantity.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// FFmpeg could not allocate the memory that the file claims to need.
    #[error("{path:?}: it asks for more memory than is allowed")]
    Memory {
        /// The file.
        path: PathBuf,
    },
    /// Frames that cannot be encoded.
    #[error("{path:?}: expected {expected}, got {got}")]
    Frames {
        /// The file to be written.
        path: PathBuf,
        /// The sizes, number or rate needed.
        expected: String,
        /// The given values.
        got: String,
    },
    /// FFmpeg failed to encode.
    #[error("{path:?}: {reason}")]
    Encode {
        /// The file to be written.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] disk::Error),
    /// A picture that decodes, but cannot be turned into RGB.
    #[error("{path:?}: frame {index} cannot be converted to RGB ({reason})")]
    Convert {
        /// The file.
        path: PathBuf,
        /// The frame, counted from 0.
        index: usize,
        /// FFmpeg's message.
        reason: String,
    },
}
