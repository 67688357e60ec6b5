//! Options shared by every command with a configuration.

use std::path::Path;

use anyhow::Result;
use cli::settings::Settings;
use models::{Preset, Row};
use trainer::config::{Checked, Config};
use trainer::paper::Cell;

/// The configuration that the options describe.
pub(crate) trait Configured {
    /// The checked configuration. A row has preset `paper` unless a key names another.
    fn resolve(&self) -> Result<Checked>;

    /// The row of a paper given with `--row`.
    fn cell(&self) -> Result<Option<Cell>>;

    /// Every `key=value`, those of named options last.
    fn overrides(&self) -> Vec<String>;

    /// The file given with `--config`.
    fn file(&self) -> Option<&Path>;
}

impl Configured for Settings {
    fn resolve(&self) -> Result<Checked> {
        let (file, overrides) = (self.file(), self.overrides());
        Ok(match self.cell()? {
            Some(cell) => cell.configure(Preset::Paper, file, &overrides)?,
            None => Config::read(file, &overrides)?,
        })
    }

    fn cell(&self) -> Result<Option<Cell>> {
        let cell = self
            .row
            .as_deref()
            .filter(|name| Row::named(name).is_none());
        Ok(cell.map(Cell::named).transpose()?)
    }

    fn overrides(&self) -> Vec<String> {
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

    fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// `key="value"`, quoted so that it is not parsed as a number or list.
pub(crate) fn setting(key: &str, value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    format!("{key}={quoted}")
}
