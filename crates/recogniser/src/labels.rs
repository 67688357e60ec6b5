//! The labels given by a user.

use std::collections::HashSet;
use std::path::Path;

use crate::{Error, Result};

/// Distinct, non-empty class names in the order they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// Comma-separated labels: `"archery, juggling balls"`.
    ///
    /// # Errors
    /// There is none, or one is empty or repeated.
    pub fn parse(list: &str) -> Result<Self> {
        if list.trim().is_empty() {
            return Err(Error::NoLabels { from: None });
        }
        Self::checked(list.split(',').map(str::trim))
    }

    /// One label per line; empty lines and a byte-order mark are skipped.
    ///
    /// # Errors
    /// The file cannot be read, holds none, or one appears twice.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(disk::Error::of("cannot read labels from", path))?;
        let text = text.trim_start_matches('\u{feff}');
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            return Err(Error::NoLabels {
                from: Some(path.into()),
            });
        }
        Self::checked(lines.into_iter())
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    fn checked<'a>(labels: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        for (index, label) in labels.enumerate() {
            if label.is_empty() {
                return Err(Error::EmptyLabel {
                    position: index + 1,
                });
            }
            if !seen.insert(label) {
                return Err(Error::RepeatedLabel {
                    label: label.into(),
                });
            }
            names.push(label.to_owned());
        }
        Ok(Self(names))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn commas_separate_and_spaces_do_not_count() {
        let labels = Labels::parse(" archery, juggling balls ,日本").unwrap();
        assert_eq!(labels.names(), ["archery", "juggling balls", "日本"]);
    }

    #[test]
    fn what_names_no_class_is_refused() {
        assert!(matches!(
            Labels::parse("  "),
            Err(Error::NoLabels { from: None })
        ));
        assert!(matches!(
            Labels::parse("a,,b"),
            Err(Error::EmptyLabel { position: 2 })
        ));
        assert!(
            matches!(Labels::parse("a,b, a"), Err(Error::RepeatedLabel { label }) if label == "a")
        );
    }

    #[test]
    fn a_file_holds_one_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, "\u{feff}walk, slowly\r\n\r\nrun\r\n").unwrap();
        assert_eq!(
            Labels::read(&path).unwrap().names(),
            ["walk, slowly", "run"]
        );
        std::fs::write(&path, "\n \n").unwrap();
        assert!(matches!(
            Labels::read(&path),
            Err(Error::NoLabels { from: Some(_) })
        ));
        let missing = folder.path().join("none");
        assert!(
            Labels::read(&missing)
                .unwrap_err()
                .to_string()
                .contains("none")
        );
    }
}
