//! The layouts and lists that data sets come in, each read into a [`Manifest`].

mod charades;
mod class_index;
mod collect;
mod content;
mod find;
mod folder;
mod hmdb51;
mod kinetics400;
mod list;
mod list_lines;
mod list_table;
mod parts;
mod registry;
mod ssv2;
pub(crate) mod text;
mod ucf101;

use crate::manifest::Manifest;

pub use class_index::read_class_index;
pub use content::claims_video;
pub use folder::{FORMAT as CLASS_FOLDERS, class_folders};
pub use list::{Columns, Lists, clip_lists};
pub use list_lines::comma_separated;
pub use registry::{Archive, Endings, Format, Packing, Published, Reader, Shards, Source};

/// Every registered data set, public ones first, then layouts of one's own videos.
pub static FORMATS: &[&Format] = &[
    &ucf101::FORMAT,
    &hmdb51::FORMAT,
    &kinetics400::FORMAT,
    &charades::FORMAT,
    &ssv2::FORMAT,
    &folder::FORMAT,
    &list::FORMAT,
];

/// The treatment of clips that a list names and the disk does not have.
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

/// A manifest, and remarks from reading it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The data set.
    pub manifest: Manifest,
    /// Clips that the lists named.
    pub listed: usize,
    /// Ids of those that are not on disk.
    pub missing: Vec<String>,
    /// Recognised or left out by the reader, a sentence each.
    pub notes: Vec<String>,
}
