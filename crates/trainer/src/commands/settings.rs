//! Options that every command with a configuration shares.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use trainer::config::{Checked, Config};

/// A configuration: defaults, then a file, then single keys.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// A TOML file; see configs/.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Sets one key, such as train.rate=1e-3; wins over the file. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,

    /// The folder of videos (data.root).
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// The folder of official lists (data.lists).
    #[arg(long, value_name = "DIR")]
    lists: Option<PathBuf>,

    /// ucf101, hmdb51, kinetics400, charades, folder or csv (data.layout).
    #[arg(long, value_name = "KIND")]
    dataset: Option<String>,

    /// The CLIP checkpoint (backbone.weights).
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,

    /// No progress on stderr.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Settings {
    /// The checked configuration.
    pub(crate) fn resolve(&self) -> Result<Checked> {
        Ok(Config::read(self.config.as_deref(), &self.overrides())?)
    }

    /// Every `key=value`, those of named options last.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let mut all = self.settings.clone();
        for (key, path) in [
            ("data.root", &self.root),
            ("data.lists", &self.lists),
            ("backbone.weights", &self.weights),
        ] {
            if let Some(path) = path {
                all.push(setting(key, &path.display().to_string()));
            }
        }
        if let Some(kind) = &self.dataset {
            all.push(setting("data.layout", kind));
        }
        all
    }

    /// The file named with `--config`.
    pub(crate) fn file(&self) -> Option<&std::path::Path> {
        self.config.as_deref()
    }
}

/// `key="value"`, quoted so that no value is taken for a number or a list.
pub(crate) fn setting(key: &str, value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    format!("{key}={quoted}")
}
