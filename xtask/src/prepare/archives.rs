//! Data sets of two official archives, one of videos and one of lists.

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::{Archive, Endings, Packing};

use super::fetch::{Offered, check_space, download, from_folder};
use super::{Options, Tools};
use crate::archive::{rar, tar, zip};
use crate::places::{empty_folder, move_to};
use crate::{Error, Result};

/// The folders of `videos` and of `lists`. Unpacked ones in `--from` are used in place; otherwise
/// the archives, offered at `url`, are unpacked below `root` unless that is already done.
///
/// # Errors
/// As of [`prepare`](super::prepare).
pub(super) fn unpacked(
    videos: &Archive,
    lists: &Archive,
    url: &str,
    options: &Options,
    tools: &Tools,
    root: &Path,
) -> Result<(PathBuf, PathBuf)> {
    let mut found = (root.join(videos.folder), root.join("lists"));
    if let Some(from) = &options.from {
        let from = std::path::absolute(from).map_err(Error::io("cannot resolve", from))?;
        if from.join(videos.folder).is_dir() {
            found.0 = from.join(videos.folder);
        }
        if from.join(lists.folder).is_dir() {
            found.1 = from.join(lists.folder);
        } else if has_loose_files(&from, lists) {
            found.1 = from;
        }
    }
    // The lists come first: they are small, and their errors show before the videos are unpacked.
    let mut wanted = vec![(lists, &found.1), (videos, &found.0)];
    wanted.retain(|(_, target)| !target.exists());
    let archives: Vec<&Archive> = wanted.iter().map(|(archive, _)| *archive).collect();
    let paths = match &options.from {
        Some(folder) => {
            let paths = from_folder(folder, &archives)?;
            check_space(root, unpacked_size(&archives, &paths))?;
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
            download(tools, &root.join("archives"), &offered)?
        }
    };
    for ((archive, target), path) in wanted.into_iter().zip(paths) {
        eprintln!("unpacking {}", path.display());
        unpack(archive, &path, target, tools, root)?;
    }
    Ok(found)
}

/// Whether `folder` has the files of an archive instead of the archive.
fn has_loose_files(folder: &Path, archive: &Archive) -> bool {
    let Packing::Zip(Endings {
        required: [first, ..],
        ..
    }) = archive.packing
    else {
        return false;
    };
    let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
    !folder.join(archive.file).exists()
        && files.any(|file| file.file_name().to_string_lossy().ends_with(first))
}

/// The space for the unpacked files, in bytes.
fn unpacked_size(archives: &[&Archive], paths: &[PathBuf]) -> u64 {
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

/// The pieces `<archive>-00`, `-01` and so on of a split archive.
fn pieces(archive: &Path) -> Vec<PathBuf> {
    let piece = |number: u32| {
        let mut name = archive.as_os_str().to_owned();
        name.push(format!("-{number:02}"));
        PathBuf::from(name)
    };
    let pieces = (0..).map(piece);
    pieces.take_while(|piece| piece.is_file()).collect()
}

fn unpack(archive: &Archive, path: &Path, target: &Path, tools: &Tools, root: &Path) -> Result<()> {
    let staging = root.join(".unpacking");
    match archive.packing {
        Packing::Rar => {
            rar::unpack(&tools.programs, path, &staging)?;
            move_to(&inner_folder(&staging, |_| true)?, target)?;
        }
        Packing::ClassRar => {
            let classes = root.join(".classes");
            rar::unpack(&tools.programs, path, &staging)?;
            let inner = inner_folder(&staging, has_classes)?;
            unpack_classes(tools, path, &inner, &root.join(".class"), &classes)?;
            move_to(&classes, target)?;
        }
        Packing::Zip(Endings { required, optional }) => {
            empty_folder(&staging)?;
            let files = zip::unpack(path, &staging, "files", |name| {
                let name = Path::new(name).file_name()?.to_str()?;
                let mut endings = required.iter().chain(optional);
                let wanted = endings.any(|ending| name.ends_with(ending));
                wanted.then(|| name.to_owned())
            })?;
            let is_there = |ending: &&str| {
                let mut names = files.iter().map(|file| file.path.to_string_lossy());
                names.any(|name| name.ends_with(*ending))
            };
            if let Some(ending) = required.iter().find(|ending| !is_there(ending)) {
                let reason = format!("contains no file that ends in '{ending}'");
                return Err(Error::invalid(path.display(), reason));
            }
            move_to(&staging, target)?;
        }
        Packing::CutTar => {
            tar::unpack(path, &pieces(path), &staging)?;
            move_to(&inner_folder(&staging, |_| true)?, target)?;
        }
    }
    let _ = fs::remove_dir_all(&staging);
    Ok(())
}

/// Moves the folders of classes to `classes` and unpacks the archives of classes there. Those
/// moved by an earlier run are kept.
fn unpack_classes(
    tools: &Tools,
    archive: &Path,
    folder: &Path,
    staging: &Path,
    classes: &Path,
) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            let target = classes.join(path.file_name().unwrap_or_default());
            if !target.exists() {
                move_to(&path, &target)?;
            }
        } else if is_rar(&path) {
            let target = classes.join(path.file_stem().unwrap_or_default());
            if !target.exists() {
                rar::unpack(&tools.programs, &path, staging)?;
                move_to(&inner_folder(staging, |_| true)?, &target)?;
            }
            // Removed before the next one is unpacked, to save disk space.
            let _ = fs::remove_file(&path);
        }
    }
    let _ = fs::remove_dir_all(staging);
    if !classes.exists() {
        let reason = "contains no folder of a class";
        return Err(Error::invalid(archive.display(), reason));
    }
    Ok(())
}

/// Descends from `folder` as long as the only entry is a folder that `descend` accepts.
fn inner_folder(folder: &Path, descend: fn(&Path) -> bool) -> Result<PathBuf> {
    let mut inner = folder.to_path_buf();
    while let [only] = entries(&inner)?.as_slice()
        && only.is_dir()
        && descend(only)
    {
        inner = only.clone();
    }
    Ok(inner)
}

/// Whether `folder` has folders of classes, or archives of them.
fn has_classes(folder: &Path) -> bool {
    entries(folder).is_ok_and(|all| all.iter().any(|path| path.is_dir() || is_rar(path)))
}

fn is_rar(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rar")
}

/// The sorted paths in `folder`.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = paths.map_err(Error::io("cannot list", folder))?;
    paths.sort();
    Ok(paths)
}
