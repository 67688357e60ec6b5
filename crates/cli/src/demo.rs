//! `trainer demo`: the built-in experiment.

use std::path::PathBuf;

use clap::Args;

/// Run the built-in experiment: ten motions that single frames cannot distinguish.
///
/// Draws and encodes its videos, trains every row of the ablation on 2, 4, 8 and 16 clips per
/// class, and prints a table and the path of an HTML report. Needs no download. The same command
/// resumes where it stopped.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder of the videos [default: seeing-in-flowing/demo in the user's cache].
    #[arg(long, value_name = "DIR")]
    pub videos: Option<PathBuf>,
    /// Folder of the backbone, made by `trainer pretrain` [default: the one that comes with the
    /// program].
    #[arg(long, value_name = "DIR")]
    pub backbone: Option<PathBuf>,
    /// Folder for results and the report.
    #[arg(long, short, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,
    /// Seed of the scenes.
    #[arg(long, default_value_t = 0)]
    pub scenes: u64,
    /// Training clips per class, one column each.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 4, 8, 16])]
    pub shots: Vec<usize>,
    /// Test clips per class.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=999))]
    pub test_clips: u16,
    /// Draws of training clips to average over.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Updates per training.
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// Learning rate of preset paper (SGD).
    #[arg(long, default_value_t = 0.02)]
    pub paper_rate: f64,
    /// Learning rate of preset best (AdamW).
    #[arg(long, default_value_t = 0.001)]
    pub best_rate: f64,
    /// libtorch threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
}
