//! `trainer reproduce`: the grid of one table of the paper.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use data::formats::Format;

use crate::paper::{Reported, Table};
use crate::settings::Settings;

/// Run the grid of one table of the paper, and print its numbers beside the paper's.
///
/// Closed-set cells are means over the official splits, few-shot ones over draws of split 1.
/// Finished cells are not run again: the same command resumes where it stopped. --set changes
/// keys of every cell, such as protocol.seeds=[0,1,2] or protocol.split=1.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The table or figure.
    #[arg(value_enum)]
    pub table: Table,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,

    /// The test data set, whose published numbers are printed.
    #[arg(long, value_enum, default_value_t = Reported::Other)]
    pub paper: Reported,

    /// paper, best, or both.
    #[arg(long, default_value = "paper", value_parser = ["paper", "best", "both"])]
    pub preset: String,

    /// Tables 6 and 7: the folder of test videos.
    #[arg(long, value_name = "DIR")]
    pub test_root: Option<PathBuf>,

    /// Tables 6 and 7: its lists.
    #[arg(long, value_name = "DIR")]
    pub test_lists: Option<PathBuf>,

    /// Tables 6 and 7: its data set or layout.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Format::names()))]
    pub test_dataset: Option<String>,

    /// Run and print a part of the cells: i/n, i from 0, auto or auto/n, as `extract --shard`. All parts
    /// together, with one --out, are the table, which the same command without --share prints.
    #[arg(long, value_name = "I/N")]
    pub share: Option<String>,

    /// Folder for the cells' runs.
    #[arg(long, short, value_name = "DIR", default_value = "runs/reproduce")]
    pub out: PathBuf,
}
