//! Frames from video files.

use std::path::Path;

use crate::clip_source::{ClipError, ClipSource, Decoded};
use crate::decode::{Limits, Video};
use crate::manifest::Clip;

/// Decodes the manifest's files with FFmpeg.
///
/// Where the manifest has a verified frame count, decoding stops after the last frame
/// that is wanted; without one a clip is decoded to its end, since headers overstate.
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
        choose: &dyn Fn(usize) -> Vec<usize>,
    ) -> Result<Decoded, ClipError> {
        let mut video = Video::open(path, &self.limits)?;
        if let Some(count) = clip.frames {
            let frames = video.frames(&choose(count))?;
            return Ok(Decoded { count, frames });
        }
        let sample = video.sample(choose)?;
        Ok(Decoded {
            count: sample.count.frames,
            frames: sample.frames,
        })
    }
}
