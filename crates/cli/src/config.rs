//! `trainer config`: the papers' rows, or a configuration with every key.

use clap::Args;

use crate::settings::Settings;

/// Print the papers' rows with their published numbers, or a configuration.
///
/// Without arguments: the name of every row with the paper's top-1 in per cent (mAP on
/// Charades); `other` is any data set without published numbers. With a row, a file or keys: the
/// resulting configuration, as TOML with every key.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A row, as for --row.
    pub name: Option<String>,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}
