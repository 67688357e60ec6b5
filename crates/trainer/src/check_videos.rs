//! Every video of a data set decoded from beginning to end.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use data::decode::{Limits, Video};
use data::{Manifest, SkipList};
use serde::{Deserialize, Serialize};

use crate::disk::write_file;
use crate::interrupt::Interrupt;
use crate::{Error, Result};

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Videos checked, those of earlier runs among them.
    pub done: usize,
    /// Videos in all.
    pub of: usize,
}

/// What a check found.
#[derive(Debug)]
pub struct Found {
    /// Videos of the data set.
    pub total: usize,
    /// Those that decode.
    pub good: usize,
    /// Those that were checked by an earlier run.
    pub known: usize,
    /// Those that do not decode, with the reason.
    pub bad: SkipList,
    /// Stopped on request before the end.
    pub interrupted: bool,
}

/// What became of one video: a line of the file beside the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Checked {
    id: String,
    /// Frames that decode; `None` for a bad video.
    frames: Option<usize>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
}

/// Decodes every clip of `manifest`, on all processors, and writes the bad ones to `list`.
///
/// A clip is bad where it does not open, yields no frame, or breaks off with an error. What
/// was checked is kept in `<list>.checked`; a later call checks the others only.
///
/// # Errors
/// [`Error::File`] where a file cannot be written.
pub fn check_videos(
    manifest: &Manifest,
    list: &Path,
    interrupt: &Interrupt,
    report: &dyn Fn(Progress),
) -> Result<Found> {
    let log_path = beside(list);
    let mut checked = read_checked(&log_path)?;
    checked.retain(|id, _| manifest.position(id).is_some());
    let known = checked.len();
    let clips: Vec<&data::Clip> = manifest
        .clips()
        .iter()
        .filter(|clip| !checked.contains_key(&clip.id))
        .collect();
    // Whole again, without a line that a kill cut short.
    let mut kept = String::new();
    for entry in checked.values() {
        kept.push_str(&line(entry)?);
    }
    write_file(&log_path, kept.as_bytes())?;
    let mut log = OpenOptions::new()
        .append(true)
        .open(&log_path)
        .map_err(Error::file("cannot open", &log_path))?;

    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let of = manifest.clips().len();
    std::thread::scope(|scope| -> Result<()> {
        let (sender, receiver) = mpsc::sync_channel(threads);
        for _ in 0..threads {
            let (sender, next, clips) = (sender.clone(), &next, &clips);
            scope.spawn(move || {
                while !interrupt.asked()
                    && let Some(clip) = clips.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    // The receiver is gone only after an error, which ends the work.
                    if sender.send(check(clip, &manifest.file(clip))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for entry in receiver {
            log.write_all(line(&entry)?.as_bytes())
                .map_err(Error::file("cannot write", &log_path))?;
            checked.insert(entry.id.clone(), entry);
            report(Progress {
                done: checked.len(),
                of,
            });
        }
        Ok(())
    })?;
    log.sync_all()
        .map_err(Error::file("cannot sync", &log_path))?;

    let mut bad = SkipList::new();
    for entry in checked.values().filter(|entry| entry.frames.is_none()) {
        bad.insert(&entry.id, &entry.reason);
    }
    let interrupted = checked.len() < of;
    if !interrupted {
        bad.save(list)?;
    }
    Ok(Found {
        total: of,
        good: checked.len() - bad.len(),
        known,
        bad,
        interrupted,
    })
}

fn check(clip: &data::Clip, path: &Path) -> Checked {
    let counted = Video::open(path, &Limits::default()).and_then(|mut video| video.count_frames());
    let (frames, reason) = match counted {
        Ok(count) if count.frames == 0 => (None, "no frame can be decoded".to_owned()),
        Ok(count) => (Some(count.frames), String::new()),
        Err(error) => (None, error.to_string()),
    };
    Checked {
        id: clip.id.clone(),
        frames,
        reason,
    }
}

fn beside(list: &Path) -> PathBuf {
    let mut name = list.file_name().unwrap_or_default().to_os_string();
    name.push(".checked");
    list.with_file_name(name)
}

fn read_checked(path: &Path) -> Result<BTreeMap<String, Checked>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let bytes = std::fs::read(path).map_err(Error::file("cannot read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    // A line that cannot be read is a clip checked once more.
    let entries = text
        .lines()
        .filter_map(|text| serde_json::from_str::<Checked>(text).ok());
    Ok(entries.map(|entry| (entry.id.clone(), entry)).collect())
}

fn line(entry: &Checked) -> Result<String> {
    serde_json::to_string(entry)
        .map(|text| text + "\n")
        .map_err(|error| Error::Syntax {
            origin: entry.id.clone(),
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use data::formats::{ReadOptions, class_folders};

    #[test]
    fn bad_files_are_listed_and_nothing_is_checked_twice() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("videos");
        for (class, name) in [("walk", "a.mp4"), ("walk", "b.avi"), ("run", "c.mp4")] {
            std::fs::create_dir_all(root.join(class)).unwrap();
            std::fs::write(root.join(class).join(name), b"this is no video").unwrap();
        }
        let found = class_folders("own", &root, ReadOptions::default()).unwrap();
        let list = folder.path().join("skip.txt");
        let check =
            || check_videos(&found.manifest, &list, &Interrupt::default(), &|_| {}).unwrap();
        let first = check();
        assert_eq!((first.total, first.good, first.bad.len()), (3, 0, 3));
        assert_eq!(SkipList::load(&list).unwrap(), first.bad);
        // A kill in the middle of a line costs that one clip.
        let log = beside(&list);
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::write(&log, &text[..text.len() - 5]).unwrap();
        let second = check();
        assert_eq!((second.known, second.bad.len()), (2, 3));
        let stopped = Interrupt::default();
        stopped.ask();
        std::fs::remove_file(&log).unwrap();
        let third = check_videos(&found.manifest, &list, &stopped, &|_| {}).unwrap();
        assert!(third.interrupted);
    }
}
