//! `trainer report`: finished runs as one HTML page.

use std::path::PathBuf;

use clap::Args;

/// Write finished runs as one self-contained HTML page.
///
/// Accuracy, curves, confusion matrix, classes, the most confident correct and wrong predictions
/// as film strips, and the configuration. It opens without a network.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folders of finished runs.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,

    /// The page; by default report.html in the first run's folder.
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
