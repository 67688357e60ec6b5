//! `trainer train`: train and test every seed of a configuration.

use std::path::PathBuf;

use clap::Args;

use crate::settings::Settings;

/// Train and test every seed of a configuration.
///
/// Features that are not cached are computed first. The same command resumes where it stopped;
/// finished seeds are not repeated, and a folder with a run on other inputs is refused. Ctrl-C stops after a checkpoint, a second one immediately.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,

    /// The run's folder; by default runs/NAME.
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Train anew; an earlier run in the folder becomes DIR.1.
    #[arg(long)]
    pub again: bool,

    /// Train with the processes that Open MPI, MPICH or Slurm has started. Those of torchrun, and all that
    /// have RANK and WORLD_SIZE, train together without it.
    #[arg(long)]
    pub distributed: bool,
}
