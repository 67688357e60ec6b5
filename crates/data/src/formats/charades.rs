//! Charades (Sigurdsson et al., 2016) with its official CSV annotations: several actions a
//! video.

use std::collections::HashMap;
use std::path::Path;

use super::collect::{At, Collector};
use super::{Found, ReadOptions, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;

/// The official annotation files in the folder of lists.
pub const CHARADES_LISTS: [&str; 3] = [
    "Charades_v1_classes.txt",
    "Charades_v1_train.csv",
    "Charades_v1_test.csv",
];

/// Reads Charades: `root/<id>.mp4`, and in `lists` the official `Charades_v1_classes.txt`
/// (`c000 Holding some clothes`), `Charades_v1_train.csv` and `Charades_v1_test.csv`, whose
/// column `actions` holds `class start end` triples in seconds, parted by `;`.
///
/// A clip is a whole video and shows every class that occurs in it; start and end are checked
/// and not kept. A video without an action is left out and counted, as the official
/// evaluation passes it over. The split is named "test".
///
/// # Errors
/// Lists that are absent, malformed or contradict each other, and what `options` refuses.
pub fn charades(root: &Path, lists: &Path, options: ReadOptions) -> Result<Found> {
    let [class_list, train, test] = CHARADES_LISTS.map(|name| lists.join(name));
    let classes = read_classes(&class_list)?;
    let numbers: HashMap<&str, usize> = classes
        .iter()
        .enumerate()
        .map(|(label, (id, _))| (id.as_str(), label))
        .collect();
    let mut collector = Collector::new("charades", root, lists, options);
    let mut parts = [Vec::new(), Vec::new()];
    let mut silent = 0;
    for (list, ids) in [&train, &test].into_iter().zip(&mut parts) {
        for row in read_rows(list, &numbers)? {
            if row.labels.is_empty() {
                silent += 1;
                continue;
            }
            ids.push(row.id.clone());
            collector.add(
                VideoEntry {
                    // Everyone filmed in their own home, many videos each.
                    group: Some(row.subject),
                    ..VideoEntry::new(row.id.clone(), format!("{}.mp4", row.id), row.labels)
                },
                At {
                    list,
                    line: row.line,
                },
            )?;
        }
    }
    let [train, test] = parts;
    let mut notes = vec![format!(
        "Charades: {} training, {} test videos with actions",
        train.len(),
        test.len()
    )];
    if silent > 0 {
        notes.push(format!("{silent} videos show no action and are left out"));
    }
    collector.add_split("test", train, test);
    let names = classes.into_iter().map(|(_, name)| ClassName::new(name));
    collector.finish(names.collect(), notes)
}

/// `c000 Holding some clothes`, a line each.
fn read_classes(list: &Path) -> Result<Vec<(String, String)>> {
    let text = text::read(list)?;
    let mut classes: Vec<(String, String)> = Vec::new();
    for line in text::lines(&text) {
        let at = At {
            list,
            line: line.number,
        };
        let (id, name) = line
            .text
            .split_once(char::is_whitespace)
            .ok_or_else(|| at.fail("expected a class's id and its name"))?;
        if classes.iter().any(|(known, _)| known == id) {
            return Err(at.fail(format!("class '{id}' is there twice")));
        }
        classes.push((id.into(), name.trim().into()));
    }
    if classes.is_empty() {
        return Err(Error::Content {
            path: list.into(),
            what: "names no class".into(),
        });
    }
    Ok(classes)
}

struct Row {
    id: String,
    subject: String,
    labels: Vec<usize>,
    line: usize,
}

fn read_rows(list: &Path, classes: &HashMap<&str, usize>) -> Result<Vec<Row>> {
    let text = text::read(list)?;
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let fail = |error: &csv::Error| Error::Line {
        path: list.into(),
        line: error
            .position()
            .map_or(1, |at| usize::try_from(at.line()).unwrap_or(0)),
        what: error.to_string(),
    };
    let header = reader.headers().map_err(|error| fail(&error))?.clone();
    let column = |name: &str| {
        let place = header.iter().position(|column| column.trim() == name);
        place.ok_or_else(|| Error::Line {
            path: list.into(),
            line: 1,
            what: format!("there is no column '{name}'; expected id, subject and actions"),
        })
    };
    let (id, subject, actions) = (column("id")?, column("subject")?, column("actions")?);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| fail(&error))?;
        let line = record
            .position()
            .map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
        let at = At { list, line };
        let field = |column: usize| record.get(column).unwrap_or_default().trim();
        let name = field(id);
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(at.fail(format!("expected a video's id, got '{name}'")));
        }
        rows.push(Row {
            id: name.into(),
            subject: field(subject).into(),
            labels: labels(field(actions), classes, at)?,
            line,
        });
    }
    Ok(rows)
}

/// `c092 11.90 21.20;c147 0.00 12.60` to rising labels, each once.
fn labels(actions: &str, classes: &HashMap<&str, usize>, at: At<'_>) -> Result<Vec<usize>> {
    let mut labels = Vec::new();
    for action in actions.split(';').filter(|text| !text.trim().is_empty()) {
        let parts: Vec<&str> = action.split_whitespace().collect();
        let [class, start, end] = parts.as_slice() else {
            return Err(at.fail(format!("expected 'class start end', got '{action}'")));
        };
        for time in [start, end] {
            let seconds = time.parse::<f64>().ok();
            if seconds.is_none_or(|seconds| !seconds.is_finite() || seconds < 0.0) {
                return Err(at.fail(format!("expected seconds, got '{time}'")));
            }
        }
        let label = classes.get(class).copied();
        labels.push(label.ok_or_else(|| at.fail(format!("'{class}' is not a listed class")))?);
    }
    labels.sort_unstable();
    labels.dedup();
    Ok(labels)
}
