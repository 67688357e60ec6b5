//! `trainer check-videos`: decode every video once, before training.

use std::path::PathBuf;

use clap::Args;

use crate::settings::Settings;

/// Decode every video of a data set completely and list the bad ones.
///
/// A video is bad if it is missing, empty, undecodable or truncated (fewer than three quarters of
/// the frames in its header can be decoded). One with fewer frames than data.frames is named and
/// used: its frames repeat, in training as well. The list is for data.skip_list; in a prepared folder it is skip.txt, which is used automatically, and
/// the frame counts are added to the manifest. Checked videos are recorded beside the list, so
/// the same command resumes where it stopped. The keys data.limits.max_pixels, max_damaged,
/// max_packets and max_memory bound what a video may cost, here as in training.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,

    /// The list [default: skip.txt, in the prepared folder or the working directory].
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
