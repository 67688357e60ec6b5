//! Sources of frames: video files, or a test's own source.

use std::path::Path;

use video::{FrameSink, Limits, Video};

/// The reason why a clip could not be decoded.
pub type ClipError = Box<dyn std::error::Error + Send + Sync>;

/// Decodes clips; called from many threads at once.
pub trait ClipSource: Send + Sync {
    /// Passes the frames of the file `path` that `sink` selects to it, and returns the number of
    /// decodable frames, the last number `sink` was told. `frames` is that number
    /// if the data set has it.
    ///
    /// # Errors
    /// The clip cannot be decoded.
    fn decode(
        &self,
        path: &Path,
        frames: Option<usize>,
        sink: &mut dyn FrameSink,
    ) -> Result<usize, ClipError>;
}

/// Video files, decoded with FFmpeg.
///
/// If the number of frames is known, decoding stops after the last frame needed;
/// otherwise a clip is decoded to its end, since headers overstate. So may the counts of a list:
/// if fewer frames decode, it is ignored.
#[derive(Clone, Debug, Default)]
pub struct VideoFiles {
    /// Limits on the resources of a file.
    pub limits: Limits,
    /// The index of the video stream, instead of the film's.
    pub stream: Option<usize>,
}

impl VideoFiles {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`Video::open_stream`].
    pub fn open(&self, path: &Path) -> Result<Video, video::Error> {
        Video::open_stream(path, &self.limits, self.stream)
    }
}

impl ClipSource for VideoFiles {
    fn decode(
        &self,
        path: &Path,
        frames: Option<usize>,
        sink: &mut dyn FrameSink,
    ) -> Result<usize, ClipError> {
        let mut video = self.open(path)?;
        if let Some(count) = frames {
            match video.show_of(count, sink) {
                Ok(()) => return Ok(count),
                Err(video::Error::NoSuchFrame { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(video.show(sink)?.frames)
    }
}
