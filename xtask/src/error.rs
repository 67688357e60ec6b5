use std::path::{Path, PathBuf};

/// What can go wrong in a task, with the path or address it went wrong at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "create".
        op: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file could not be replaced.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A download failed, or is not what was promised.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// An archive that is broken, or that would write outside its folder.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong, with the entry's name.
        reason: String,
    },
    /// The package index does not offer the pinned file.
    #[error("{index} does not offer {file}")]
    NotOffered {
        /// The index asked.
        index: String,
        /// The wheel's file name.
        file: String,
    },
    /// A wheel came neither directly nor through pip.
    #[error("cannot fetch {file}: {direct}; through pip: {pip}")]
    Wheel {
        /// The wheel's file name.
        file: String,
        /// Why the direct way failed.
        direct: String,
        /// Why pip failed.
        pip: String,
    },
    /// A program that is needed failed or is missing.
    #[error("{program}: {reason}")]
    Program {
        /// The program as called.
        program: String,
        /// What it said.
        reason: String,
    },
    /// System packages are missing, and may not be installed from here.
    #[error("missing: {missing}\n{commands}")]
    System {
        /// What is missing, in words.
        missing: String,
        /// The commands that bring it.
        commands: String,
    },
    /// A libtorch that cannot be used, and cannot be stepped around.
    #[error("{place}: {reason}")]
    Libtorch {
        /// The variable or folder.
        place: String,
        /// Why it will not do, and what to do.
        reason: String,
    },
    /// Text that does not read as what it should be.
    #[error("{what}: {reason}")]
    Parse {
        /// The file, address or value.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk has too little room.
    #[error("{} needs {need} more, and its disk has {free} free", folder.display())]
    Room {
        /// The folder to be filled.
        folder: PathBuf,
        /// What is still to come.
        need: String,
        /// What is there.
        free: String,
    },
    /// A data set's lists or files are not what they should be.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// This system is one that nothing is prepared for.
    #[error("no libtorch is pinned for {platform}; {cure}")]
    Platform {
        /// Operating system and processor.
        platform: String,
        /// What to do instead.
        cure: &'static str,
    },
}

impl Error {
    /// The exit status a script may rely on: 4 for the environment, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::System { .. } | Self::Libtorch { .. } | Self::Platform { .. } => 4,
            _ => 1,
        }
    }

    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { op, path, source }
    }
}

/// A task's outcome.
pub type Result<T> = std::result::Result<T, Error>;
