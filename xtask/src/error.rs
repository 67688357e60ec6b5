use std::path::{Path, PathBuf};
use std::process::Command;

/// The errors of this crate, with the path or address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file system operation failed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A download failed or does not match its expected content.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// The lists or files of a data set are invalid.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// An archive, a list, an answer or a value is invalid.
    #[error("{what}: {reason}")]
    Invalid {
        /// The path, address or name.
        what: String,
        /// The fault.
        reason: String,
    },
    /// A program is missing or failed.
    #[error("{program}: {reason}")]
    Program {
        /// The program and its first arguments.
        program: String,
        /// Its exit status or error output.
        reason: String,
    },
    /// The machine lacks a package or has no usable libtorch.
    #[error("{what}: {reason}")]
    Machine {
        /// The package, folder, variable or platform.
        what: String,
        /// The fault and its fix.
        reason: String,
    },
    /// Not enough disk space.
    #[error("{} needs {need} more, but its disk has {free} free", folder.display())]
    DiskSpace {
        /// The folder to fill.
        folder: PathBuf,
        /// The size still to be written.
        need: String,
        /// The free space.
        free: String,
    },
}

impl Error {
    /// The exit status: 4 if the machine lacks something, otherwise 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Machine { .. } => 4,
            _ => 1,
        }
    }

    /// Adds the operation, such as "cannot read", and the path.
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let add_context = disk::Error::of(op, path);
        move |error| Self::Disk(add_context(error))
    }

    pub(crate) fn invalid(what: impl ToString, reason: impl ToString) -> Self {
        Self::Invalid {
            what: what.to_string(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn machine(what: impl ToString, reason: impl ToString) -> Self {
        Self::Machine {
            what: what.to_string(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn program(command: &Command, reason: impl ToString) -> Self {
        let program = Path::new(command.get_program());
        let mut words = vec![program.file_name().unwrap_or(program.as_os_str())];
        words.extend(command.get_args().take(2));
        Self::Program {
            program: words.join(" ".as_ref()).to_string_lossy().into_owned(),
            reason: reason.to_string(),
        }
    }
}

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
