//! What can go wrong in data sets and their lists.

use std::path::PathBuf;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything this crate refuses, with the place, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read, written or listed.
    #[error(transparent)]
    Disk(#[from] disk::Error),

    /// Text that is not a duration.
    #[error("expected a positive time with a unit, such as 2s, 500ms or 1.5m; got {0:?}")]
    Span(String),

    /// A line of a list says something that cannot be used.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong, and what was expected.
        what: String,
    },

    /// A file or folder as a whole is not what it should be.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what was expected.
        what: String,
    },

    /// A path in a list would lead out of the data set's folder.
    #[error(
        "{}, line {line}: the path '{entry}' leads out of the data set's folder; \
         expected a relative path without '..'",
        path.display()
    )]
    Traversal {
        /// The list.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The path as written.
        entry: String,
    },

    /// A symbolic link leads out of the folder being read.
    #[error(
        "{} is a link to {}, outside of the folder being read; move the files, or allow it \
         with `follow_links`",
        link.display(), target.display()
    )]
    Link {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },

    /// Clips that the lists name are not on disk.
    #[error(
        "{missing} of {listed} clips that {} names are not below {}: {}",
        list.display(), root.display(), looked_for(names, *missing, *listed)
    )]
    MissingClips {
        /// The list or folder of lists.
        list: PathBuf,
        /// Where the clips should lie.
        root: PathBuf,
        /// How many are absent.
        missing: usize,
        /// How many were named.
        listed: usize,
        /// The first absent ones, each with the files that are nearest to it.
        names: Vec<(String, Vec<String>)>,
    },

    /// A table whose columns are not known.
    #[error(
        "{}, line {line}: a table with the columns {}, of which {}{}",
        path.display(), crate::names::named(found), missing, other_layout(*layout)
    )]
    Columns {
        /// The list.
        path: PathBuf,
        /// Line of its header, from 1.
        line: usize,
        /// Its columns.
        found: Vec<String>,
        /// The column that is missing, with the names that are known.
        missing: String,
        /// The registered data set that has such tables.
        layout: Option<&'static str>,
    },

    /// Two clips have the same id.
    #[error("{}: clip '{id}' is named twice{}", path.display(), place(*.first_line, *.line))]
    DuplicateClip {
        /// The list or manifest.
        path: PathBuf,
        /// The id.
        id: String,
        /// Line of its first mention (0: not a line of a list).
        first_line: usize,
        /// Line of its second mention (0: not a line of a list).
        line: usize,
    },

    /// A manifest contradicts itself.
    #[error("manifest of '{dataset}': {what}")]
    Manifest {
        /// The data set.
        dataset: String,
        /// What is wrong.
        what: String,
    },

    /// A clip stands in the train and in the test part of one split.
    #[error("split '{split}': {what}")]
    Split {
        /// The split.
        split: String,
        /// What is wrong.
        what: String,
    },

    /// A class has too few training clips for a draw.
    #[error("split '{split}': class '{class}' has {has} training clips, {k} are wanted")]
    TooFewShots {
        /// The split drawn from.
        split: String,
        /// The class.
        class: String,
        /// Its training clips.
        has: usize,
        /// Shots wanted.
        k: usize,
    },

    /// A number or name given by the caller cannot be used.
    #[error("{name}: expected {expected}, got {got}")]
    Option {
        /// The option.
        name: &'static str,
        /// What it may be.
        expected: String,
        /// What it was.
        got: String,
    },
}

impl Error {
    pub(crate) fn io(
        op: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let named = disk::Error::of(op, path);
        move |error| Self::Disk(named(error))
    }
}

fn looked_for(names: &[(String, Vec<String>)], missing: usize, listed: usize) -> String {
    let looked: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    let near = names.iter().flat_map(|(_, near)| near);
    let mut near: Vec<&str> = near.map(String::as_str).collect();
    near.dedup();
    let mut text = crate::names::named(&looked);
    if missing > looked.len() {
        text.push_str(" ...");
    }
    if !near.is_empty() {
        text.push_str(&format!("; nearest there: {}", crate::names::named(&near)));
    }
    // If no name is found, or one means several files, the clips are there and the names are wrong.
    if missing < listed && names.iter().all(|(_, near)| near.len() < 2) {
        text.push_str("; a partial copy is accepted with `allow_missing`");
    }
    text
}

fn other_layout(layout: Option<&str>) -> String {
    layout.map_or_else(String::new, |name| {
        format!("; tables of this kind are read by the layout '{name}'")
    })
}

fn place(first: usize, second: usize) -> String {
    if second == 0 {
        String::new()
    } else {
        format!(", in lines {first} and {second}")
    }
}
