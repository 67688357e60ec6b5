//! Frames from video files.

use std::path::Path;

use crate::clip_source::{ClipError, ClipSource, FrameSink};
use crate::decode::{DecodeError, Limits, Video};
use crate::manifest::Clip;

/// Decodes the manifest's files with FFmpeg.
///
/// Where the manifest has a frame count, decoding stops after the last frame that is wanted;
/// without one a clip is decoded to its end, since headers overstate. So may the counts of a
/// list: where fewer frames decode, it counts for nothing.
#[derive(Clone, Debug, Default)]
pub struct VideoSource {
    limits: Limits,
}

impl VideoSource {
    /// With limits on what a file may ask for.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl ClipSource for VideoSource {
    fn decode(
        &self,
        clip: &Clip,
        path: &Path,
        sink: &mut dyn FrameSink,
    ) -> Result<usize, ClipError> {
        let mut video = Video::open(path, &self.limits)?;
        if let Some(count) = clip.frames {
            match video.show_of(count, sink) {
                Ok(()) => return Ok(count),
                Err(DecodeError::NoSuchFrame { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(video.show(sink)?.frames)
    }
}
