//! Limits on what a video may cost.

use clap::Args;
use serde::{Deserialize, Serialize};
use video::Limits;

use super::{at_least, within};
use crate::Result;

/// What a video may cost: the keys of `data.limits`, and switches of the same names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct VideoLimits {
    /// Pixels of one picture, width x height.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub max_pixels: u64,

    /// Share of a video's packets that may be damaged, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = Limits::default().max_damaged,
        value_parser = share)]
    pub max_damaged: f64,

    /// Packets of a video, as a rule one per frame.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_packets)]
    pub max_packets: usize,

    /// Bytes of memory that a video may ask for at once, as for one picture.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_memory,
        value_parser = clap::value_parser!(u64).range(1..))]
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

fn share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse::<f64>().ok();
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1".into())
}
