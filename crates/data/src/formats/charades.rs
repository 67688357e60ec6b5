//! Charades (Sigurdsson et al., 2016) with its official CSV annotations: several actions a
//! video.

use std::collections::HashMap;
use std::path::Path;

use super::collect::{At, Collector};
use super::registry::{Archive, Endings, Format, Packing, Published, Reader, Source};
use super::{Found, ReadOptions, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;
use crate::names::{counted, named};

pub(super) static FORMAT: Format = Format {
    name: "charades",
    title: "Charades",
    reader: Reader::Official(read),
    published: Some(Published {
        clips: "9,848 `.mp4`",
        classes: 157,
        several_labels: true,
        splits: "7,985 / 1,863",
        terms: "non-commercial use",
        citation: "Sigurdsson et al., ECCV 2016",
        url: "https://prior.allenai.org/projects/charades",
        table: &["id", "subject", "actions"],
        source: Source::Archives {
            url: Some("https://ai2-public-datasets.s3-us-west-2.amazonaws.com/charades"),
            videos: Archive {
                file: "Charades_v1_480.zip",
                packing: Packing::Zip(Endings {
                    required: &[".mp4"],
                    optional: &[],
                }),
                folder: "Charades_v1_480",
                room: 1,
            },
            lists: Archive {
                file: "Charades.zip",
                packing: Packing::Zip(Endings {
                    required: &LISTS,
                    optional: &[],
                }),
                folder: "Charades",
                room: 1,
            },
        },
    }),
};

/// The official annotation files.
const LISTS: [&str; 3] = [
    "Charades_v1_classes.txt",
    "Charades_v1_train.csv",
    "Charades_v1_test.csv",
];

/// Reads `root/<id>.mp4`, and in `lists` the official `Charades_v1_classes.txt`
/// (`c000 Holding some clothes`), `Charades_v1_train.csv` and `Charades_v1_test.csv`, whose
/// column `actions` holds `class start end` triples in seconds, separated by `;`.
///
/// A clip is a whole video and shows every class that occurs in it; start and end are checked
/// and not kept. A video without an action is left out and counted, as in the official
/// evaluation. The split is named "test".
///
/// # Errors
/// Lists that are absent, malformed or contradict each other, and what `options` refuses.
fn read(root: &Path, lists: &Path, options: ReadOptions) -> Result<Found> {
    let [class_list, train, test] = LISTS.map(|name| lists.join(name));
    let classes = read_classes(&class_list)?;
    let numbers: HashMap<&str, usize> = classes
        .iter()
        .enumerate()
        .map(|(label, (id, _))| (id.as_str(), label))
        .collect();
    let mut collector = Collector::new(FORMAT.name, root, lists, options);
    let mut parts = [Vec::new(), Vec::new()];
    let mut without = Vec::new();
    for (list, ids) in [&train, &test].into_iter().zip(&mut parts) {
        for (line, [id, subject, actions]) in text::csv_rows(list, ["id", "subject", "actions"])? {
            let at = At { list, line };
            at.check_id(&id)?;
            let labels = labels(&actions, &numbers, at)?;
            if labels.is_empty() {
                without.push(id);
                continue;
            }
            ids.push(id.clone());
            let path = format!("{id}.mp4");
            let clip = VideoEntry {
                // Everyone filmed in their own home, many videos each.
                group: Some(subject),
                ..VideoEntry::new(id, path, labels)
            };
            collector.add(clip, at)?;
        }
    }
    let [train, test] = parts;
    let mut notes = vec![format!(
        "Charades: {} training, {} test videos with actions",
        train.len(),
        test.len()
    )];
    if !without.is_empty() {
        notes.push(format!(
            "{} left out, without an action: {}",
            counted(without.len(), "video"),
            named(&without)
        ));
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
            return Err(at.fail(format!("class '{id}' appears twice")));
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
