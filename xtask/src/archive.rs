//! Unpacking part of a zip (a wheel is one) with nothing left half and nothing outside.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Component, Path, PathBuf};

use hub::Event;
use serde::{Deserialize, Serialize};
use zip::ZipArchive;

use crate::places::make_folder;
use crate::progress::observe;
use crate::{Error, Result};

/// A file that was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Its path below the folder unpacked into.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Unpacks the entries for which `place` gives a path below `into`.
///
/// The whole archive is looked through first: an entry whose name leaves the folder, or a
/// symbolic link among the chosen, refuses the archive before anything is written. Sizes and checksums
/// are verified as the content is read.
///
/// # Errors
/// [`Error::Archive`] with the entry's name, [`Error::Io`] from the disk.
pub fn unpack(
    archive: &Path,
    into: &Path,
    label: &str,
    place: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Unpacked>> {
    let broken = |reason: String| Error::Archive {
        path: archive.to_path_buf(),
        reason,
    };
    let file = File::open(archive).map_err(Error::io("open", archive))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| broken(e.to_string()))?;

    let mut chosen = Vec::new();
    let mut taken = HashSet::new();
    let mut total = 0u64;
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|e| broken(e.to_string()))?;
        let name = entry
            .name()
            .map_err(|e| broken(e.to_string()))?
            .into_owned();
        if entry.enclosed_name().is_none() || name.contains('\\') {
            return Err(broken(format!(
                "entry {name:?} leaves the folder; nothing was unpacked"
            )));
        }
        let Some(path) = place(&name).filter(|_| !entry.is_dir()) else {
            continue;
        };
        let path = PathBuf::from(path);
        if !path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(broken(format!(
                "entry {name:?} leaves the folder; nothing was unpacked"
            )));
        }
        if entry.is_symlink() {
            return Err(broken(format!(
                "entry {name:?} is a symbolic link; nothing was unpacked"
            )));
        }
        if !taken.insert(path.clone()) {
            return Err(broken(format!(
                "entry {name:?} comes twice; nothing was unpacked"
            )));
        }
        total = total.saturating_add(entry.size());
        chosen.push((index, path));
    }

    let mut observe = observe(label);
    observe(Event::Start {
        total: Some(total),
        here: 0,
    });
    let mut done = 0;
    let mut files = Vec::with_capacity(chosen.len());
    for (index, path) in chosen {
        let mut entry = zip.by_index(index).map_err(|e| broken(e.to_string()))?;
        let target = into.join(&path);
        if let Some(folder) = target.parent() {
            make_folder(folder)?;
        }
        let mut out = File::create_new(&target).map_err(Error::io("create", &target))?;
        let size = entry.size();
        let bytes = std::io::copy(&mut (&mut entry).take(size.saturating_add(1)), &mut out)
            .map_err(|e| broken(format!("entry {:?}: {e}", path.display())))?;
        if bytes != size {
            return Err(broken(format!(
                "entry {:?} says {size} bytes and holds {}",
                path.display(),
                if bytes > size {
                    "more".into()
                } else {
                    bytes.to_string()
                }
            )));
        }
        done += bytes;
        observe(Event::At(done));
        files.push(Unpacked { path, bytes });
    }
    observe(Event::Done);
    Ok(files)
}

/// Whether every file is there, in its size.
#[must_use]
pub fn intact(root: &Path, files: &[Unpacked]) -> bool {
    files.iter().all(|file| {
        fs::metadata(root.join(&file.path)).is_ok_and(|metadata| metadata.len() == file.bytes)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::io::Write as _;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn archive(folder: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("a.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn all(name: &str) -> Option<String> {
        Some(name.to_string())
    }

    #[test]
    fn only_what_is_chosen_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(
            folder.path(),
            &[("t/lib/a.so", b"aaa"), ("t/lib/big.o", b"b")],
        );
        let into = folder.path().join("out");
        let files = unpack(&path, &into, "test", |name| {
            name.ends_with("a.so").then(|| name.to_string())
        })
        .unwrap();
        assert_eq!(
            files,
            [Unpacked {
                path: "t/lib/a.so".into(),
                bytes: 3
            }]
        );
        assert_eq!(fs::read(into.join("t/lib/a.so")).unwrap(), b"aaa");
        assert!(!into.join("t/lib/big.o").exists());
        assert!(intact(&into, &files));
        fs::write(into.join("t/lib/a.so"), b"aa").unwrap();
        assert!(!intact(&into, &files));
    }

    #[test]
    fn a_name_that_leaves_the_folder_refuses_the_archive() {
        for name in [
            "../evil",
            "t/../../evil",
            "/evil",
            "..\\evil",
            "t\\..\\..\\evil",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = archive(folder.path(), &[("good", b"g"), (name, b"x")]);
            let into = folder.path().join("deep/out");
            let error = unpack(&path, &into, "test", all).unwrap_err().to_string();
            assert!(error.contains("leaves the folder"), "{name}: {error}");
            assert!(!into.join("good").exists(), "{name}: something was written");
            assert!(!folder.path().join("deep/evil").exists());
        }
    }

    #[test]
    fn a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        zip.add_symlink("link", "/etc", SimpleFileOptions::default())
            .unwrap();
        zip.finish().unwrap();
        let error = unpack(&path, &folder.path().join("out"), "test", all).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }

    #[test]
    fn a_broken_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path(), &[("a", &[7; 5000])]);
        let whole = fs::read(&path).unwrap();
        // Every truncation, and a flip in the content: never a success.
        for length in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(unpack(&path, &folder.path().join(format!("t{length}")), "t", all).is_err());
        }
        let mut flipped = whole.clone();
        flipped[40] ^= 0xff;
        fs::write(&path, &flipped).unwrap();
        let error = unpack(&path, &folder.path().join("f"), "t", all)
            .unwrap_err()
            .to_string();
        assert!(error.contains("a.whl"), "{error}");
    }
}
