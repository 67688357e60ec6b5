//! The labels given by a user.

use std::path::Path;

use data::formats::{comma_separated, read_class_index};
use data::twins;

use crate::{Error, Result};

/// Names of columns, none of which is an action.
const HEADERS: [&str; 7] = ["name", "names", "label", "labels", "class", "classes", "id"];

/// Distinct, non-empty class names in the order they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// Comma-separated labels: `"archery, juggling balls"`. One with a comma goes into double
    /// quotes: `"\"walk, slowly\", run"`.
    ///
    /// # Errors
    /// There is none, or one is empty, or two are one class.
    pub fn parse(list: &str) -> Result<Self> {
        let names = comma_separated(list);
        if names.iter().all(String::is_empty) {
            return Err(Error::NoLabels { from: None });
        }
        if let Some(index) = names.iter().position(String::is_empty) {
            return Err(Error::EmptyLabel {
                position: index + 1,
            });
        }
        if let Some((one, other)) = twins(names.iter().map(String::as_str)) {
            let name = |place: usize| names.get(place).cloned().unwrap_or_default();
            return Err(Error::RepeatedLabel {
                one: name(one),
                other: name(other),
            });
        }
        Ok(Self(names))
    }

    /// One label per line, or a table of class names in any form of [`read_class_index`], in order
    /// of its numbers.
    ///
    /// # Errors
    /// The file cannot be read, holds none, or two are one class; or it is another table.
    pub fn read(path: &Path) -> Result<Self> {
        let classes = read_class_index(path)?.into_values();
        let names: Vec<String> = classes.map(|name| name.raw().to_owned()).collect();
        match names.as_slice() {
            [first, _, ..] if HEADERS.contains(&first.to_lowercase().as_str()) => {
                Err(Error::Header {
                    path: path.into(),
                    label: first.clone(),
                })
            }
            _ => Ok(Self(names)),
        }
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
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
        let labels = Labels::parse("\"walk, slowly\", run").unwrap();
        assert_eq!(labels.names(), ["walk, slowly", "run"]);
    }

    #[test]
    fn a_column_name_is_not_a_class() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, "label\nrun\nwalk\n").unwrap();
        let error = Labels::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("'label'") && error.contains("column"),
            "{error}"
        );
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
        assert!(matches!(
            Labels::parse("HAND STAND,b, hand_stand"),
            Err(Error::RepeatedLabel { one, other }) if one == "HAND STAND" && other == "hand_stand"
        ));
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
        for (table, names) in [
            (
                "id,name\r\n1,\"walk, slowly\"\r\n0,run\r\n",
                ["run", "walk, slowly"],
            ),
            ("{\"1\": \"walk\", \"0\": \"run\"}", ["run", "walk"]),
            ("[\"walk\", \"run\"]", ["walk", "run"]),
        ] {
            std::fs::write(&path, table).unwrap();
            assert_eq!(Labels::read(&path).unwrap().names(), names);
        }
        for (text, said) in [
            ("\n \n", "names no class"),
            ("walk\nHAND STAND\nhand stand\n", "'HAND STAND' of line 2"),
            ("a.mp4 0\nb.mp4 1\n", "a list of clips"),
            (
                "file\tclip\na\tb\n",
                "a table of the columns 'file', 'clip'",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Labels::read(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let missing = folder.path().join("none");
        assert!(
            Labels::read(&missing)
                .unwrap_err()
                .to_string()
                .contains("none")
        );
    }
}
