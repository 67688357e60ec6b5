//! Where frames come from: video files, or whatever a test makes up.

use std::path::Path;

use crate::manifest::Clip;
use crate::rows::Rows;

/// What a clip could not be decoded for.
pub type ClipError = Box<dyn std::error::Error + Send + Sync>;

/// Takes frames of a clip while they are decoded, so that none need be held that is not used.
pub trait FrameSink {
    /// The frames wanted when so many can be decoded: rising indices below `count`, each once;
    /// none of none. May be asked again, of another number or the same: what was taken before
    /// then counts for nothing.
    fn choose(&mut self, count: usize) -> Vec<usize>;

    /// Takes the frame of this index, shown at `time` (seconds): those chosen, in their order.
    fn take(&mut self, index: usize, time: f64, picture: &mut dyn Rows);
}

/// Decodes clips; called from many threads at once.
pub trait ClipSource: Send + Sync {
    /// Hands the frames of `clip`, whose file is `path`, that `sink` chooses to it; the number
    /// of frames that can be decoded, which was the last that `sink` was told.
    ///
    /// # Errors
    /// The clip cannot be decoded.
    fn decode(
        &self,
        clip: &Clip,
        path: &Path,
        sink: &mut dyn FrameSink,
    ) -> Result<usize, ClipError>;
}
