//! The data sets: fetched, unpacked, and listed in a manifest.
//!
//! Every step leaves its result under its final name only when it is whole, and a step
//! whose result is there is not done again. So an interrupted run is continued by
//! running the same command, and a finished one does nothing.

mod charades;
mod check_videos;
mod fetch;
mod hmdb51;
mod kinetics400;
mod ucf101;
mod unpack;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use data::Manifest;
use data::formats::{Found, Missing, ReadOptions};
use hub::Client;

use crate::places::make_folder;
use crate::{Error, Result, progress, workspace};

pub use charades::prepare_charades;
pub use check_videos::{CheckOptions, check_videos};
pub use hmdb51::prepare_hmdb51;
pub use kinetics400::{KineticsOptions, Part, prepare_kinetics400};
pub use ucf101::prepare_ucf101;

/// What every data set is prepared with.
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
}

/// What the commands work with: the network, and the programs that unpack.
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

/// The data set's folder, made where it is not there.
fn root_of(options: &Options, name: &str) -> Result<PathBuf> {
    let root = place_of(options.root.as_deref(), name)?;
    make_folder(&root)?;
    Ok(root)
}

/// Where the data set lies, or will lie.
fn place_of(root: Option<&Path>, name: &str) -> Result<PathBuf> {
    let root = root.map_or_else(
        || workspace::root().join("datasets/media").join(name),
        Path::to_path_buf,
    );
    std::path::absolute(&root).map_err(Error::io("find", &root))
}

/// The manifest of an earlier run, which leaves nothing to do.
fn prepared(root: &Path) -> Result<Option<PathBuf>> {
    let path = root.join("manifest.json");
    if !path.exists() {
        return Ok(None);
    }
    let manifest = Manifest::load(&path)?;
    eprintln!(
        "{} is prepared: {} clips of {} classes; delete {} to list them anew",
        manifest.dataset(),
        manifest.clips().len(),
        manifest.classes().len(),
        path.display()
    );
    Ok(Some(path))
}

fn read_options(allow_missing: bool) -> ReadOptions {
    let missing = if allow_missing {
        Missing::Allow
    } else {
        Missing::Refuse
    };
    ReadOptions {
        missing,
        follow_links: false,
    }
}

/// Writes the manifest and says what is in it.
fn finish(root: &Path, found: &Found) -> Result<PathBuf> {
    let path = root.join("manifest.json");
    found.manifest.save(&path)?;
    for note in &found.notes {
        eprintln!("{note}");
    }
    for split in found.manifest.splits() {
        eprintln!(
            "split {}: {} training, {} test clips",
            split.name,
            split.train.len(),
            split.test.len()
        );
    }
    eprintln!(
        "{}: {} clips of {} classes",
        found.manifest.dataset(),
        found.manifest.clips().len(),
        found.manifest.classes().len()
    );
    Ok(path)
}
