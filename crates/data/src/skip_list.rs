//! Clips known to be bad: a check of all videos writes the list, the loader leaves them out.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::formats::text;

/// Ids of bad clips, each with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkipList(BTreeMap<String, String>);

impl SkipList {
    /// Nothing is skipped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a clip. Line breaks and tabs in the reason become spaces.
    pub fn insert(&mut self, id: impl Into<String>, reason: &str) {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        self.0.insert(id.into(), reason);
    }

    /// Why the clip is skipped; `None` where it is not.
    #[must_use]
    pub fn reason(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }

    /// Ids and reasons in order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(id, reason)| (id.as_str(), reason.as_str()))
    }

    /// Clips in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is skipped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads lines of `id`, a tab, and a reason.
    ///
    /// # Errors
    /// The file cannot be read, or a line has no tab.
    pub fn load(path: &Path) -> Result<Self> {
        let text = text::read(path)?;
        let mut list = Self::new();
        for line in text::lines(&text) {
            let (id, reason) = line.text.split_once('\t').ok_or_else(|| Error::Line {
                path: path.into(),
                line: line.number,
                what: format!("expected 'id<tab>reason', got '{}'", line.text),
            })?;
            list.insert(id, reason);
        }
        Ok(list)
    }

    /// Writes the list, whole or not at all.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = String::from("# Clips that are left out: id, tab, reason.\n");
        for (id, reason) in self.iter() {
            // A line has to have its tab after its end was trimmed, too.
            let reason = if reason.is_empty() { "bad" } else { reason };
            text.push_str(&format!("{id}\t{reason}\n"));
        }
        Ok(disk::write(path, text.as_bytes())?)
    }
}
