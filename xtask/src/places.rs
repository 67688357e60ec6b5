//! The folders shared by all clones of a user, and files written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const NAME: &str = "seeing-in-flowing";

/// The per-user folders, from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What can be fetched again: libtorch, unfinished downloads.
    pub cache: PathBuf,
    /// What belongs to the product: the vocabulary.
    pub data: PathBuf,
    /// The user's home, for shortening paths.
    pub home: PathBuf,
}

impl Places {
    /// The folders of the user who runs this.
    ///
    /// # Errors
    /// [`Error::Parse`] where there is neither `HOME` nor the XDG variables.
    pub fn of_user() -> Result<Self> {
        Self::from(|name| std::env::var_os(name))
    }

    /// The folders for an environment given by `var`. A relative XDG path counts as unset,
    /// as its specification wants.
    ///
    /// # Errors
    /// [`Error::Parse`] where there is neither `HOME` nor the XDG variables.
    pub fn from(var: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let home = var("HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let base = |name: &str, fallback: &str| {
            var(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| home.as_ref().map(|home| home.join(fallback)))
                .ok_or_else(|| Error::Parse {
                    what: "HOME".into(),
                    reason: format!("unset; set it, or {name}, to an absolute path"),
                })
        };
        Ok(Self {
            cache: base("XDG_CACHE_HOME", ".cache")?.join(NAME),
            data: base("XDG_DATA_HOME", ".local/share")?.join(NAME),
            home: home.unwrap_or_else(|| PathBuf::from("/")),
        })
    }

    /// `path` with the home folder written as `~`.
    #[must_use]
    pub fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) if self.home != Path::new("/") => format!("~/{}", rest.display()),
            _ => path.display().to_string(),
        }
    }
}

/// Creates `folder` and everything above it.
///
/// # Errors
/// [`Error::Io`] with the folder.
pub fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))
}

/// Writes `content` to `path` so that a reader sees the old file or the whole new one.
/// A file that already holds `content` is not touched. Says whether it wrote.
///
/// # Errors
/// [`Error::Disk`] with the path.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    disk::write(path, content)?;
    Ok(true)
}

/// Makes a rename in `folder` last. Not every file system can; then nothing is lost but
/// the promise.
pub fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}

/// An exclusive lock on `path`, held until dropped. Says so where it has to wait.
///
/// # Errors
/// [`Error::Io`] where the lock file cannot be made or locked.
pub fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            eprintln!("waiting for another process that holds {}", path.display());
            file.lock().map_err(Error::io("lock", path))?;
        }
        Err(fs::TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_relative_xdg_path_counts_as_unset() {
        let places = Places::from(|name| match name {
            "HOME" => Some("/h/me".into()),
            "XDG_CACHE_HOME" => Some("relative".into()),
            "XDG_DATA_HOME" => Some("/d".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(places.cache, Path::new("/h/me/.cache/seeing-in-flowing"));
        assert_eq!(places.data, Path::new("/d/seeing-in-flowing"));
        assert_eq!(places.short(Path::new("/h/me/x")), "~/x");
        assert_eq!(places.short(Path::new("/other")), "/other");
        assert!(Places::from(|_| None).is_err());
    }

    #[test]
    fn unchanged_content_leaves_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert!(write_whole(&path, b"one").unwrap());
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(!write_whole(&path, b"one").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert!(write_whole(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }
}
