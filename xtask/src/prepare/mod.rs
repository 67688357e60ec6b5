//! The data sets: fetched, unpacked, and listed in a manifest.
//!
//! Every step leaves its result under its final name only when it is whole, and a step
//! whose result is there is not done again. So an interrupted run is continued by
//! running the same command, and a finished one does nothing.

mod archives;
mod check_videos;
mod command;
mod fetch;
mod shards;
mod unpack;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use data::formats::{Format, Source};
use data::{Dataset, DatasetOptions, Manifest};
use hub::Client;

use crate::places::make_folder;
use crate::{Error, Result, progress, workspace};

pub use check_videos::{CheckOptions, check_videos};
pub use command::Prepare;
pub use shards::{Part, ShardOptions};

/// The options of every data set.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Folder of the data set [default: datasets/media/NAME in the workspace]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Take what one already has from this folder, instead of downloading
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,

    /// Download from this mirror instead of the official place
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    pub url: Option<String>,

    /// Accept that listed clips are not there; they are counted and left out
    #[arg(long)]
    pub allow_missing: bool,

    /// For data sets of shards.
    #[arg(skip)]
    pub shards: ShardOptions,
}

impl Options {
    /// The mirror's address, or the official one.
    fn address<'a>(&'a self, official: &'a str) -> &'a str {
        let url = self.url.as_deref().unwrap_or(official);
        url.trim_end_matches('/')
    }
}

/// The commands' surroundings: the network, and the programs that unpack.
#[derive(Debug)]
pub struct Workplace {
    /// Downloads.
    pub client: Client,
    /// Where programs are looked for, as in `PATH`.
    pub programs: OsString,
}

impl Workplace {
    /// The user's own.
    #[must_use]
    pub fn of_user() -> Self {
        Self {
            client: Client::default().with_progress(progress::observe),
            programs: std::env::var_os("PATH").unwrap_or_default(),
        }
    }
}

/// Fetches, unpacks and lists a public data set. Answers with the manifest's path.
///
/// # Errors
/// The format is not one of a public data set; no network or room; damaged or hostile archives;
/// no program for `.rar`; lists that contradict each other; missing clips where they are not
/// allowed.
pub fn prepare(format: &'static Format, options: &Options, place: &Workplace) -> Result<PathBuf> {
    let Some(published) = &format.published else {
        return Err(Error::Parse {
            what: format.title.into(),
            reason: "there is nothing to prepare".into(),
        });
    };
    let root = place_of(options.root.as_deref(), format.name)?;
    make_folder(&root)?;
    let path = root.join(Dataset::MANIFEST);
    if path.exists() {
        let manifest = Manifest::load(&path)?;
        eprintln!(
            "{}; delete {} to list them anew",
            summary(&manifest),
            path.display()
        );
        return Ok(path);
    }
    let ((videos, lists), lossy) = match &published.source {
        Source::Archives { url, videos, lists } => {
            if url.is_none() && options.from.is_none() {
                return Err(Error::Parse {
                    what: format.title.into(),
                    reason: format!(
                        "is offered to registered users at {}; name the folder of its archives \
                         with --from",
                        published.url
                    ),
                });
            }
            let url = options.address(url.unwrap_or_default());
            let found = archives::unpacked(videos, lists, url, options, place, &root)?;
            (found, false)
        }
        Source::Shards(shards) => (shards::unpacked(shards, options, place, &root)?, true),
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

/// Where the data set lies, or will lie.
fn place_of(root: Option<&Path>, name: &str) -> Result<PathBuf> {
    let root = root.map_or_else(
        || workspace::root().join("datasets/media").join(name),
        Path::to_path_buf,
    );
    std::path::absolute(&root).map_err(Error::io("find", &root))
}
