//! Limits on a file's resource usage.

/// Limits that keep a file from using unbounded memory or time.
///
/// [`Limits::default`] is meant for files that a user names: hours of video pass. For
/// files from strangers lower `max_packets`, `max_frames` and `max_total_pixels`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Pixels of one picture (width x height).
    pub max_pixels: u64,
    /// Streams of the container, of any kind.
    pub max_streams: usize,
    /// Packets of the video stream.
    pub max_packets: usize,
    /// Frames of the video stream.
    pub max_frames: usize,
    /// Pixels of all decoded pictures together.
    pub max_total_pixels: u64,
    /// Bytes of the frames that one call returns or passes on.
    pub max_returned_bytes: u64,
    /// Bytes that are read to detect a file's format.
    pub probe_size: usize,
    /// Fraction of a stream's packets, 0 to 1, that may be damaged before the whole stream
    /// is considered damaged.
    pub max_corrupt: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 4096 * 4096,
            max_streams: 64,
            max_packets: 10_000_000,
            max_frames: 10_000_000,
            max_total_pixels: 1 << 44,
            max_returned_bytes: 8 << 30,
            probe_size: 5_000_000,
            max_corrupt: 0.2,
        }
    }
}

/// The containers that are opened, by FFmpeg's names of them. Each holds its pictures
/// itself: nothing here can name another file or an address.
pub const FORMATS: &[&str] = &[
    "3gp",
    "apng",
    "asf",
    "avi",
    "dv",
    "flv",
    "gif",
    "h264",
    "hevc",
    "ivf",
    "m4v",
    "matroska",
    "mjpeg",
    "mov",
    "mp4",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "mxf",
    "nut",
    "ogg",
    "rm",
    "webm",
    "yuv4mpegpipe",
];
