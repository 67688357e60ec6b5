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
        "{missing} of {listed} clips that {} names are not below {}, first '{first}'; \
         a partial copy is accepted with `allow_missing`",
        list.display(), root.display()
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
        /// The first absent one.
        first: String,
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

fn place(first: usize, second: usize) -> String {
    if second == 0 {
        String::new()
    } else {
        format!(", in lines {first} and {second}")
    }
}
