//! `trainer eval`: test a trained checkpoint.

use std::path::PathBuf;

use clap::Args;

use crate::settings::Settings;

/// Test trained checkpoints, on their own data or on another data set with its own labels.
///
/// The configuration is the checkpoint's, changed by --set and the named options:
/// --set protocol.views=4x3 tests twelve views, and --root with --lists and --dataset, or with
/// --test-list and --class-names, tests other videos.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A run's folder, or that of one of its seeds.
    pub run: PathBuf,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,

    /// Folder for results; by default RUN/eval.
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
