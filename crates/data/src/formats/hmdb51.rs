//! HMDB-51 (Kuehne et al., ICCV 2011) with its official lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::collect::Collector;
use super::registry::{Archive, Format, Packing, Published, Reader, Source};
use super::{Found, ReadOptions};
use crate::class_name::ClassName;
use crate::error::{Error, Result};

pub(super) static FORMAT: Format = Format {
    name: "hmdb51",
    title: "HMDB-51",
    reader: Reader::Official(read),
    published: Some(Published {
        clips: "6,766 `.avi`",
        classes: 51,
        several_labels: false,
        splits: "3 of 3,570 / 1,530; the rest is unused by that split",
        terms: "CC BY 4.0",
        citation: "Kuehne et al., ICCV 2011",
        url: "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database",
        table: &[],
        source: Source::Archives {
            url: Some("https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"),
            videos: Archive {
                file: "hmdb51_org.rar",
                packing: Packing::ClassRar,
                folder: "hmdb51",
                // For a while the classes' archives lie beside their videos.
                room: 2,
            },
            lists: Archive {
                file: "test_train_splits.rar",
                packing: Packing::Rar,
                folder: "testTrainMulti_7030_splits",
                room: 1,
            },
        },
    }),
};

/// Reads `root/<class>/<clip>.avi`, and in `lists` the files
/// `<class>_test_split{1,2,3}.txt` whose lines are `file id`, id 1 to train, 2 to test,
/// 0 unused by that split. Classes are in alphabetical order.
///
/// # Errors
/// Lists that are absent or contradict each other, and what `options` refuses.
fn read(root: &Path, lists: &Path, options: ReadOptions) -> Result<Found> {
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

    let mut collector = Collector::new(FORMAT.name, root, lists, options);
    for (split, of_class) in &files {
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (label, (class, list)) in of_class.iter().enumerate() {
            collector.add_lines(list, class, |clip, part, at| {
                match part {
                    Some("0") => {}
                    Some("1") => train.push(clip.id.clone()),
                    Some("2") => test.push(clip.id.clone()),
                    other => {
                        return Err(at.fail(format!(
                            "expected 'file id', id 0 (unused), 1 (train) or 2 (test), got '{}'",
                            other.unwrap_or(&clip.id)
                        )));
                    }
                }
                clip.labels = vec![label];
                // The recording's title comes before the class's name.
                let file = clip.path.file_name().unwrap_or_default().to_string_lossy();
                let end = file.rfind(&format!("_{class}_"));
                clip.group = end.and_then(|end| file.get(..end)).map(str::to_owned);
                Ok(())
            })?;
        }
        collector.add_split(split, train, test);
    }
    let note = format!("HMDB-51 with {} official split(s)", files.len());
    let classes = classes.into_iter().map(ClassName::new).collect();
    collector.finish(classes, vec![note])
}
