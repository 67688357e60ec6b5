//! Kinetics-400 from tar shards, or from clips that one holds.

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::{Found, KineticsLists, kinetics400};

use super::fetch::{Offered, check_room, download, size_of};
use super::unpack::{place_at, tar};
use super::{Options, Workplace, finish, prepared, read_options, root_of};
use crate::places::write_whole;
use crate::{Error, Result};

const OFFICIAL: &str = "https://s3.amazonaws.com/kinetics/400";

/// A part of Kinetics-400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// About 240,000 clips.
    Train,
    /// About 20,000 clips.
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

/// What Kinetics-400 is prepared with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KineticsOptions {
    /// Where, and from what
    #[command(flatten)]
    pub common: Options,

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

/// Fetches and unpacks the shards, or takes the clips in the folder `--from` where they
/// lie, and lists them. Clips of the official lists that are not there (every copy has
/// lost some) are counted and left out. Answers with the manifest's path.
///
/// # Errors
/// No network or room, damaged or hostile archives, no list.
pub fn prepare_kinetics400(options: &KineticsOptions, place: &Workplace) -> Result<PathBuf> {
    let root = root_of(&options.common, "kinetics400")?;
    if let Some(manifest) = prepared(&root)? {
        return Ok(manifest);
    }
    let parts = options
        .part
        .map_or(vec![Part::Train, Part::Val], |part| vec![part]);
    let base = options
        .common
        .url
        .as_deref()
        .unwrap_or(OFFICIAL)
        .trim_end_matches('/');
    let videos = match &options.common.from {
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
                check_room(&root, size.map(|metadata| metadata.len()).sum())?;
                for (part, shard) in &shards {
                    unpack_shard(&root, *part, shard)?;
                }
                root.join("videos")
            }
        }
        None => {
            for part in &parts {
                download_part(&root, *part, base, options.common.url.is_some(), place)?;
            }
            root.join("videos")
        }
    };
    let mut lists = KineticsLists::default();
    for part in &parts {
        let list = list_of(options, *part, &root, base, place)?;
        match part {
            Part::Train => lists.train = list,
            Part::Val => lists.val = list,
        }
    }
    let found = kinetics400(&videos, &lists, read_options(true))?;
    say_losses(&found);
    finish(&root, &found)
}

fn say_losses(found: &Found) {
    let lost = found.missing.len();
    #[allow(clippy::cast_precision_loss)] // a percentage for people
    let share = 100.0 * lost as f64 / found.listed.max(1) as f64;
    eprintln!(
        "{lost} of {} listed clips are lost ({share:.1} %)",
        found.listed
    );
}

/// The official list of a part: named, in `--from`, or downloaded. A part of a folder of
/// one's own may have none.
fn list_of(
    options: &KineticsOptions,
    part: Part,
    root: &Path,
    base: &str,
    place: &Workplace,
) -> Result<Option<PathBuf>> {
    let named = match part {
        Part::Train => &options.train_csv,
        Part::Val => &options.val_csv,
    };
    let name = part.name();
    let target = root.join("lists").join(format!("{name}.csv"));
    let keep = |list: &Path| -> Result<Option<PathBuf>> {
        let content = fs::read(list).map_err(Error::io("read", list))?;
        write_whole(&target, &content)?;
        Ok(Some(target.clone()))
    };
    if let Some(list) = named {
        return keep(list);
    }
    if target.exists() {
        return Ok(Some(target));
    }
    if let Some(folder) = &options.common.from {
        let places = [
            format!("{name}.csv"),
            format!("kinetics-400_{name}.csv"),
            format!("annotations/{name}.csv"),
        ];
        let list = places
            .iter()
            .map(|place| folder.join(place))
            .find(|path| path.is_file());
        if let Some(list) = list {
            return keep(&list);
        }
        // With one list given, clips of the other part are simply not spoken of.
        if options.train_csv.is_some() || options.val_csv.is_some() {
            return Ok(None);
        }
    }
    let offered = Offered {
        name: format!("{name}.csv"),
        url: format!("{base}/annotations/{name}.csv"),
        unpacked: 0,
    };
    download(place, &root.join("lists"), &[offered])?;
    Ok(Some(target))
}

/// Downloads a part shard by shard; a shard is deleted once its clips are in place.
fn download_part(
    root: &Path,
    part: Part,
    base: &str,
    mirror: bool,
    place: &Workplace,
) -> Result<()> {
    let name = part.name();
    let index = format!("{base}/{name}/k400_{name}_path.txt");
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
        let url = if mirror || !line.contains("://") {
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

/// What says that a shard's clips are in place.
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
    let files = tar(shard, &staging)?;
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
