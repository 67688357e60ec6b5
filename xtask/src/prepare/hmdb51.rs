//! HMDB-51 from its two official archives: a `.rar` of 51 `.rar`s, and one of lists.

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::hmdb51;

use super::fetch::{Offered, download, from_folder};
use super::unpack::{holds_folders, inner_folder, place_at, rar};
use super::{Options, Workplace, finish, prepared, read_options, root_of};
use crate::places::write_whole;
use crate::{Error, Result};

const OFFICIAL: &str = "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10";
const VIDEOS: &str = "hmdb51_org.rar";
const LISTS: &str = "test_train_splits.rar";

/// Fetches, unpacks and lists HMDB-51. Answers with the manifest's path.
///
/// # Errors
/// As [`prepare_ucf101`](super::prepare_ucf101).
pub fn prepare_hmdb51(options: &Options, place: &Workplace) -> Result<PathBuf> {
    let root = root_of(options, "hmdb51")?;
    if let Some(manifest) = prepared(&root)? {
        return Ok(manifest);
    }
    let (videos, lists) = (root.join("hmdb51"), root.join("lists"));
    let whole = root.join(".videos-unpacked");
    if !whole.exists() || !lists.exists() {
        let archives = match &options.from {
            Some(folder) => from_folder(folder, &[VIDEOS, LISTS])?,
            None => {
                let base = options
                    .url
                    .as_deref()
                    .unwrap_or(OFFICIAL)
                    .trim_end_matches('/');
                // For a while the classes' archives lie beside what is unpacked from them.
                let offered = [(VIDEOS, 2), (LISTS, 1)].map(|(name, unpacked)| Offered {
                    name: name.into(),
                    url: format!("{base}/{name}"),
                    unpacked,
                });
                download(place, &root.join("archives"), &offered)?
            }
        };
        let [video_archive, list_archive] = archives.as_slice() else {
            return Ok(root);
        };
        let staging = root.join(".unpacking");
        if !lists.exists() {
            rar(place, list_archive, &staging)?;
            place_at(&inner_folder(&staging, |_| true)?, &lists)?;
        }
        if !whole.exists() {
            eprintln!("unpacking {}", video_archive.display());
            rar(place, video_archive, &staging)?;
            classes(
                place,
                &inner_folder(&staging, holds_folders)?,
                &root.join(".class"),
                &videos,
            )?;
            write_whole(&whole, b"every class of the archive is unpacked\n")?;
        }
        let _ = fs::remove_dir_all(&staging);
    }
    let found = hmdb51(&videos, &lists, read_options(options.allow_missing))?;
    finish(&root, &found)
}

/// Unpacks the classes' archives, one after the other; those placed by an earlier run are
/// left alone. Repacked copies hold the classes' folders themselves.
fn classes(place: &Workplace, archives: &Path, staging: &Path, videos: &Path) -> Result<()> {
    let mut entries = fs::read_dir(archives)
        .map_err(Error::io("list", archives))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(Error::io("list", archives))?;
    entries.sort();
    for path in entries {
        let class = path.file_stem().unwrap_or_default();
        if path.is_dir() {
            let target = videos.join(path.file_name().unwrap_or_default());
            if !target.exists() {
                place_at(&path, &target)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rar") {
            let target = videos.join(class);
            if !target.exists() {
                rar(place, &path, staging)?;
                place_at(&inner_folder(staging, |_| true)?, &target)?;
            }
            // Gone before the next one is unpacked: half the room is enough.
            let _ = fs::remove_file(&path);
        }
    }
    let _ = fs::remove_dir_all(staging);
    Ok(())
}
