//! Options shared by every command with a configuration.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use data::formats::Format;
use models::{Preset, Row};
use trainer::config::{Checked, Config};
use trainer::paper::Cell;

/// A configuration: defaults, then a file, then a row of a paper, then single keys.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// A TOML file, such as the config.toml of a run.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A row of a paper, such as table5/ucf101/k-16-mmb-map-mcb, as `trainer config` lists them; or a
    /// model alone, such as full, probe or gda (model.row).
    #[arg(long, value_name = "NAME")]
    pub(crate) row: Option<String>,

    /// Sets a key, such as train.learning_rate=1e-3; overrides file and row. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,

    /// The folder of videos (data.root).
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// The folder of official lists, or a list of your own videos (data.lists).
    #[arg(long, value_name = "PATH")]
    lists: Option<PathBuf>,

    /// A list of your own training videos (data.train_list).
    #[arg(long, value_name = "FILE")]
    train_list: Option<PathBuf>,

    /// A list of your own test videos (data.test_list).
    #[arg(long, value_name = "FILE")]
    test_list: Option<PathBuf>,

    /// A table of class names, for lists with numbers (data.class_table).
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,

    /// The columns of your own table, such as video=clip,label=word (data.columns).
    #[arg(long, value_name = "video=NAME,label=NAME")]
    columns: Option<String>,

    /// The data set or layout (data.layout).
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Format::names()))]
    dataset: Option<String>,

    /// The CLIP checkpoint (backbone.weights).
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,

    /// The architecture of weights without a configuration (backbone.architecture): ViT-B-32,
    /// ViT-B-16, ViT-L-14, ViT-L-14-336, each also with -gelu, or the path of the model's
    /// config.json.
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,

    /// Threads for decoding and computing [default: OMP_NUM_THREADS, or the processors this process may use] (threads).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// No progress on stderr.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Settings {
    /// The checked configuration. A row has preset `paper` unless a key names another.
    pub(crate) fn resolve(&self) -> Result<Checked> {
        let (file, overrides) = (self.file(), self.overrides());
        Ok(match self.cell()? {
            Some(cell) => cell.configure(Preset::Paper, file, &overrides)?,
            None => Config::read(file, &overrides)?,
        })
    }

    /// The row of a paper given with `--row`.
    pub(crate) fn cell(&self) -> Result<Option<Cell>> {
        let cell = self
            .row
            .as_deref()
            .filter(|name| Row::named(name).is_none());
        Ok(cell.map(Cell::named).transpose()?)
    }

    /// Every `key=value`, those of named options last.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let model = self
            .row
            .as_deref()
            .filter(|name| Row::named(name).is_some());
        let mut all: Vec<String> = model
            .map(|key| setting("model.row", key))
            .into_iter()
            .collect();
        all.extend(self.settings.iter().cloned());
        for (key, path) in [
            ("data.root", &self.root),
            ("data.lists", &self.lists),
            ("data.train_list", &self.train_list),
            ("data.test_list", &self.test_list),
            ("data.class_table", &self.class_names),
            ("backbone.weights", &self.weights),
        ] {
            if let Some(path) = path {
                all.push(setting(key, &path.display().to_string()));
            }
        }
        for (key, text) in [
            ("backbone.architecture", &self.architecture),
            ("data.layout", &self.dataset),
            ("data.columns", &self.columns),
        ] {
            if let Some(text) = text {
                all.push(setting(key, text));
            }
        }
        all.extend(self.threads.map(|threads| format!("threads={threads}")));
        all
    }

    /// The file given with `--config`.
    pub(crate) fn file(&self) -> Option<&std::path::Path> {
        self.config.as_deref()
    }
}

/// `key="value"`, quoted so that it is not parsed as a number or list.
pub(crate) fn setting(key: &str, value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    format!("{key}={quoted}")
}
