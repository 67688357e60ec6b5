//! The cache on disk, in the layout of the Hugging Face libraries:
//! `models--org--name/{blobs/<hash>, refs/<revision>, snapshots/<commit>/<file> -> blob}`.
//! A blob is named by its content's hash, and gets its name only after the hash is verified.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::hash::{git_blob, is_hex, sha256_of};
use crate::progress::{Event, Observer};
use crate::{Error, Hub, Id, Result, Selection};

/// A model that is complete in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its repository: `org/name`.
    pub repository: String,
    /// The size of its files.
    pub bytes: u64,
}

impl Hub {
    /// The models of the kind `wanted` that are complete in the cache, by name. Their content is
    /// not verified.
    pub fn list(&self, wanted: &Selection) -> Vec<Cached> {
        let size = |snapshot: PathBuf| -> Option<u64> {
            let files = wanted.whole(&snapshot)?;
            let sizes = files
                .iter()
                .map(|file| fs::metadata(file).map(|file| file.len()));
            sizes.sum::<std::io::Result<u64>>().ok()
        };
        let mut all: Vec<Cached> = entries(&self.cache)
            .filter_map(|folder| {
                let name = folder.file_name()?.to_str()?;
                let repository = name.strip_prefix("models--")?.replacen("--", "/", 1);
                let bytes = entries(&folder.join("snapshots")).filter_map(size).max()?;
                Some(Cached { repository, bytes })
            })
            .collect();
        all.sort_by(|a, b| a.repository.cmp(&b.repository));
        all
    }
}

/// The paths in a folder; none if it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// One repository's place in the cache.
pub(crate) struct Place {
    folder: PathBuf,
    locks: PathBuf,
}

impl Place {
    pub(crate) fn new(cache: &Path, id: &Id) -> Self {
        let name = format!("models--{}", id.repository().replace('/', "--"));
        Self {
            folder: cache.join(&name),
            locks: cache.join(".locks").join(name),
        }
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(hash)
    }

    /// The commit that a revision points to. A revision may be a commit itself.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.folder.join("refs").join(revision));
        let commit = commit.unwrap_or_else(|_| revision.into());
        Some(commit.trim().to_owned()).filter(|commit| is_hex(commit, 40))
    }

    /// Points `revision` to `commit`.
    pub(crate) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        Ok(disk::write(&path, commit.as_bytes())?)
    }

    /// Locks the blob `hash` as `huggingface_hub` does, until the file is dropped.
    pub(crate) fn lock(&self, hash: &str, observe: &mut Observer) -> Result<File> {
        make_folder(&self.locks)?;
        let path = self.locks.join(format!("{hash}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        lock_file(&file, &path, observe)?;
        Ok(file)
    }

    /// Links `name` in the snapshot of `commit` to the blob `hash`.
    pub(crate) fn link(&self, commit: &str, name: &str, hash: &str) -> Result<PathBuf> {
        let snapshot = self.snapshot(commit);
        make_folder(&snapshot)?;
        let file = snapshot.join(name);
        let target = Path::new("../../blobs").join(hash);
        if fs::read_link(&file).is_ok_and(|old| old == target) {
            return Ok(file);
        }
        if fs::symlink_metadata(&file).is_ok() {
            fs::remove_file(&file).map_err(Error::io("replace", &file))?;
        }
        #[cfg(unix)]
        let made = std::os::unix::fs::symlink(&target, &file);
        #[cfg(not(unix))]
        let made: std::io::Result<()> = Err(std::io::ErrorKind::Unsupported.into());
        // Not every file system has links; a copy works as well.
        made.or_else(|_| fs::copy(self.blob(hash), &file).map(drop))
            .map_err(Error::io("link", &file))?;
        Ok(file)
    }
}

/// Compares a cached file with the hash in its blob's name. A plain copy has no such name, and
/// is accepted as it is.
pub(crate) fn verify(file: &Path) -> Result<()> {
    let blob = fs::canonicalize(file).map_err(Error::io("resolve", file))?;
    let name = blob.file_name().unwrap_or_default().to_string_lossy();
    let got = if is_hex(&name, 64) {
        sha256_of(&blob)?
    } else if is_hex(&name, 40) {
        git_blob(&blob)?
    } else {
        return Ok(());
    };
    match got == name {
        true => Ok(()),
        false => Err(Error::Damaged {
            path: file.into(),
            expected: name.into_owned(),
            got,
        }),
    }
}

pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    disk::make_folder(folder).map_err(|error| Error::io("create", folder)(error.reason))
}

/// Makes a rename in `folder` last. Not every file system can; then nothing is lost but
/// the promise.
pub(crate) fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}

/// Locks `file` at `path` until it is dropped, and reports it if it has to wait.
pub(crate) fn lock_file(file: &File, path: &Path, observe: &mut Observer) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => {
            let text = format!("waiting for another process that locks {}", path.display());
            observe(Event::Note(&text));
            file.lock().map_err(Error::io("lock", path))
        }
        Err(fs::TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
    }
}
