//! The labels a user asks for.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Why a list of labels cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// There is not one label.
    #[error("no labels: expected at least one, got none{}", from.as_ref().map(|p| format!(" in {}", p.display())).unwrap_or_default())]
    Empty {
        /// The file that should hold them.
        from: Option<PathBuf>,
    },
    /// A label between two separators is blank.
    #[error("label {position} is blank")]
    Blank {
        /// Its place, from 1.
        position: usize,
    },
    /// A label stands twice.
    #[error("label {label:?} stands twice; each class needs a name of its own")]
    Duplicate {
        /// The label.
        label: String,
    },
    /// The file cannot be read.
    #[error("cannot read labels from {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Distinct, non-blank class names in the order they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// Labels separated by commas: `"archery, juggling balls"`.
    ///
    /// # Errors
    /// [`LabelError`] for none, a blank or a repeated one.
    pub fn parse(list: &str) -> Result<Self, LabelError> {
        if list.trim().is_empty() {
            return Err(LabelError::Empty { from: None });
        }
        Self::checked(list.split(',').map(str::trim))
    }

    /// One label a line; blank lines are passed over, a byte-order mark is dropped.
    ///
    /// # Errors
    /// [`LabelError`] where the file cannot be read, holds none, or one twice.
    pub fn read(path: &Path) -> Result<Self, LabelError> {
        let text = std::fs::read_to_string(path).map_err(|source| LabelError::Unreadable {
            path: path.into(),
            source,
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            return Err(LabelError::Empty {
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

    fn checked<'a>(labels: impl Iterator<Item = &'a str>) -> Result<Self, LabelError> {
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        for (index, label) in labels.enumerate() {
            if label.is_empty() {
                return Err(LabelError::Blank {
                    position: index + 1,
                });
            }
            if !seen.insert(label) {
                return Err(LabelError::Duplicate {
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
            Err(LabelError::Empty { from: None })
        ));
        assert!(matches!(
            Labels::parse("a,,b"),
            Err(LabelError::Blank { position: 2 })
        ));
        assert!(
            matches!(Labels::parse("a,b, a"), Err(LabelError::Duplicate { label }) if label == "a")
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
            Err(LabelError::Empty { from: Some(_) })
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
