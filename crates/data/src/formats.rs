//! The layouts and lists that data sets come in, each read into a [`Manifest`].

mod charades;
mod class_index;
mod collect;
mod folder;
mod hmdb51;
mod kinetics400;
mod list;
pub(crate) mod text;
mod ucf101;

use crate::manifest::Manifest;

pub use charades::{CHARADES_LISTS, charades};
pub use class_index::read_class_index;
pub use folder::class_folders;
pub use hmdb51::hmdb51;
pub use kinetics400::{KineticsLists, kinetics400};
pub use list::clip_list;
pub use ucf101::ucf101;

/// File extensions, lower case, that are taken for videos when a folder is listed.
pub const VIDEO_EXTENSIONS: [&str; 12] = [
    "avi", "mp4", "mkv", "webm", "mov", "m4v", "mpg", "mpeg", "wmv", "flv", "3gp", "ts",
];

/// What to do about clips that a list names and the disk does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// An error that counts them.
    #[default]
    Refuse,
    /// They are left out of the manifest and named in [`Found::missing`]; so are classes
    /// that have no clip left.
    Allow,
    /// The disk is not looked at: for work on lists alone.
    Unchecked,
}

/// How a data set is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Clips that are not there.
    pub missing: Missing,
    /// Whether symbolic links may lead out of the data set's folder.
    pub follow_links: bool,
}

/// A manifest, and what reading it brought to light.
#[derive(Clone, Debug)]
pub struct Found {
    /// The data set.
    pub manifest: Manifest,
    /// Clips that the lists named.
    pub listed: usize,
    /// Ids of those that are not on disk.
    pub missing: Vec<String>,
    /// What the reader recognised or left out, a sentence each.
    pub notes: Vec<String>,
}
