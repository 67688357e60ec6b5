//! A data set from its two official archives, one of videos and one of lists.

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::{Archive, Packing};

use super::fetch::{Offered, check_room, download, from_folder};
use super::unpack::{fresh, holds_folders, inner_folder, pieces, place_at, rar, tar};
use super::{Options, Workplace};
use crate::{Error, Result, archive};

/// The folders of `videos` and of `lists`: what `--from` holds unpacked stays where it lies, the
/// rest is unpacked below `root` unless it is there. `url` is where the archives are offered.
///
/// # Errors
/// No network or room, absent, damaged or hostile archives, no program for `.rar`.
pub(super) fn unpacked(
    videos: &Archive,
    lists: &Archive,
    url: &str,
    options: &Options,
    place: &Workplace,
    root: &Path,
) -> Result<(PathBuf, PathBuf)> {
    let mut found = (root.join(videos.folder), root.join("lists"));
    if let Some(from) = &options.from {
        let from = std::path::absolute(from).map_err(Error::io("find", from))?;
        if from.join(videos.folder).is_dir() {
            found.0 = from.join(videos.folder);
        }
        if from.join(lists.folder).is_dir() {
            found.1 = from.join(lists.folder);
        } else if holds_loose(&from, lists) {
            found.1 = from;
        }
    }
    // Lists are small: what is wrong with them is known before the videos are unpacked.
    let mut wanted = vec![(lists, &found.1), (videos, &found.0)];
    wanted.retain(|(_, target)| !target.exists());
    let archives: Vec<&Archive> = wanted.iter().map(|(archive, _)| *archive).collect();
    let paths = match &options.from {
        Some(folder) => {
            let paths = from_folder(folder, &archives)?;
            check_room(root, room(&archives, &paths))?;
            paths
        }
        None => {
            let offered: Vec<Offered> = archives
                .iter()
                .map(|archive| Offered {
                    name: archive.file.into(),
                    url: format!("{url}/{}", archive.file),
                    unpacked: archive.room,
                })
                .collect();
            download(place, &root.join("archives"), &offered)?
        }
    };
    for ((archive, target), path) in wanted.into_iter().zip(paths) {
        eprintln!("unpacking {}", path.display());
        unpack(archive, &path, target, place, root)?;
    }
    Ok(found)
}

/// Whether the files of an archive lie in `folder` themselves, without the archive.
fn holds_loose(folder: &Path, archive: &Archive) -> bool {
    let Packing::Zip([first, ..]) = archive.packing else {
        return false;
    };
    let mut names = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    !folder.join(archive.file).exists() && names.any(|name| name.ends_with(first))
}

/// The bytes that unpacking takes.
fn room(archives: &[&Archive], paths: &[PathBuf]) -> u64 {
    let needs = archives.iter().zip(paths).map(|(archive, path)| {
        let files = match archive.packing {
            Packing::CutTar => pieces(path),
            _ => vec![path.clone()],
        };
        let bytes = files.iter().filter_map(|file| fs::metadata(file).ok());
        let bytes: u64 = bytes.map(|metadata| metadata.len()).sum();
        bytes.saturating_mul(archive.room)
    });
    needs.fold(0, u64::saturating_add)
}

fn unpack(
    archive: &Archive,
    path: &Path,
    target: &Path,
    place: &Workplace,
    root: &Path,
) -> Result<()> {
    let staging = root.join(".unpacking");
    match archive.packing {
        Packing::Rar => {
            rar(place, path, &staging)?;
            place_at(&inner_folder(&staging, |_| true)?, target)?;
        }
        Packing::ClassRar => {
            let classes = root.join(".classes");
            rar(place, path, &staging)?;
            let inner = inner_folder(&staging, holds_folders)?;
            unpack_classes(place, path, &inner, &root.join(".class"), &classes)?;
            place_at(&classes, target)?;
        }
        Packing::Zip(endings) => {
            fresh(&staging)?;
            archive::unpack(path, &staging, "files", |name| {
                let name = Path::new(name).file_name()?.to_str()?;
                let wanted = endings.iter().any(|ending| name.ends_with(ending));
                wanted.then(|| name.to_owned())
            })?;
            place_at(&staging, target)?;
        }
        Packing::CutTar => {
            tar(path, &pieces(path), &staging)?;
            place_at(&inner_folder(&staging, |_| true)?, target)?;
        }
    }
    let _ = fs::remove_dir_all(&staging);
    Ok(())
}

/// Puts the folders of classes into `classes`, and unpacks archives of classes there, one after
/// the other; those placed by an earlier run are left alone.
fn unpack_classes(
    place: &Workplace,
    archive: &Path,
    folder: &Path,
    staging: &Path,
    classes: &Path,
) -> Result<()> {
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<std::io::Result<Vec<_>>>()
        })
        .map_err(Error::io("list", folder))?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            let target = classes.join(path.file_name().unwrap_or_default());
            if !target.exists() {
                place_at(&path, &target)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rar") {
            let target = classes.join(path.file_stem().unwrap_or_default());
            if !target.exists() {
                rar(place, &path, staging)?;
                place_at(&inner_folder(staging, |_| true)?, &target)?;
            }
            // Gone before the next one is unpacked: half the room is enough.
            let _ = fs::remove_file(&path);
        }
    }
    let _ = fs::remove_dir_all(staging);
    if !classes.exists() {
        return Err(Error::Archive {
            path: archive.into(),
            reason: "holds no folder of a class".into(),
        });
    }
    Ok(())
}
