//! A data set from tar shards, or from clips that one holds.

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::Shards;

use super::fetch::{Offered, check_room, download, size_of};
use super::unpack::{place_at, tar};
use super::{Options, Workplace};
use crate::places::write_whole;
use crate::{Error, Result};

/// A part of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Clips to train on.
    Train,
    /// Clips to test on.
    Val,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

/// The options of a data set of shards, besides the common ones.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ShardOptions {
    /// Only this part
    #[arg(long, value_enum)]
    pub part: Option<Part>,

    /// The official training list, where it lies elsewhere
    #[arg(long, value_name = "CSV")]
    pub train_csv: Option<PathBuf>,

    /// The official validation list, where it lies elsewhere
    #[arg(long, value_name = "CSV")]
    pub val_csv: Option<PathBuf>,
}

/// The folders of videos and of lists below `root`: the shards are fetched and unpacked, or the
/// clips in the folder `--from` stay where they lie.
///
/// # Errors
/// No network or room, damaged or hostile archives, no list.
pub(super) fn unpacked(
    shards: &Shards,
    options: &Options,
    place: &Workplace,
    root: &Path,
) -> Result<(PathBuf, PathBuf)> {
    let parts = match options.shards.part {
        Some(part) => vec![part],
        None => vec![Part::Train, Part::Val],
    };
    let videos = match &options.from {
        Some(folder) => {
            let shards = shards_in(folder, &parts)?;
            if shards.is_empty() {
                eprintln!(
                    "no .tar or .tar.gz in {}: its clips are taken",
                    folder.display()
                );
                std::path::absolute(folder).map_err(Error::io("find", folder))?
            } else {
                let size = shards
                    .iter()
                    .filter_map(|(_, path)| fs::metadata(path).ok());
                check_room(root, size.map(|metadata| metadata.len()).sum())?;
                for (part, shard) in &shards {
                    unpack_shard(root, *part, shard)?;
                }
                root.join("videos")
            }
        }
        None => {
            for part in &parts {
                download_part(root, *part, shards, options, place)?;
            }
            root.join("videos")
        }
    };
    let lists = root.join("lists");
    for part in [Part::Train, Part::Val] {
        let target = lists.join(format!("{}.csv", part.name()));
        if parts.contains(&part) {
            fetch_list(options, part, &target, options.address(shards.url), place)?;
        } else if target.exists() {
            // A run for all parts was interrupted.
            fs::remove_file(&target).map_err(Error::io("remove", &target))?;
        }
    }
    Ok((videos, lists))
}

/// Brings the official list of a part to `target`: named, in `--from`, or downloaded. A part of
/// a folder of one's own may have none.
fn fetch_list(
    options: &Options,
    part: Part,
    target: &Path,
    url: &str,
    place: &Workplace,
) -> Result<()> {
    let given = &options.shards;
    let named = match part {
        Part::Train => &given.train_csv,
        Part::Val => &given.val_csv,
    };
    let name = part.name();
    let found = match (named, &options.from) {
        (Some(list), _) => Some(list.clone()),
        _ if target.exists() => return Ok(()),
        (None, Some(folder)) => Shards::list(folder, name),
        (None, None) => None,
    };
    if let Some(list) = found {
        let content = fs::read(&list).map_err(Error::io("read", &list))?;
        write_whole(target, &content)?;
        return Ok(());
    }
    // With one list given, clips of the other part are simply not spoken of.
    if options.from.is_some() && (given.train_csv.is_some() || given.val_csv.is_some()) {
        return Ok(());
    }
    let offered = Offered {
        name: format!("{name}.csv"),
        url: format!("{url}/annotations/{name}.csv"),
        unpacked: 0,
    };
    let folder = target.parent().unwrap_or(target);
    download(place, folder, &[offered])?;
    Ok(())
}

/// Downloads a part shard by shard; a shard is deleted once its clips are in place.
fn download_part(
    root: &Path,
    part: Part,
    shards: &Shards,
    options: &Options,
    place: &Workplace,
) -> Result<()> {
    let (name, base) = (part.name(), options.address(shards.url));
    let index = format!("{base}/{name}/{}_{name}_path.txt", shards.prefix);
    let text = place.client.text(&index, "text/plain", None)?.body;
    let mut offered = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let file = line.rsplit('/').next().unwrap_or(line);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if file.is_empty() || file.starts_with('.') || !file.chars().all(plain) {
            return Err(Error::Parse {
                what: index,
                reason: format!("'{line}' names no shard"),
            });
        }
        let url = if options.url.is_some() || !line.contains("://") {
            format!("{base}/{name}/{file}")
        } else {
            line.to_owned()
        };
        let done = stamp(root, Some(part), file);
        if !done.exists() {
            offered.push(Offered {
                name: file.into(),
                url,
                unpacked: 1,
            });
        }
    }
    if offered.is_empty() && text.trim().is_empty() {
        return Err(Error::Parse {
            what: index,
            reason: "names no shard".into(),
        });
    }
    // All of the clips, and for a while the largest shard beside them.
    let mut sizes = Vec::with_capacity(offered.len());
    for shard in &offered {
        sizes.push(size_of(place, &shard.url)?.unwrap_or(0));
    }
    let largest = sizes.iter().max().copied().unwrap_or(0);
    check_room(
        root,
        sizes
            .iter()
            .fold(largest, |sum, size| sum.saturating_add(*size)),
    )?;
    let folder = root.join("archives").join(name);
    for shard in offered {
        let paths = download(place, &folder, std::slice::from_ref(&shard))?;
        for path in paths {
            unpack_shard(root, Some(part), &path)?;
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// The shards in a folder, in `train/` and `val/` below it, or beside one another.
fn shards_in(folder: &Path, parts: &[Part]) -> Result<Vec<(Option<Part>, PathBuf)>> {
    let mut shards = Vec::new();
    let places = parts
        .iter()
        .map(|part| (Some(*part), folder.join(part.name())));
    for (part, folder) in places.chain([(None, folder.to_path_buf())]) {
        if !folder.is_dir() && part.is_some() {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase();
            let shard = [".tar", ".tar.gz", ".tgz"]
                .iter()
                .any(|end| name.ends_with(end));
            if shard && path.is_file() {
                shards.push((part, path));
            }
        }
    }
    shards.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(shards)
}

/// The file that says that a shard's clips are in place.
fn stamp(root: &Path, part: Option<Part>, shard: &str) -> PathBuf {
    let part = part.map_or("all", Part::name);
    root.join(".unpacked").join(format!("{part}-{shard}"))
}

fn unpack_shard(root: &Path, part: Option<Part>, shard: &Path) -> Result<()> {
    let name = shard
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let done = stamp(root, part, &name);
    if done.exists() {
        return Ok(());
    }
    eprintln!("unpacking {}", shard.display());
    let staging = root.join(".unpacking");
    let files = tar(shard, &[shard.into()], &staging)?;
    let videos = root.join("videos").join(part.map_or("", Part::name));
    for file in &files {
        // Flat, whatever the shard's folders are: names hold video, start and end.
        let clip = file.file_name().unwrap_or_default();
        place_at(&staging.join(file), &videos.join(clip))?;
    }
    let _ = fs::remove_dir_all(&staging);
    write_whole(&done, format!("{} clips\n", files.len()).as_bytes())?;
    Ok(())
}
