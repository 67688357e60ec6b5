//! Limits on a file's resource usage.

/// Limits that keep a file from using unbounded memory or time. An error names the limit that was
/// reached and the value that would do.
///
/// [`Limits::default`] is meant for files that a user names: hours of video pass, and pictures of
/// 8K. For files from strangers lower `max_packets` and `max_total_pixels`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Pixels of one picture (width x height), 1 or more.
    pub max_pixels: u64,
    /// Streams of the container, of any kind.
    pub max_streams: usize,
    /// Packets of the video stream, of which each holds a picture at most as a rule.
    pub max_packets: usize,
    /// Pixels of all decoded pictures together.
    pub max_total_pixels: u64,
    /// Bytes of the frames that one call returns, of one decoded picture, and of any other
    /// allocation by FFmpeg, such as an index of hours. That last limit is 64 MiB or more, and
    /// FFmpeg has one for the whole process: that of the video opened last.
    pub max_memory: u64,
    /// Bytes that are read to know a file's streams; its format is detected in a quarter of them.
    pub probe_size: usize,
    /// Packets that are read to know a file's streams, and seconds of its time.
    pub probe_packets: usize,
    /// See `probe_packets`.
    pub probe_seconds: usize,
    /// Fraction of a stream's packets, 0 to 1, that may be damaged before the whole stream
    /// is considered damaged.
    pub max_damaged: f64,
    /// The containers that are opened, by FFmpeg's names of them.
    pub formats: &'static [&'static str],
    /// The decoders that may be used, by FFmpeg's names of them; `None` for all.
    pub codecs: Option<&'static [&'static str]>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The largest picture of H.264 and HEVC, level 6.2: 8192 x 4352.
            max_pixels: 8192 * 4352,
            max_streams: 64,
            max_packets: 10_000_000,
            max_total_pixels: 1 << 48,
            max_memory: 1 << 30,
            // FFmpeg's own.
            probe_size: 5_000_000,
            probe_packets: 2500,
            probe_seconds: 5,
            max_damaged: 0.2,
            formats: FORMATS,
            codecs: None,
        }
    }
}

/// The containers that are opened by default, by FFmpeg's names of them. Each holds its pictures
/// itself: nothing here can name another file or an address.
pub const FORMATS: &[&str] = &[
    "3gp",
    "apng",
    "asf",
    "av1",
    "avi",
    "cavsvideo",
    "dirac",
    "dv",
    "flic",
    "flv",
    "gif",
    "gxf",
    "h261",
    "h263",
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
    "nsv",
    "nut",
    "nuv",
    "obu",
    "ogg",
    "pva",
    "rm",
    "ty",
    "vc1",
    "webm",
    "wtv",
    "yuv4mpegpipe",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_every_container() {
        let list = include_str!("../../../packaging/ffmpeg.toml");
        for name in FORMATS {
            // FFmpeg's name of the demuxer of several.
            let demuxer = match *name {
                "3gp" | "mp4" => "mov",
                "mpeg" => "mpegps",
                "webm" => "matroska",
                other => other,
            };
            assert!(list.contains(&format!("\"{demuxer}\"")), "{name}");
        }
    }
}
