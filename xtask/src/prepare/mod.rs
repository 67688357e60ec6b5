//! `cargo xtask prepare-NAME`: downloads and unpacks a data set and writes its manifest.
//!
//! A complete result of a step gets its final name and is not produced again. The same command
//! therefore continues an interrupted run, and does nothing after a finished one.

mod archives;
mod check_videos;
mod command;
mod fetch;
mod shards;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use data::formats::{Format, Source};
use data::{Dataset, DatasetOptions, Manifest};
use hub::Client;

use crate::places::{lock, make_folder};
use crate::{Error, Result, progress, workspace};

pub use check_videos::{CheckOptions, check_videos};
pub use command::Prepare;
pub use shards::{Part, ShardOptions};

/// The options common to all data sets.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Folder of the data set [default: datasets/media/NAME in the workspace]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Use the archives or clips in this folder instead of downloading
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,

    /// Download from this mirror instead of the official address
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    pub url: Option<String>,

    /// Accept missing clips; they are counted and omitted
    #[arg(long)]
    pub allow_missing: bool,

    /// The options of data sets in shards.
    #[arg(skip)]
    pub shards: ShardOptions,
}

impl Options {
    /// The address of the mirror, or the official one.
    fn address<'a>(&'a self, official: &'a str) -> &'a str {
        let url = self.url.as_deref().unwrap_or(official);
        url.trim_end_matches('/')
    }
}

/// The tools for downloading and unpacking.
#[derive(Debug)]
pub struct Tools {
    /// The client for downloads.
    pub client: Client,
    /// The folders with programs for `.rar`, in the form of `PATH`.
    pub programs: OsString,
}

impl Tools {
    /// The tools of the user.
    #[must_use]
    pub fn of_user() -> Self {
        Self {
            client: Client::default().with_progress(progress::observe),
            programs: std::env::var_os("PATH").unwrap_or_default(),
        }
    }
}

/// Prepares a public data set and returns the path of its manifest.
///
/// # Errors
/// The format has no public data set, a download fails, the disk is too full, an archive is
/// damaged or malicious, no program for `.rar` is found, the lists contradict each other, or clips
/// are missing without [`Options::allow_missing`].
pub fn prepare(format: &'static Format, options: &Options, tools: &Tools) -> Result<PathBuf> {
    let Some(published) = &format.published else {
        return Err(Error::invalid(format.title, "not a public data set"));
    };
    let root = root_of(options.root.as_deref(), format.name)?;
    make_folder(&root)?;
    let path = root.join(Dataset::MANIFEST);
    let is_prepared = || -> Result<bool> {
        let there = disk::is_there(&path)?;
        if there {
            let manifest = Manifest::load(&path)?;
            eprintln!(
                "{}; delete {} to read them again",
                summary(&manifest),
                path.display()
            );
        }
        Ok(there)
    };
    if is_prepared()? {
        return Ok(path);
    }
    // Two at once would unpack into each other's folders.
    let _lock = lock(&root.join(".lock"))?;
    if is_prepared()? {
        return Ok(path);
    }
    let ((videos, lists), lossy) = match &published.source {
        Source::Archives { url, videos, lists } => {
            if url.is_none() && options.from.is_none() {
                let reason = format!(
                    "available only to registered users, at {}; download its archives and name \
                     their folder with --from",
                    published.url
                );
                return Err(Error::invalid(format.title, reason));
            }
            let url = options.address(url.unwrap_or_default());
            let found = archives::unpacked(videos, lists, url, options, tools, &root)?;
            (found, false)
        }
        Source::Shards(shards) => (shards::unpacked(shards, options, tools, &root)?, true),
    };
    let dataset = Dataset::read(&DatasetOptions {
        lists: Some(lists),
        allow_missing: lossy || options.allow_missing,
        ..DatasetOptions::new(format, videos)
    })?;
    dataset.manifest.save(&path)?;
    for note in &dataset.notes {
        eprintln!("{note}");
    }
    for split in dataset.manifest.splits() {
        eprintln!(
            "split {}: {} training, {} test clips",
            split.name,
            split.train.len(),
            split.test.len()
        );
    }
    eprintln!("{}", summary(&dataset.manifest));
    Ok(path)
}

fn summary(manifest: &Manifest) -> String {
    format!(
        "{}: {} clips of {} classes",
        manifest.dataset(),
        manifest.clips().len(),
        manifest.classes().len()
    )
}

/// The folder of the data set.
fn root_of(root: Option<&Path>, name: &str) -> Result<PathBuf> {
    let root = root.map_or_else(
        || workspace::root().join("datasets/media").join(name),
        Path::to_path_buf,
    );
    std::path::absolute(&root).map_err(Error::io("cannot resolve", &root))
}
