//! Charades from its two official archives: videos scaled to 480 p, and annotations.

use std::path::{Path, PathBuf};

use data::formats::{CHARADES_LISTS, charades};

use super::fetch::{Offered, download, from_folder};
use super::unpack::{fresh, place_at};
use super::{Options, Workplace, finish, prepared, read_options, root_of};
use crate::{Error, Result, archive};

const OFFICIAL: &str = "https://ai2-public-datasets.s3-us-west-2.amazonaws.com/charades";
const VIDEOS: &str = "Charades_v1_480.zip";
const LISTS: &str = "Charades.zip";

/// Fetches, unpacks and lists Charades; from a folder that holds the videos themselves in
/// `Charades_v1_480/`, they are taken where they lie. Answers with the manifest's path.
///
/// # Errors
/// No network or room, damaged or hostile archives, missing videos where they are not
/// allowed.
pub fn prepare_charades(options: &Options, place: &Workplace) -> Result<PathBuf> {
    let root = root_of(options, "charades")?;
    if let Some(manifest) = prepared(&root)? {
        return Ok(manifest);
    }
    let (mut videos, lists) = (root.join("Charades_v1_480"), root.join("lists"));
    let unpacked = options
        .from
        .as_ref()
        .map(|from| from.join("Charades_v1_480"));
    let held = unpacked.filter(|folder| folder.is_dir());
    let mut names = vec![(LISTS, 1)];
    match held {
        Some(folder) => {
            videos = std::path::absolute(&folder).map_err(Error::io("find", &folder))?
        }
        None => names.push((VIDEOS, 1)),
    }
    if !videos.exists() || !lists.exists() {
        let archives = match &options.from {
            Some(folder) => {
                let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                from_folder(folder, &names)?
            }
            None => {
                let base = options.url.as_deref().unwrap_or(OFFICIAL);
                let base = base.trim_end_matches('/');
                let offered = names.iter().map(|(name, unpacked)| Offered {
                    name: (*name).into(),
                    url: format!("{base}/{name}"),
                    unpacked: *unpacked,
                });
                let offered: Vec<Offered> = offered.collect();
                download(place, &root.join("archives"), &offered)?
            }
        };
        let staging = root.join(".unpacking");
        for archive in &archives {
            let (target, wanted): (&Path, fn(&str) -> bool) = if archive.ends_with(LISTS) {
                (&lists, |name| CHARADES_LISTS.contains(&name))
            } else {
                (&videos, |name| name.ends_with(".mp4"))
            };
            if target.exists() {
                continue;
            }
            eprintln!("unpacking {}", archive.display());
            fresh(&staging)?;
            archive::unpack(archive, &staging, "files", |name| {
                let name = Path::new(name).file_name()?.to_str()?;
                wanted(name).then(|| name.to_owned())
            })?;
            place_at(&staging, target)?;
        }
        let _ = std::fs::remove_dir_all(&staging);
    }
    let found = charades(&videos, &lists, read_options(options.allow_missing))?;
    finish(&root, &found)
}
