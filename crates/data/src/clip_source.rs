//! Where frames come from: video files, or whatever a test makes up.

use std::path::Path;

use crate::frame::Frame;
use crate::manifest::Clip;

/// What a clip could not be decoded for.
pub type ClipError = Box<dyn std::error::Error + Send + Sync>;

/// Frames of a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// How many frames of the clip can be decoded.
    pub count: usize,
    /// The frames chosen for that count.
    pub frames: Vec<Frame>,
}

/// Decodes clips; called from many threads at once.
pub trait ClipSource: Send + Sync {
    /// The frames of `clip`, whose file is `path`, that `choose` names when told how many
    /// can be decoded: rising indices below that count, each once; none of none.
    ///
    /// # Errors
    /// The clip cannot be decoded.
    fn decode(
        &self,
        clip: &Clip,
        path: &Path,
        choose: &dyn Fn(usize) -> Vec<usize>,
    ) -> Result<Decoded, ClipError>;
}
