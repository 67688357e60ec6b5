//! `trainer info`: parameters and operations, as the paper counts them and actual.

use clap::Args;

/// Print parameters and operations of each preset on each data set of the paper.
#[derive(Debug, Args)]
pub struct Arguments {}
