//! HMDB-51 (Kuehne et al., ICCV 2011) with its official lists.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::collect::{At, Collector, path_id, relative};
use super::{Found, ReadOptions, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;

/// Reads HMDB-51: `root/<class>/<clip>.avi`, and in `lists` the files
/// `<class>_test_split{1,2,3}.txt` whose lines are `file id`, id 1 to train, 2 to test,
/// 0 unused by that split. Classes are in alphabetical order.
///
/// # Errors
/// Lists that are absent or contradict each other, and what `options` refuses.
pub fn hmdb51(root: &Path, lists: &Path, options: ReadOptions) -> Result<Found> {
    let mut files: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(lists).map_err(Error::io("cannot list", lists))? {
        let entry = entry.map_err(Error::io("cannot list", lists))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((class, split)) = name
            .strip_suffix(".txt")
            .and_then(|name| name.rsplit_once("_test_split"))
        else {
            continue;
        };
        files
            .entry(split.into())
            .or_default()
            .insert(class.into(), entry.path());
    }
    if files.is_empty() {
        return Err(Error::Content {
            path: lists.into(),
            what: "holds no file <class>_test_split1.txt".into(),
        });
    }
    let mut classes: Vec<&String> = files.values().flat_map(BTreeMap::keys).collect();
    classes.sort();
    classes.dedup();
    for (split, of_class) in &files {
        if let Some(class) = classes.iter().find(|class| !of_class.contains_key(**class)) {
            return Err(Error::Content {
                path: lists.into(),
                what: format!("there is no {class}_test_split{split}.txt"),
            });
        }
    }

    let mut collector = Collector::new("hmdb51", root, lists, options);
    for (split, of_class) in &files {
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (label, (class, list)) in of_class.iter().enumerate() {
            let mut first_lines = HashMap::new();
            let text = text::read(list)?;
            for line in text::lines(&text) {
                let at = At {
                    list,
                    line: line.number,
                };
                let (file, part) = line
                    .text
                    .rsplit_once(char::is_whitespace)
                    .ok_or_else(|| at.fail(format!("expected 'file id', got '{}'", line.text)))?;
                let file = file.trim_end();
                let path = relative(root, &format!("{class}/{file}"), at)?;
                let id = path_id(&path);
                if let Some(first_line) = first_lines.insert(id.clone(), line.number) {
                    return Err(Error::DuplicateClip {
                        path: list.clone(),
                        id,
                        first_line,
                        line: line.number,
                    });
                }
                // The recording's title stands before the class's name.
                let group = file
                    .rfind(&format!("_{class}_"))
                    .and_then(|end| file.get(..end))
                    .map(str::to_owned);
                match part {
                    "0" => {}
                    "1" => train.push(id.clone()),
                    "2" => test.push(id.clone()),
                    other => {
                        return Err(at.fail(format!(
                            "expected id 0 (unused), 1 (train) or 2 (test), got '{other}'"
                        )));
                    }
                }
                collector.add(
                    VideoEntry {
                        group,
                        ..VideoEntry::new(id, path, vec![label])
                    },
                    at,
                )?;
            }
        }
        collector.add_split(split, train, test);
    }
    let note = format!("HMDB-51 with {} official split(s)", files.len());
    let classes = classes.into_iter().map(ClassName::new).collect();
    collector.finish(classes, vec![note])
}
