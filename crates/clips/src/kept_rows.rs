//! Features of earlier sets of clips that hold for a new one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use data::VideoEntry;
use serde::{Deserialize, Serialize};

use crate::feature_cache::{FeatureReader, fingerprint_in};
use crate::fingerprint::Fingerprint;
use crate::{Error, Result};

/// Lists the clips of a folder of features.
const CLIPS: &str = "clips.json";

/// The content of that file.
#[derive(Serialize, Deserialize)]
struct List {
    clips: Vec<Listed>,
}

/// One clip of a set, in the order of its rows.
#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Listed {
    id: String,
    /// From [`file_identities`](crate::file_identities).
    file: String,
}

impl Listed {
    fn of(clip: &VideoEntry, file: &str) -> Self {
        Self {
            id: clip.id.clone(),
            file: file.to_owned(),
        }
    }
}

/// Writes the list of a set's clips, for later sets that share some of them.
pub(crate) fn write_list(folder: &Path, clips: &[VideoEntry], files: &[String]) -> Result<()> {
    let path = folder.join(CLIPS);
    let listed = clips.iter().zip(files);
    let clips = listed.map(|(clip, file)| Listed::of(clip, file)).collect();
    let text = serde_json::to_string(&List { clips }).map_err(|error| Error::Features {
        path: path.clone(),
        what: format!("cannot be listed: {error}"),
    })?;
    Ok(disk::write(&path, disk::seal(&text).as_bytes())?)
}

/// The sets of one folder that were made with the same settings from other clips.
pub(crate) struct KeptRows {
    sets: Vec<(FeatureReader, HashMap<Listed, usize>)>,
}

impl KeptRows {
    /// The complete sets beside `folder` whose fingerprints differ from `wanted` in the fields
    /// `clips` only. A set that cannot be read is not used.
    pub(crate) fn beside(folder: &Path, wanted: &Fingerprint, clips: &[&str]) -> Self {
        let wanted = wanted.without(clips);
        let siblings = folder.parent().and_then(|all| std::fs::read_dir(all).ok());
        let siblings = siblings.into_iter().flatten();
        let mut places: Vec<_> = siblings
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|place| place != folder && place.join(CLIPS).is_file())
            .collect();
        places.sort();
        let read = |place: &PathBuf| {
            // Opening a set hashes all of it, so only one that fits is opened.
            if fingerprint_in(place)?.without(clips) != wanted {
                return None;
            }
            let bytes = std::fs::read(place.join(CLIPS)).ok()?;
            let text = disk::expect_sealed(&bytes).ok()?;
            let list: List = serde_json::from_str(&text).ok()?;
            let set = FeatureReader::open_any(place).ok()?;
            let rows = list.clips.into_iter().enumerate();
            Some((set, rows.map(|(row, clip)| (clip, row)).collect()))
        };
        Self {
            sets: places.iter().filter_map(read).collect(),
        }
    }

    fn find(&self, clip: &VideoEntry, file: &str) -> Option<(&FeatureReader, usize)> {
        let key = Listed::of(clip, file);
        self.sets.iter().find_map(|(set, rows)| {
            let row = *rows.get(&key)?;
            set.has(row).then_some((set, row))
        })
    }

    /// Whether a set has features of `clip` from the same file.
    pub(crate) fn has(&self, clip: &VideoEntry, file: &str) -> bool {
        self.find(clip, file).is_some()
    }

    /// The features of `clip`, `[V, T, D]`, if a set has them from the same file.
    ///
    /// # Errors
    /// Stored features that cannot be read.
    pub(crate) fn row(&self, clip: &VideoEntry, file: &str) -> Result<Option<Vec<f32>>> {
        let Some((set, row)) = self.find(clip, file) else {
            return Ok(None);
        };
        let layout = set.layout();
        let mut features = vec![0.0; layout.clip_len()];
        let view = layout.frames * layout.width;
        for (number, out) in features.chunks_mut(view.max(1)).enumerate() {
            set.copy_view(row, number, out)?;
        }
        Ok(Some(features))
    }
}
