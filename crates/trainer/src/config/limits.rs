//! Limits on what a video may cost.

use serde::{Deserialize, Serialize};
use video::Limits;

use super::{at_least, within};
use crate::Result;

/// What a video may cost: the keys of `data.limits`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VideoLimits {
    /// Pixels of one picture, width x height.
    pub max_pixels: u64,

    /// Share of a video's packets that may be damaged, 0 to 1.
    pub max_damaged: f64,

    /// Packets of a video, as a rule one per frame.
    pub max_packets: usize,

    /// Bytes of memory that a video may ask for at once, as for one picture.
    pub max_memory: u64,
}

impl VideoLimits {
    pub(super) fn check(&self) -> Result<()> {
        at_least("data.limits.max_packets", self.max_packets, 1)?;
        within("data.limits.max_damaged", self.max_damaged, 0.0, 1.0)
    }
}

impl Default for VideoLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            max_pixels: limits.max_pixels,
            max_damaged: limits.max_damaged,
            max_packets: limits.max_packets,
            max_memory: limits.max_memory,
        }
    }
}

impl From<cli::VideoLimits> for VideoLimits {
    fn from(limits: cli::VideoLimits) -> Self {
        Self {
            max_pixels: limits.max_pixels,
            max_damaged: limits.max_damaged,
            max_packets: limits.max_packets,
            max_memory: limits.max_memory,
        }
    }
}

impl From<&VideoLimits> for Limits {
    fn from(limits: &VideoLimits) -> Self {
        Self {
            max_pixels: limits.max_pixels,
            max_damaged: limits.max_damaged,
            max_packets: limits.max_packets,
            max_memory: limits.max_memory,
            ..Self::default()
        }
    }
}
