//! Zip files, such as wheels, of which only some entries are unpacked.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use ::zip::ZipArchive;
use hub::Event;
use serde::{Deserialize, Serialize};

use super::{check_inside, refused, write_entry};
use crate::progress::observe;
use crate::{Error, Result};

/// An unpacked file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unpacked {
    /// Its path relative to the folder.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Unpacks the entries for which `select` returns a path, which is relative to `into`.
///
/// # Errors
/// The archive is damaged, an entry's path is outside the folder, or a selected one is a symbolic
/// link or appears twice. All entries are checked before the first is written.
pub(crate) fn unpack(
    archive: &Path,
    into: &Path,
    label: &str,
    select: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Unpacked>> {
    let invalid = |error: ::zip::result::ZipError| Error::invalid(archive.display(), error);
    let file = File::open(archive).map_err(Error::io("cannot open", archive))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(invalid)?;

    let mut selected = Vec::new();
    let mut paths = HashSet::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(invalid)?;
        let name = entry.name().map_err(invalid)?;
        check_inside(archive, &name)?;
        let Some(path) = select(&name).filter(|_| !entry.is_dir()) else {
            continue;
        };
        if entry.is_symlink() {
            return Err(refused(archive, name, "is a symbolic link"));
        }
        if !paths.insert(path.clone()) {
            return Err(refused(archive, name, "appears twice"));
        }
        let bytes = entry.size();
        let path = path.into();
        selected.push((index, Unpacked { path, bytes }));
    }

    let mut observe = observe(label);
    let sizes = selected.iter().map(|(_, file)| file.bytes);
    observe(Event::Start {
        total: Some(sizes.fold(0, u64::saturating_add)),
        here: 0,
    });
    let mut done = 0;
    for (index, file) in &selected {
        let mut entry = zip.by_index(*index).map_err(invalid)?;
        write_entry(archive, &mut entry, file.bytes, into, &file.path)?;
        done += file.bytes;
        observe(Event::At(done));
    }
    observe(Event::Done);
    Ok(selected.into_iter().map(|(_, file)| file).collect())
}

/// Whether every file exists with its size.
pub(crate) fn is_intact(root: &Path, files: &[Unpacked]) -> bool {
    files.iter().all(|file| {
        fs::metadata(root.join(&file.path)).is_ok_and(|metadata| metadata.len() == file.bytes)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ::zip::ZipWriter;
    use ::zip::write::SimpleFileOptions;
    use std::io::Write as _;

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
    fn only_selected_entries_are_written() {
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
        assert!(is_intact(&into, &files));
        fs::write(into.join("t/lib/a.so"), b"aa").unwrap();
        assert!(!is_intact(&into, &files));
    }

    #[test]
    fn a_path_outside_the_folder_is_refused() {
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
            assert!(error.contains("outside the folder"), "{name}: {error}");
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
    fn a_damaged_archive_is_named() {
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
