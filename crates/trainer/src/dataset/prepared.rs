//! A folder that `cargo xtask prepare-*` made: its manifest says all.

use std::path::Path;

use data::formats::Found;
use data::{Manifest, SkipList};

use super::Dataset;
use crate::config::{Data, DatasetKind};
use crate::{Error, Result};

/// What makes a folder a prepared one.
pub(super) const MANIFEST: &str = "manifest.json";
/// The list that `check-videos` leaves beside it.
const SKIP: &str = "skip.txt";

/// Reads the manifest at `path` in `root`. The folder's own skip list holds where the
/// configuration names no other.
pub(super) fn read(root: &Path, path: &Path, config: &Data) -> Result<Dataset> {
    let manifest = Manifest::load(path)?;
    if let Some(expected) = official_name(config.layout)
        && expected != manifest.dataset()
    {
        return Err(Error::Value {
            key: "data.layout".into(),
            expected: format!("{}, as {} says", manifest.dataset(), path.display()),
            got: expected.into(),
        });
    }
    let beside = root.join(SKIP);
    let mut skip = match &config.skip_list {
        Some(list) => SkipList::load(list)?,
        None if beside.is_file() => SkipList::load(&beside)?,
        None => SkipList::new(),
    };
    let clips = manifest.clips().iter();
    let missing: Vec<String> = clips
        .filter(|clip| skip.reason(&clip.id).is_none() && !manifest.file(clip).is_file())
        .map(|clip| clip.id.clone())
        .collect();
    if let (false, Some(first)) = (config.allow_missing, missing.first()) {
        return Err(Error::Data(data::Error::MissingClips {
            list: path.into(),
            root: manifest.root().into(),
            missing: missing.len(),
            listed: manifest.clips().len(),
            first: first.clone(),
        }));
    }
    for id in &missing {
        skip.insert(id, "missing: no such file");
    }
    let counted = manifest.clips().iter().filter(|clip| clip.frames.is_some());
    let mut notes = vec![format!(
        "{}: {} clips of {} classes, the frames of {} of them counted",
        path.display(),
        manifest.clips().len(),
        manifest.classes().len(),
        counted.count()
    )];
    if !missing.is_empty() {
        notes.push(format!("{} clips are not there any more", missing.len()));
    }
    let found = Found {
        listed: manifest.clips().len(),
        manifest,
        missing: Vec::new(),
        notes,
    };
    let mut dataset = Dataset::of(found, skip, config);
    dataset.prepared = Some(path.into());
    Ok(dataset)
}

/// The name that preparing gives to a data set of this layout.
fn official_name(layout: DatasetKind) -> Option<&'static str> {
    match layout {
        DatasetKind::Ucf101 => Some("ucf101"),
        DatasetKind::Hmdb51 => Some("hmdb51"),
        DatasetKind::Kinetics400 => Some("kinetics400"),
        DatasetKind::Charades => Some("charades"),
        DatasetKind::Folder | DatasetKind::Csv => None,
    }
}
