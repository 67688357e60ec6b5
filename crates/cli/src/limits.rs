//! Options about the cost of a video.

use clap::Args;

/// The most that a video may cost.
#[derive(Debug, Clone, Args)]
pub struct VideoLimits {
    /// Pixels of one picture, width x height.
    #[arg(long, value_name = "N", default_value_t = 35_651_584,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub max_pixels: u64,

    /// Share of a video's packets that may be damaged, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    pub max_damaged: f64,

    /// Packets of a video, as a rule one per frame.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub max_packets: usize,

    /// Bytes of memory that a video may ask for at once, as for one picture.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub max_memory: u64,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok();
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1".into())
}
