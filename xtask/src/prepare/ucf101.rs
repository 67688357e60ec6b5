//! UCF-101 from its two official archives.

use std::path::{Path, PathBuf};

use data::formats::ucf101;

use super::fetch::{Offered, download, from_folder};
use super::unpack::{fresh, holds_folders, inner_folder, place_at, rar};
use super::{Options, Workplace, finish, prepared, read_options, root_of};
use crate::{Result, archive};

const OFFICIAL: &str = "https://www.crcv.ucf.edu/data/UCF101";
const VIDEOS: &str = "UCF101.rar";
const LISTS: &str = "UCF101TrainTestSplits-RecognitionTask.zip";

/// Fetches, unpacks and lists UCF-101. Answers with the manifest's path.
///
/// # Errors
/// No network or room, damaged or hostile archives, no program for `.rar`, missing clips
/// where they are not allowed.
pub fn prepare_ucf101(options: &Options, place: &Workplace) -> Result<PathBuf> {
    let root = root_of(options, "ucf101")?;
    if let Some(manifest) = prepared(&root)? {
        return Ok(manifest);
    }
    let (videos, lists) = (root.join("UCF-101"), root.join("lists"));
    if !videos.exists() || !lists.exists() {
        let archives = match &options.from {
            Some(folder) => from_folder(folder, &[VIDEOS, LISTS])?,
            None => {
                let base = options
                    .url
                    .as_deref()
                    .unwrap_or(OFFICIAL)
                    .trim_end_matches('/');
                let offered = [(VIDEOS, 1), (LISTS, 1)].map(|(name, unpacked)| Offered {
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
            fresh(&staging)?;
            archive::unpack(list_archive, &staging, "lists", |name| {
                let name = Path::new(name).file_name()?.to_str()?;
                name.ends_with(".txt").then(|| name.to_owned())
            })?;
            place_at(&staging, &lists)?;
        }
        if !videos.exists() {
            eprintln!("unpacking {}", video_archive.display());
            rar(place, video_archive, &staging)?;
            place_at(&inner_folder(&staging, holds_folders)?, &videos)?;
        }
        let _ = std::fs::remove_dir_all(&staging);
    }
    let found = ucf101(&videos, &lists, read_options(options.allow_missing))?;
    finish(&root, &found)
}
