//! `trainer pretrain`: makes the demo's backbone.

use std::path::PathBuf;

use clap::Args;

/// Pre-train the demo's small CLIP on captioned stills (minutes on a CPU).
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder for the checkpoint, in Hugging Face's layout.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Seed of the first weights and of the stills.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Updates.
    #[arg(long, default_value_t = 6000)]
    pub steps: u64,
    /// Pictures per batch.
    #[arg(long, default_value_t = 128)]
    pub batch: usize,
    /// Highest learning rate.
    #[arg(long, default_value_t = 0.001)]
    pub rate: f64,
    /// libtorch threads; pictures are drawn on another one. Their number affects rounding, and so
    /// the weights.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=256))]
    pub threads: i32,
}
