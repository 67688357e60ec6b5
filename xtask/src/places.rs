//! Per-user folders, shared by all clones of the workspace, and locks.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const NAME: &str = "seeing-in-flowing";

/// The per-user folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Files that can be downloaded again: libtorch, unfinished downloads.
    pub(crate) cache: PathBuf,
    /// Files that the trainer reads: the vocabulary.
    pub(crate) data: PathBuf,
    /// The home folder, for shortening paths.
    pub(crate) home: PathBuf,
}

impl Places {
    /// The folders of the current user.
    ///
    /// # Errors
    /// Neither `HOME` nor the XDG variables are set.
    pub(crate) fn of_user() -> Result<Self> {
        Self::from(|name| std::env::var_os(name))
    }

    /// The folders for an environment given by `var`. A relative XDG path counts as unset, as the
    /// XDG specification requires.
    fn from(var: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let home = var("HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let base = |name: &str, fallback: &str| {
            var(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| home.as_ref().map(|home| home.join(fallback)))
                .ok_or_else(|| {
                    let reason = format!("not set; set it or {name} to an absolute path");
                    Error::invalid("HOME", reason)
                })
        };
        Ok(Self {
            cache: base("XDG_CACHE_HOME", ".cache")?.join(NAME),
            data: base("XDG_DATA_HOME", ".local/share")?.join(NAME),
            home: home.unwrap_or_else(|| PathBuf::from("/")),
        })
    }

    /// `path` with `~` for the home folder.
    pub(crate) fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) if self.home != Path::new("/") => format!("~/{}", rest.display()),
            _ => path.display().to_string(),
        }
    }
}

/// Creates `folder` and its parents.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    Ok(disk::make_folder(folder)?)
}

/// Creates the folder `path`, or empties it.
pub(crate) fn empty_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("cannot remove", path)(error))
        }
        _ => make_folder(path),
    }
}

/// Renames `from` to `target` and creates the folder it is in. The files in it are on the disk before
/// it has its name: whoever finds it there trusts it.
pub(crate) fn move_to(from: &Path, target: &Path) -> Result<()> {
    let folder = target.parent().unwrap_or(target);
    make_folder(folder)?;
    sync_all(from)?;
    fs::rename(from, target).map_err(Error::io("cannot rename to", target))?;
    sync_folder(folder);
    Ok(())
}

/// The free bytes on the disk of `folder`.
pub(crate) fn free_space(folder: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| Error::io("cannot read the free space of", folder)(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Makes `path` readable and executable by everyone.
pub(crate) fn make_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("cannot make executable", path))
}

/// Replaces the file at `path` atomically, unless it already has this `content`. Returns whether
/// it was written.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    disk::write(path, content)?;
    Ok(true)
}

/// Replaces what stands in a page between the marks of a command.
pub(crate) fn write_between(page: &Path, command: &str, table: &str) -> Result<()> {
    let text = fs::read_to_string(page).map_err(Error::io("cannot read", page))?;
    let lacks = || Error::invalid(page.display(), format!("lacks the marks of {command}"));
    let text = between_marks(&text, command, table).ok_or_else(lacks)?;
    write_whole(page, text.as_bytes())?;
    Ok(())
}

/// `page` with `table` between `<!-- cargo xtask COMMAND: begin -->` and the same with `end`.
fn between_marks(page: &str, command: &str, table: &str) -> Option<String> {
    let [begin, end] = ["begin", "end"].map(|end| format!("<!-- cargo xtask {command}: {end} -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!(
        "{before}{begin}\n\n{}\n\n{end}{after}",
        table.trim()
    ))
}

/// Syncs all files below `folder`: at once, where the system can.
fn sync_all(folder: &Path) -> Result<()> {
    let opened = File::open(folder).map_err(Error::io("cannot open", folder))?;
    #[cfg(target_os = "linux")]
    let synced = rustix::fs::syncfs(&opened).map_err(Into::into);
    #[cfg(not(target_os = "linux"))]
    let synced = {
        rustix::fs::sync();
        opened.sync_all()
    };
    synced.map_err(Error::io("cannot sync", folder))
}

/// Syncs `folder` after a rename, on file systems that can.
pub(crate) fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}

/// An exclusive lock on `path`, held until dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io("cannot open", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            eprintln!("waiting for another process to release {}", path.display());
            file.lock().map_err(Error::io("cannot lock", path))?;
        }
        Err(fs::TryLockError::Error(source)) => return Err(Error::io("cannot lock", path)(source)),
    }
    Ok(file)
}

#[cfg(test)]
impl Places {
    /// Folders inside `home`.
    pub(crate) fn inside(home: &Path) -> Self {
        Self {
            cache: home.join("cache"),
            data: home.join("data"),
            home: home.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pages_have_a_place_for_their_tables() {
        for (page, command) in [("release", "release-check"), ("reliability", "torture")] {
            let page = testkit::workspace_root().join(format!("docs/{page}.md"));
            let page = fs::read_to_string(page).unwrap();
            let written = between_marks(&page, command, "a table").unwrap();
            assert!(written.contains("a table"));
            assert_eq!(
                between_marks(&written, command, "a table").unwrap(),
                written
            );
        }
    }

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
