//! The torture of the workspace: blocks of cases, each of which strikes a program or a crate and
//! checks that a promise of `docs/reliability.md` holds.
//!
//! A case depends on the seed, its block and its index alone. Two of them run at once; what was done
//! is kept in a journal, so that the same campaign goes on where it was stopped.
// A case ends as a test does: a panic is its failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod blocks;
pub mod child;
mod journal;
mod lossy;
mod material;
mod mutate;
mod runner;
mod scenario;
mod table;
mod trace;

use std::path::{Path, PathBuf};

use clips::Interrupt;
use serde::Deserialize;

pub use runner::run;
pub(crate) use runner::{keep_panics, last_panic};

/// The random numbers of a case.
pub type Random = random::Stream;

/// A block of the campaign: cases that depend on the seed and their index alone.
pub struct Block {
    /// Its number in the published table.
    pub number: u8,
    /// Its name on the command line.
    pub name: &'static str,
    /// Cases of the published campaign.
    pub cases: u64,
    /// Cases in the share of the test command.
    pub share: u64,
    /// Planned seconds of the published campaign, by which `--minutes` is divided.
    pub seconds: u64,
    /// Makes the inputs and references of its cases, once, in a folder of its own.
    pub prepare: fn(&Context) -> anyhow::Result<Box<dyn Cases>>,
}

/// What a block has to work with.
pub struct Context {
    /// The root of the workspace.
    pub root: PathBuf,
    /// The program `trainer`.
    pub trainer: PathBuf,
    /// The program `xtask`.
    pub xtask: PathBuf,
    /// The block's own folder, empty at first and removed in the end.
    pub folder: PathBuf,
    /// The campaign's seed.
    pub seed: u64,
    /// Minutes of the soak.
    pub soak: Option<u64>,
    /// The user's request to stop.
    pub stop: Interrupt,
}

/// The cases of a block.
pub trait Cases: Sync {
    /// Runs one case in an empty folder.
    ///
    /// # Errors
    /// The promise is broken, in words.
    fn run(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String>;

    /// Their number, where that is known only once they are prepared; it goes before the block's.
    fn all(&self) -> Option<u64> {
        None
    }
}

/// The end of a case that keeps the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was done, with the right result.
    Done,
    /// It was refused with a typed error, the state whole.
    Refused,
}

/// What to run, as `cargo xtask torture` passes it on.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// The names or numbers of blocks; all that are not extra if there is none.
    pub blocks: Vec<String>,
    /// The seed of all cases.
    pub seed: u64,
    /// The limit of the campaign.
    pub minutes: Option<f64>,
    /// Minutes of the soak, which is extra.
    pub soak: Option<u64>,
    /// The only case to run.
    pub case: Option<u64>,
    /// As many cases a block instead of its own number.
    pub cases: Option<u64>,
    /// Whether to run the share of the test command.
    pub share: bool,
    /// Whether the first failure ends it.
    pub first: bool,
    /// The root of the workspace.
    pub root: PathBuf,
    /// The program `trainer`.
    pub trainer: PathBuf,
    /// The program `xtask`.
    pub xtask: PathBuf,
    /// Where journals and scratch folders lie.
    pub folder: PathBuf,
}
