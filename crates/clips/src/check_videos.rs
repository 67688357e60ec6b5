//! Checks every video of a data set by decoding it from beginning to end.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use data::{Manifest, SkipList};
use serde::{Deserialize, Serialize};
use video::{Limits, Video};

use crate::clip_stream::reason;
use crate::file_identity::file_identity;
use crate::interrupt::{Ended, Interrupt};
use crate::read_ahead::{Ahead, Emit, ReadAhead};
use crate::{Error, Result};

/// Progress of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Videos checked, including those of earlier runs.
    pub done: usize,
    /// Videos in all.
    pub of: usize,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The file does not exist.
    Missing,
    /// The file is empty.
    Empty,
    /// It cannot be opened, yields no frame, or is largely damaged.
    Undecodable,
    /// It ends long before the duration in its header.
    Truncated,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::Undecodable => "undecodable",
            Self::Truncated => "truncated",
        })
    }
}

/// Smallest fraction of the frames stated in its header that a complete video decodes.
/// Originals of UCF-101 overstate it by up to a fifth.
const WHOLE: f64 = 0.75;

/// Says that a video of `frames` frames ends long before the number `stated` in its header.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn truncation(frames: usize, stated: Option<usize>) -> Option<String> {
    let stated = stated.filter(|stated| (frames as f64) < WHOLE * *stated as f64)?;
    Some(format!(
        "{frames} of the {stated} frames that its header states decode"
    ))
}

/// The result of a check.
#[derive(Debug)]
pub struct Found {
    /// Videos in the data set.
    pub total: usize,
    /// Videos without faults.
    pub good: usize,
    /// Videos checked by an earlier run and unchanged since.
    pub known: usize,
    /// Videos that one of the limits refused.
    pub limited: usize,
    /// Videos with faults, each with the reason, which begins with the [`Fault`].
    pub bad: SkipList,
    /// Good videos with fewer frames than are sampled: they are used, and frames repeat.
    pub short: Vec<String>,
    /// Number of videos with each fault.
    pub faults: BTreeMap<Fault, usize>,
    /// Decodable frames of each video that has any, by id.
    pub frames: BTreeMap<String, usize>,
}

/// The result for one video: a line of the file beside the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Checked {
    id: String,
    /// The identity of the file's content.
    file: String,
    /// Decodable frames; `None` if the video cannot be decoded.
    frames: Option<usize>,
    /// Frames stated in the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stated: Option<usize>,
    /// The decoding error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    /// A limit was reached: another one may allow it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    limited: bool,
}

impl Checked {
    fn undecodable(clip: &data::VideoEntry, path: &Path) -> Self {
        Self {
            id: clip.id.clone(),
            file: file_identity(path, true),
            frames: None,
            stated: None,
            fault: Some(Fault::Undecodable),
            reason: Error::Panicked.to_string(),
            limited: false,
        }
    }

    /// The fault and its description; `None` if there is none.
    fn fault(&self) -> Option<(Fault, String)> {
        let Some(frames) = self.frames else {
            return Some((
                self.fault.unwrap_or(Fault::Undecodable),
                self.reason.clone(),
            ));
        };
        let reason = truncation(frames, self.stated)?;
        Some((Fault::Truncated, reason))
    }
}

/// Decodes every clip of `manifest`, on all processors, and writes the faulty ones to `list`:
/// those with a [`Fault`], and those of `missing`, which are in the lists but not on disk.
/// `sampled` frames are taken of each video.
///
/// Results are kept in `<list>.checked`; a later call checks only the others, files whose content
/// has changed, and those that one of the `limits` refused.
///
/// # Errors
/// [`Error::Disk`] if a file cannot be written.
pub fn check_videos(
    manifest: &Manifest,
    missing: &[String],
    sampled: usize,
    limits: &Limits,
    list: &Path,
    interrupt: &Interrupt,
    report: &dyn Fn(Progress),
) -> Result<Ended<Found>> {
    let log_path = beside(list);
    let mut checked = read_checked(&log_path)?;
    checked.retain(|id, entry| {
        let clip = manifest
            .position(id)
            .and_then(|position| manifest.clips().get(position));
        let same = |clip| file_identity(&manifest.file(clip), true) == entry.file;
        !entry.limited && clip.is_some_and(same)
    });
    let known = checked.len();
    let clips: Vec<&data::VideoEntry> = manifest
        .clips()
        .iter()
        .filter(|clip| !checked.contains_key(&clip.id))
        .collect();
    // Rewritten, without a line truncated by a kill.
    let mut kept = String::new();
    for entry in checked.values() {
        kept.push_str(&line(entry)?);
    }
    disk::write(&log_path, kept.as_bytes())?;
    let mut log = OpenOptions::new()
        .append(true)
        .open(&log_path)
        .map_err(Error::io("cannot open", &log_path))?;

    let of = manifest.clips().len();
    let mut stream = ReadAhead::new(Ahead::default(), || {
        let limits = limits.clone();
        move |(id, path): (String, PathBuf), emit: &mut Emit<'_, Checked>| {
            let _ = emit(check(id, &path, &limits));
            Ok(())
        }
    })?;
    for clip in &clips {
        stream.push((clip.id.clone(), manifest.file(clip)));
    }
    for (job, entry) in stream {
        // A panic of the decoder is a fault of the video.
        let entry = entry.or_else(|error| {
            let clip = clips.get(job).ok_or(error)?;
            Ok::<_, Error>(Checked::undecodable(clip, &manifest.file(clip)))
        })?;
        log.write_all(line(&entry)?.as_bytes())
            .map_err(Error::io("cannot write", &log_path))?;
        checked.insert(entry.id.clone(), entry);
        report(Progress {
            done: checked.len(),
            of,
        });
        if interrupt.asked() {
            break;
        }
    }
    log.sync_all()
        .map_err(Error::io("cannot sync", &log_path))?;

    let mut bad = SkipList::new();
    let mut faults = BTreeMap::new();
    let mut short = Vec::new();
    for id in missing {
        bad.insert(id, &format!("{}: listed, but not on disk", Fault::Missing));
        *faults.entry(Fault::Missing).or_insert(0) += 1;
    }
    for entry in checked.values() {
        if let Some((fault, reason)) = entry.fault() {
            bad.insert(&entry.id, &format!("{fault}: {reason}"));
            *faults.entry(fault).or_insert(0) += 1;
        } else if entry.frames.is_some_and(|frames| frames < sampled) {
            short.push(entry.id.clone());
        }
    }
    if checked.len() < of {
        return Ok(Ended::Stopped);
    }
    bad.save(list)?;
    Ok(Ended::Done(Found {
        total: of + missing.len(),
        good: (checked.len() + missing.len()).saturating_sub(bad.len()),
        known,
        limited: checked.values().filter(|entry| entry.limited).count(),
        bad,
        faults,
        short,
        frames: checked
            .into_values()
            .filter_map(|entry| Some((entry.id, entry.frames?)))
            .collect(),
    }))
}

fn check(id: String, path: &Path, limits: &Limits) -> Checked {
    let (mut stated, mut limited) = (None, false);
    let counted = Video::open(path, limits).and_then(|mut video| {
        stated = video.header().frames;
        video.count_frames()
    });
    let (frames, fault, reason) = match counted {
        Ok(count) => (Some(count.frames), None, String::new()),
        Err(error) => {
            limited = error.limit().is_some();
            let fault = match error {
                video::Error::Missing { .. } => Fault::Missing,
                video::Error::Empty { .. } => Fault::Empty,
                _ => Fault::Undecodable,
            };
            (None, Some(fault), reason(&error, path))
        }
    };
    Checked {
        id,
        file: file_identity(path, true),
        frames,
        stated,
        fault,
        reason,
        limited,
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
    let bytes = std::fs::read(path).map_err(Error::io("cannot read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    // A clip whose line cannot be read is checked again.
    let entries = text
        .lines()
        .filter_map(|text| serde_json::from_str::<Checked>(text).ok());
    Ok(entries.map(|entry| (entry.id.clone(), entry)).collect())
}

fn line(entry: &Checked) -> Result<String> {
    serde_json::to_string(entry)
        .map(|text| text + "\n")
        .map_err(|error| Error::Clip {
            id: entry.id.clone(),
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
        let check = || {
            check_videos(
                &found.manifest,
                &[],
                8,
                &Limits::default(),
                &list,
                &Interrupt::default(),
                &|_| {},
            )
            .unwrap()
        };
        let done = || match check() {
            Ended::Done(found) => found,
            Ended::Stopped => panic!("stopped"),
        };
        let first = done();
        assert_eq!((first.total, first.good, first.bad.len()), (3, 0, 3));
        assert_eq!(SkipList::load(&list).unwrap(), first.bad);
        // A kill in the middle of a line costs that one clip.
        let log = beside(&list);
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::write(&log, &text[..text.len() - 5]).unwrap();
        let second = done();
        assert_eq!((second.known, second.bad.len()), (2, 3));
        // Another film of the same length under a known name.
        std::fs::write(root.join("walk/b.avi"), b"nor is this one.").unwrap();
        assert_eq!(done().known, 2);
        assert_eq!(done().known, 3);
        let stopped = Interrupt::default();
        stopped.ask();
        std::fs::remove_file(&log).unwrap();
        let third = check_videos(
            &found.manifest,
            &[],
            8,
            &Limits::default(),
            &list,
            &stopped,
            &|_| {},
        )
        .unwrap();
        assert!(matches!(third, Ended::Stopped));
    }
}
