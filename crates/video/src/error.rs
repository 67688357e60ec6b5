//! The errors of this crate, with the file.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::Limits;

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
    #[error(
        "{path:?}: its content is {}, which is not opened as a video",
        kind_of(format)
    )]
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
    /// A codec outside [`Limits::codecs`].
    #[error("{path:?}: its codec is {codec}, and only these are decoded: {}", allowed.join(", "))]
    Codec {
        /// The file.
        path: PathBuf,
        /// FFmpeg's name of the decoder.
        codec: String,
        /// The decoders that may be used.
        allowed: &'static [&'static str],
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
    /// More of the stream is damaged than [`Limits::max_damaged`] allows.
    #[error(
        "{path:?}: {damaged} of {packets} packets are damaged, more than max_damaged = {max} \
         allows; {:.2} would do", share(*damaged, *packets)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Packets of the video stream.
        packets: usize,
        /// Packets that were refused or gave a damaged picture.
        damaged: usize,
        /// The share that is allowed.
        max: f64,
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
    /// The stream given to [`Video::open_stream`](super::Video::open_stream) is not a video stream.
    #[error("{path:?}: stream {stream} is not one of its video streams: {streams}")]
    NoSuchStream {
        /// The file.
        path: PathBuf,
        /// The requested stream, as the container counts them, from 0.
        stream: usize,
        /// The video streams.
        streams: String,
    },
    /// The picture is larger than [`Limits::max_pixels`] allows.
    #[error(
        "{path:?}: a picture of {width}x{height} is more than max_pixels = {max} allows; {} would do",
        *width as u64 * *height as u64
    )]
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
    #[error("{path:?}: {what} exceed {limit} = {max}{}", would_do(*needed))]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The limited quantity.
        what: &'static str,
        /// The field of [`Limits`].
        limit: &'static str,
        /// Its value.
        max: u64,
        /// The value that would do, if it is known.
        needed: Option<u64>,
    },
    /// FFmpeg could not allocate the memory that the file claims to need, or may not by
    /// [`Limits::max_memory`].
    #[error("{path:?}: it needs more memory than max_memory = {max} bytes allows{}", would_do(*needed))]
    Memory {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        max: u64,
        /// The value that would do, if it is known.
        needed: Option<u64>,
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

impl Error {
    pub(super) fn memory(path: &Path, limits: &Limits) -> Self {
        Self::Memory {
            path: path.to_path_buf(),
            max: limits.max_memory,
            needed: None,
        }
    }

    /// The field of [`Limits`] that was reached, and a value of it that would do,
    /// if one is known.
    #[must_use]
    pub fn limit(&self) -> Option<(&'static str, Option<String>)> {
        Some(match self {
            Self::TooManyPixels { width, height, .. } => {
                let pixels = *width as u64 * *height as u64;
                ("max_pixels", Some(pixels.to_string()))
            }
            Self::Damaged {
                damaged, packets, ..
            } => {
                let share = share(*damaged, *packets);
                ("max_damaged", Some(format!("{share:.2}")))
            }
            Self::TooMany { limit, needed, .. } => (limit, needed.map(|value| value.to_string())),
            Self::Memory { needed, .. } => ("max_memory", needed.map(|value| value.to_string())),
            _ => return None,
        })
    }
}

/// In whole hundredths, rounded up; 1 at most.
fn share(damaged: usize, packets: usize) -> f64 {
    let hundredths = (100 * damaged).div_ceil(packets.max(1)).min(100);
    hundredths as f64 / 100.0
}

fn would_do(needed: Option<u64>) -> String {
    needed.map_or_else(String::new, |needed| format!("; {needed} would do"))
}

/// A refused format in a user's words, with FFmpeg's name of it.
fn kind_of(format: &str) -> String {
    if let Some(picture) = format.strip_suffix("_pipe") {
        return format!("a picture ({picture})");
    }
    match format {
        "hls" | "concat" | "concatf" | "dash" | "sdp" | "imf" => format!("a playlist ({format})"),
        "mp3" | "wav" | "flac" | "aac" | "ac3" | "aiff" | "au" => format!("sound only ({format})"),
        _ => format!("{format:?}"),
    }
}
