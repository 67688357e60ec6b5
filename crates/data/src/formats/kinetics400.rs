//! Kinetics-400 (Kay et al., 2017) with its official CSV lists.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::collect::{At, Collector, check_link};
use super::content::claims_video;
use super::registry::{Format, Published, Reader, Shards, Source};
use super::{Found, Missing, ReadOptions, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;

/// How deep below the root clips are looked for: `train/<label>/<clip>`.
const DEPTH: usize = 3;

pub(super) static FORMAT: Format = Format {
    name: "kinetics400",
    title: "Kinetics-400",
    reader: Reader::Official(read),
    published: Some(Published {
        clips: "about 240,000 + 19,900",
        classes: 400,
        several_labels: false,
        splits: "train / val",
        terms: "clips belong to their uploaders",
        citation: "Kay et al., 2017",
        url: "https://github.com/cvdfoundation/kinetics-dataset",
        table: &["youtube_id", "time_start", "time_end"],
        source: Source::Shards(Shards {
            url: "https://s3.amazonaws.com/kinetics/400",
            prefix: "k400",
        }),
    }),
};

/// Reads CSV lists, one of which may be absent, with the columns `label`, `youtube_id`,
/// `time_start`, `time_end`; clips named `<id>_<start>_<end>.<ext>` (numbers with or without
/// leading zeros) anywhere up to three folders below `root`, so in `<label>/`, in one flat
/// folder, or in `train/` and `val/`. The split is named "val".
///
/// # Errors
/// Lists that are absent, cannot be read or contradict each other, and what `options` refuses.
fn read(root: &Path, lists: &Path, options: ReadOptions) -> Result<Found> {
    let mut rows = Vec::new();
    let found = ["train", "val"].map(|part| Shards::list(lists, part));
    if found == [None, None] {
        return Err(Error::Content {
            path: lists.into(),
            what: "holds neither train.csv nor val.csv".into(),
        });
    }
    let mut parts = [Vec::new(), Vec::new()];
    for (list, ids) in found.iter().zip(&mut parts) {
        let Some(list) = list else { continue };
        for row in read_csv(list)? {
            ids.push(row.id.clone());
            rows.push((list, row));
        }
    }
    let mut names: Vec<String> = rows.iter().map(|(_, row)| row.label.clone()).collect();
    names.sort();
    names.dedup();
    let labels: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(label, name)| (name.as_str(), label))
        .collect();

    let mut on_disk = match options.missing {
        Missing::Unchecked => HashMap::new(),
        _ => index(root, options.follow_links)?,
    };
    let mut collector = Collector::new(FORMAT.name, root, lists, options);
    for (list, Row { id, label, line }) in rows {
        let path = on_disk
            .remove(&id)
            .unwrap_or_else(|| PathBuf::from(format!("{id}.mp4")));
        let label = labels.get(label.as_str()).copied().unwrap_or_default();
        collector.add(VideoEntry::new(id, path, vec![label]), At { list, line })?;
    }
    let [train, val] = parts;
    let note = format!(
        "Kinetics-400: {} training, {} validation rows",
        train.len(),
        val.len()
    );
    collector.add_split("val", train, val);
    collector.finish(names.iter().map(ClassName::new).collect(), vec![note])
}

struct Row {
    id: String,
    label: String,
    line: usize,
}

fn read_csv(list: &Path) -> Result<Vec<Row>> {
    let columns = ["label", "youtube_id", "time_start", "time_end"];
    let mut rows = Vec::new();
    for (line, [label, youtube_id, start, end]) in text::csv_rows(list, columns)? {
        let at = At { list, line };
        at.check_id(&youtube_id)?;
        if label.is_empty() {
            return Err(at.fail("expected a label, got nothing"));
        }
        let seconds = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| at.fail(format!("expected seconds, got '{text}'")))
        };
        rows.push(Row {
            id: key(&youtube_id, seconds(&start)?, seconds(&end)?),
            label,
            line,
        });
    }
    Ok(rows)
}

fn key(youtube_id: &str, start: u64, end: u64) -> String {
    format!("{youtube_id}_{start:06}_{end:06}")
}

/// The clips below `root`, by key.
fn index(root: &Path, follow_links: bool) -> Result<HashMap<String, PathBuf>> {
    let real_root = fs::canonicalize(root).map_err(Error::io("cannot open the folder", root))?;
    let mut clips: HashMap<String, PathBuf> = HashMap::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let full = root.join(&folder);
        let mut entries = fs::read_dir(&full)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(Error::io("cannot list", &full))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = folder.join(entry.file_name());
            let full = entry.path();
            if full.is_dir() {
                if depth + 1 < DEPTH {
                    check_link(&full, &real_root, follow_links)?;
                    folders.push((path, depth + 1));
                }
                continue;
            }
            let Some(key) = key_of(&path) else { continue };
            if full.is_file() {
                check_link(&full, &real_root, follow_links)?;
                // The same clip twice (flat and by label): the first in order of names.
                match clips.get(&key) {
                    Some(known) if *known <= path => {}
                    _ => {
                        clips.insert(key, path);
                    }
                }
            }
        }
    }
    Ok(clips)
}

/// `<id>_<start>_<end>.<ext>` -> key; ids may hold `_` themselves.
fn key_of(path: &Path) -> Option<String> {
    if !claims_video(path.file_name()?.to_str()?) {
        return None;
    }
    let mut parts = path.file_stem()?.to_str()?.rsplitn(3, '_');
    let end = parts.next()?.parse().ok()?;
    let start = parts.next()?.parse().ok()?;
    Some(key(parts.next()?, start, end))
}
