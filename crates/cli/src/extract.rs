//! `trainer extract`: compute frame features ahead of training.

use clap::Args;

use crate::settings::Settings;

/// Compute and cache the frame features that a configuration's training and tests need.
///
/// Training does this itself; this command can split the work over several processes. Cached
/// features are not computed again.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,

    /// This process's part of the work: i/n, i from 0; auto in a Slurm array or under a launcher that
    /// sets RANK and WORLD_SIZE; auto/n in one of n tasks of Slurm, a Kubernetes Indexed Job or HyperQueue.
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    pub shard: String,
}
