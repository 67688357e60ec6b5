//! Options shared by every command with a configuration.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use data::formats::Format;

/// A configuration: defaults, then a file, then a row of a paper, then single keys.
#[derive(Debug, Args)]
pub struct Settings {
    /// A TOML file, such as the config.toml of a run.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A row of a paper, such as table5/ucf101/k-16-mmb-map-mcb, as `trainer config` lists them; or a
    /// model alone, such as full, probe or gda (model.row).
    #[arg(long, value_name = "NAME")]
    pub row: Option<String>,

    /// Sets a key, such as train.learning_rate=1e-3; overrides file and row. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,

    /// The folder of videos (data.root).
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// The folder of official lists, or a list of your own videos (data.lists).
    #[arg(long, value_name = "PATH")]
    pub lists: Option<PathBuf>,

    /// A list of your own training videos (data.train_list).
    #[arg(long, value_name = "FILE")]
    pub train_list: Option<PathBuf>,

    /// A list of your own test videos (data.test_list).
    #[arg(long, value_name = "FILE")]
    pub test_list: Option<PathBuf>,

    /// A table of class names, for lists with numbers (data.class_table).
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,

    /// The columns of your own table, such as video=clip,label=word (data.columns).
    #[arg(long, value_name = "video=NAME,label=NAME")]
    pub columns: Option<String>,

    /// The data set or layout (data.layout).
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Format::names()))]
    pub dataset: Option<String>,

    /// The CLIP checkpoint (backbone.weights).
    #[arg(long, value_name = "PATH")]
    pub weights: Option<PathBuf>,

    /// The architecture of weights without a configuration (backbone.architecture): ViT-B-32,
    /// ViT-B-16, ViT-L-14, ViT-L-14-336, each also with -gelu, or the path of the model's
    /// config.json.
    #[arg(long, value_name = "NAME")]
    pub architecture: Option<String>,

    /// Threads for decoding and computing [default: OMP_NUM_THREADS, or the processors this process may use] (threads).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}
