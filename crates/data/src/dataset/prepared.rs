//! A folder that was prepared: its manifest says all.

use std::path::Path;

use super::{Dataset, DatasetOptions};
use crate::error::{Error, Result};
use crate::formats::Found;
use crate::manifest::Manifest;
use crate::names::named;
use crate::skip_list::SkipList;

/// Reads the manifest at `path`. The folder's own skip list holds where the options name no
/// other.
pub(super) fn read(path: &Path, options: &DatasetOptions) -> Result<Dataset> {
    let manifest = Manifest::load(path)?;
    let layout = options.layout;
    if layout.published.is_some() && layout.name != manifest.dataset() {
        return Err(Error::Option {
            name: "layout",
            expected: format!("{}, as {} says", manifest.dataset(), path.display()),
            got: layout.name.into(),
        });
    }
    let beside = path.with_file_name(Dataset::SKIP);
    let mut skip = match &options.skip_list {
        Some(list) => SkipList::load(list)?,
        None if disk::is_file(&beside)? => SkipList::load(&beside)?,
        None => SkipList::new(),
    };
    let mut missing: Vec<String> = Vec::new();
    for clip in manifest.clips() {
        if skip.reason(&clip.id).is_none() && !disk::is_file(&manifest.file(clip))? {
            missing.push(clip.id.clone());
        }
    }
    if !options.allow_missing && !missing.is_empty() {
        return Err(Error::MissingClips {
            list: path.into(),
            root: manifest.root().into(),
            missing: missing.len(),
            listed: manifest.clips().len(),
            names: missing
                .iter()
                .take(3)
                .map(|id| (id.clone(), Vec::new()))
                .collect(),
        });
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
        notes.push(format!(
            "{} of its clips are not there any more: {}",
            missing.len(),
            named(&missing)
        ));
    }
    let found = Found {
        listed: manifest.clips().len(),
        manifest,
        missing: Vec::new(),
        notes,
    };
    Ok(Dataset {
        prepared: Some(path.into()),
        ..Dataset::of(found, skip, options)
    })
}
