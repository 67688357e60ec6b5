//! Kinetics-400 (Kay et al., 2017) with its official CSV lists.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::collect::{At, Collector, check_link};
use super::{Found, Missing, ReadOptions, VIDEO_EXTENSIONS, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;

/// How deep below the root clips are looked for: `train/<label>/<clip>`.
const DEPTH: usize = 3;

/// The official CSV files; one of the two may be absent.
#[derive(Clone, Debug, Default)]
pub struct KineticsLists {
    /// Training clips.
    pub train: Option<PathBuf>,
    /// Validation clips, which the field tests on.
    pub val: Option<PathBuf>,
}

/// Reads Kinetics-400: CSV lists with the columns `label`, `youtube_id`, `time_start`,
/// `time_end`; clips named `<id>_<start>_<end>.<ext>` (numbers with or without leading
/// zeros) anywhere up to three folders below `root`, so in `<label>/`, in one flat
/// folder, or in `train/` and `val/`. The split is named "val".
///
/// # Errors
/// Lists that cannot be read or contradict each other, and what `options` refuses.
pub fn kinetics400(root: &Path, lists: &KineticsLists, options: ReadOptions) -> Result<Found> {
    let first = lists
        .train
        .as_deref()
        .or(lists.val.as_deref())
        .ok_or_else(|| Error::Option {
            name: "kinetics400 lists",
            expected: "a train or a val CSV".into(),
            got: "neither".into(),
        })?;
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut parts = [Vec::new(), Vec::new()];
    for (list, ids) in [&lists.train, &lists.val].into_iter().zip(&mut parts) {
        if let Some(list) = list {
            read_csv(list, &mut rows, ids)?;
        }
    }
    let mut names: Vec<String> = rows.values().map(|row| row.label.clone()).collect();
    names.sort();
    names.dedup();
    let labels: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(label, name)| (name.as_str(), label))
        .collect();

    let on_disk = if options.missing == Missing::Unchecked {
        HashMap::new()
    } else {
        index(root, options.follow_links)?
    };
    let mut collector = Collector::new("kinetics400", root, first, options);
    for (id, row) in &rows {
        let path = on_disk
            .get(&key(&row.youtube_id, row.start, row.end))
            .cloned()
            .unwrap_or_else(|| PathBuf::from(format!("{id}.mp4")));
        let label = labels.get(row.label.as_str()).copied().unwrap_or_default();
        let at = At {
            list: first,
            line: row.line,
        };
        collector.add(VideoEntry::new(id.clone(), path, vec![label]), at)?;
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
    label: String,
    youtube_id: String,
    start: u64,
    end: u64,
    line: usize,
}

fn read_csv(list: &Path, rows: &mut BTreeMap<String, Row>, ids: &mut Vec<String>) -> Result<()> {
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
    let column =
        |name: &str| {
            header.iter().position(|column| column.trim() == name).ok_or_else(|| Error::Line {
            path: list.into(),
            line: 1,
            what: format!(
                "there is no column '{name}'; expected label, youtube_id, time_start, time_end"
            ),
        })
        };
    let (label, youtube_id) = (column("label")?, column("youtube_id")?);
    let (start, end) = (column("time_start")?, column("time_end")?);
    for record in reader.records() {
        let record = record.map_err(|error| fail(&error))?;
        let line = record
            .position()
            .map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
        let at = At { list, line };
        let field = |column: usize| record.get(column).unwrap_or_default().trim();
        let seconds = |column: usize| {
            field(column)
                .parse::<u64>()
                .map_err(|_| at.fail(format!("expected seconds, got '{}'", field(column))))
        };
        let name = field(youtube_id);
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(at.fail(format!("expected a video's id, got '{name}'")));
        }
        if field(label).is_empty() {
            return Err(at.fail("expected a label, got nothing"));
        }
        let row = Row {
            label: field(label).into(),
            youtube_id: name.into(),
            start: seconds(start)?,
            end: seconds(end)?,
            line,
        };
        let id = key(name, row.start, row.end);
        ids.push(id.clone());
        if let Some(first) = rows.insert(id.clone(), row) {
            return Err(Error::DuplicateClip {
                path: list.into(),
                id,
                first_line: first.line,
                line,
            });
        }
    }
    Ok(())
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
    let extension = path.extension()?.to_str()?.to_lowercase();
    if !VIDEO_EXTENSIONS.contains(&extension.as_str()) {
        return None;
    }
    let mut parts = path.file_stem()?.to_str()?.rsplitn(3, '_');
    let end = parts.next()?.parse().ok()?;
    let start = parts.next()?.parse().ok()?;
    Some(key(parts.next()?, start, end))
}
