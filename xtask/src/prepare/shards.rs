//! Data sets of tar shards, or of existing clips.

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::Shards;

use super::archives::entries;
use super::fetch::{Offered, check_space, download, size_of};
use super::{Options, Tools};
use crate::archive::tar;
use crate::places::{move_to, write_whole};
use crate::{Error, Result};

/// A part of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The training clips.
    Train,
    /// The validation clips.
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

/// The further options of data sets in shards.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ShardOptions {
    /// Prepare only this part
    #[arg(long, value_enum)]
    pub part: Option<Part>,

    /// Path of the official training list, if it is not in --from
    #[arg(long, value_name = "CSV")]
    pub train_csv: Option<PathBuf>,

    /// Path of the official validation list, if it is not in --from
    #[arg(long, value_name = "CSV")]
    pub val_csv: Option<PathBuf>,
}

/// The folders of videos and of lists: the shards are downloaded and unpacked below `root`, or
/// clips in `--from` are used in place.
///
/// # Errors
/// As of [`prepare`](super::prepare).
pub(super) fn unpacked(
    shards: &Shards,
    options: &Options,
    tools: &Tools,
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
                    "no .tar or .tar.gz in {}: using its clips",
                    folder.display()
                );
                std::path::absolute(folder).map_err(Error::io("cannot resolve", folder))?
            } else {
                let size = shards
                    .iter()
                    .filter_map(|(_, path)| fs::metadata(path).ok());
                check_space(root, size.map(|metadata| metadata.len()).sum())?;
                for (part, shard) in &shards {
                    unpack_shard(root, *part, shard)?;
                }
                root.join("videos")
            }
        }
        None => {
            for part in &parts {
                download_part(root, *part, shards, options, tools)?;
            }
            root.join("videos")
        }
    };
    let lists = root.join("lists");
    for part in [Part::Train, Part::Val] {
        let target = lists.join(format!("{}.csv", part.name()));
        if parts.contains(&part) {
            fetch_list(options, part, &target, options.address(shards.url), tools)?;
        } else if target.exists() {
            // It is from an interrupted run for all parts.
            fs::remove_file(&target).map_err(Error::io("cannot remove", &target))?;
        }
    }
    Ok((videos, lists))
}

/// Writes the official list of a part to `target`: the given one, that in `--from`, or the
/// downloaded one. With `--from`, one of the parts may have no list.
fn fetch_list(
    options: &Options,
    part: Part,
    target: &Path,
    url: &str,
    tools: &Tools,
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
        let content = fs::read(&list).map_err(Error::io("cannot read", &list))?;
        write_whole(target, &content)?;
        return Ok(());
    }
    // With one list given, the clips of the other part are ignored.
    if options.from.is_some() && (given.train_csv.is_some() || given.val_csv.is_some()) {
        return Ok(());
    }
    let offered = Offered {
        name: format!("{name}.csv"),
        url: format!("{url}/annotations/{name}.csv"),
        unpacked: 0,
    };
    let folder = target.parent().unwrap_or(target);
    download(tools, folder, &[offered])?;
    Ok(())
}

/// Downloads and unpacks a part shard by shard; an unpacked shard is deleted.
fn download_part(
    root: &Path,
    part: Part,
    shards: &Shards,
    options: &Options,
    tools: &Tools,
) -> Result<()> {
    let (name, base) = (part.name(), options.address(shards.url));
    let index = format!("{base}/{name}/{}_{name}_path.txt", shards.prefix);
    let text = tools.client.text(&index, "text/plain", None)?.body;
    let mut offered = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let file = line.rsplit('/').next().unwrap_or(line);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if file.is_empty() || file.starts_with('.') || !file.chars().all(plain) {
            return Err(Error::invalid(index, format!("'{line}' is not a shard")));
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
        return Err(Error::invalid(index, "contains no shard"));
    }
    // The space for all clips and the largest shard.
    let mut sizes = Vec::with_capacity(offered.len());
    for shard in &offered {
        sizes.push(size_of(tools, &shard.url)?.unwrap_or(0));
    }
    let largest = sizes.iter().max().copied().unwrap_or(0);
    check_space(root, sizes.into_iter().fold(largest, u64::saturating_add))?;
    let folder = root.join("archives").join(name);
    for shard in offered {
        let paths = download(tools, &folder, std::slice::from_ref(&shard))?;
        for path in paths {
            unpack_shard(root, Some(part), &path)?;
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// The shards in `train/` and `val/` of a folder, or in the folder itself.
fn shards_in(folder: &Path, parts: &[Part]) -> Result<Vec<(Option<Part>, PathBuf)>> {
    let mut shards = Vec::new();
    let places = parts
        .iter()
        .map(|part| (Some(*part), folder.join(part.name())));
    for (part, folder) in places.chain([(None, folder.to_path_buf())]) {
        if !folder.is_dir() && part.is_some() {
            continue;
        }
        for path in entries(&folder)? {
            let name = path.to_string_lossy().to_lowercase();
            let endings = [".tar", ".tar.gz", ".tgz"];
            if endings.iter().any(|end| name.ends_with(end)) && path.is_file() {
                shards.push((part, path));
            }
        }
    }
    shards.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(shards)
}

/// The file that marks a shard as unpacked.
fn stamp(root: &Path, part: Option<Part>, shard: &str) -> PathBuf {
    let part = part.map_or("all", Part::name);
    root.join(".unpacked").join(format!("{part}-{shard}"))
}

fn unpack_shard(root: &Path, part: Option<Part>, shard: &Path) -> Result<()> {
    let name = shard.file_name().unwrap_or_default().to_string_lossy();
    let done = stamp(root, part, &name);
    if done.exists() {
        return Ok(());
    }
    eprintln!("unpacking {}", shard.display());
    let staging = root.join(".unpacking");
    let files = tar::unpack(shard, &[shard.into()], &staging)?;
    let videos = root.join("videos").join(part.map_or("", Part::name));
    for file in &files {
        // Without the shard's folders: the name of a clip is unique.
        let clip = file.file_name().unwrap_or_default();
        move_to(&staging.join(file), &videos.join(clip))?;
    }
    let _ = fs::remove_dir_all(&staging);
    write_whole(&done, format!("{} clips\n", files.len()).as_bytes())?;
    Ok(())
}
