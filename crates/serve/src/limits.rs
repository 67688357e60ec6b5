//! The limits on uploads and requests. They are smaller than those of files that a user names on a
//! command line.

use std::time::Duration;

use video::Limits;

/// Bytes of one upload.
pub(crate) const UPLOAD: usize = 32 << 20;
/// Bytes of a request with several clips.
pub(crate) const REQUEST: usize = 256 << 20;
/// Bytes of all uploads that are held at once.
pub(crate) const UPLOADS: usize = 512 << 20;
/// Bytes of the text fields of a form together.
pub(crate) const FIELDS: usize = 256 << 10;
/// Labels of a request, and bytes of one.
pub(crate) const LABELS: usize = 1000;
pub(crate) const LABEL: usize = 128;
/// Runs that are kept, clips of one, and its classes.
pub(crate) const RUNS: usize = 100;
pub(crate) const CLIPS: usize = 500;
pub(crate) const CLASSES: usize = 100;
/// Windows of one timeline.
pub(crate) const WINDOWS: usize = 2000;
/// Time without a byte of a request's body, and for all of it.
pub(crate) const IDLE: Duration = Duration::from_secs(20);
pub(crate) const WHOLE: Duration = Duration::from_secs(120);
/// Time for reading the rest of a body that is refused.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// Time for a request's header, and its size.
pub(crate) const HEADER: Duration = Duration::from_secs(10);
pub(crate) const HEADER_BYTES: usize = 64 << 10;
/// Connections at once.
pub(crate) const CONNECTIONS: usize = 512;
/// Streams at once, seconds of a stream's window, frames that one holds, and bytes of a frame.
pub(crate) const STREAMS: usize = 4;
pub(crate) const STREAM_WINDOW: f64 = 60.0;
pub(crate) const STREAM_FRAMES: usize = 600;
pub(crate) const FRAME_BYTES: usize = 8 << 20;
/// Time without a frame after which a stream is closed.
pub(crate) const STREAM_IDLE: Duration = Duration::from_secs(60);
/// Time for decoding a file, after which the process that does it is killed.
pub(crate) const DECODING: Duration = Duration::from_secs(15);
/// Time for the model's answer to a clip or a window, from when it is asked.
pub(crate) const MODEL: Duration = Duration::from_secs(60);
/// Processor time for decoding a file, in seconds.
pub(crate) const PROCESSOR: u64 = 10;
/// Files that one process decodes before a new one takes its place.
pub(crate) const FILES: usize = 50;
/// Address space of a decoding process beyond that at its start.
pub(crate) const MEMORY: u64 = 1 << 30;

/// The containers of uploads, by FFmpeg's names of them.
const FORMATS: &[&str] = &["mov", "mp4", "avi", "matroska", "webm"];
/// Single pictures, the frames of a stream.
const PICTURES: &[&str] = &["jpeg_pipe", "mjpeg", "png_pipe"];
/// The decoders of uploads.
const CODECS: &[&str] = &[
    "h264", "hevc", "libdav1d", "mjpeg", "mpeg4", "png", "vp8", "vp9",
];

/// The limits on an uploaded video.
pub(crate) fn video() -> Limits {
    Limits {
        max_pixels: 4096 * 2160,
        max_streams: 8,
        max_packets: 20_000,
        max_total_pixels: 2_000_000_000,
        max_memory: 256 << 20,
        probe_size: 1_000_000,
        probe_packets: 500,
        probe_seconds: 2,
        formats: FORMATS,
        codecs: Some(CODECS),
        ..Limits::default()
    }
}

/// The limits on a picture of a stream.
pub(crate) fn picture() -> Limits {
    Limits {
        formats: PICTURES,
        max_packets: 1,
        ..video()
    }
}
