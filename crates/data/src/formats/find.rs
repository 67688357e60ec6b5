//! Finds listed files on disk, however the list writes their names.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

use super::collect::{check_link, path_id};
use super::content::claims_video;
use crate::error::{Error, Result};

/// Folders below the root that are searched.
const DEPTH: usize = 8;

/// The files below a root. Neither case (UCF-101 writes `HandStandPushups` and
/// `HandstandPushups`) nor Unicode's form of a name matters.
pub(super) struct Disk<'a> {
    root: &'a Path,
    real_root: PathBuf,
    follow_links: bool,
    /// Of each folder looked into, its names by their folded form. `None` marks two
    /// names that differ in it only.
    folders: HashMap<PathBuf, HashMap<String, Option<String>>>,
    /// All files; read when a name is not found as it is.
    index: Option<Index>,
}

/// The files below a root.
struct Index {
    /// Relative paths, in order.
    files: Vec<PathBuf>,
    /// Their places by folded name.
    by_name: HashMap<String, Vec<usize>>,
    /// Those of videos by folded name without its ending.
    by_stem: HashMap<String, Vec<usize>>,
}

impl<'a> Disk<'a> {
    pub(super) fn new(root: &'a Path, follow_links: bool) -> Result<Self> {
        let real_root =
            fs::canonicalize(root).map_err(Error::io("cannot open the folder", root))?;
        Ok(Self {
            root,
            real_root,
            follow_links,
            folders: HashMap::new(),
            index: None,
        })
    }

    /// The file at `path`, as the disk spells it.
    ///
    /// # Errors
    /// It is a link that leads out.
    pub(super) fn find(&mut self, path: &Path) -> Result<Option<PathBuf>> {
        let mut found = PathBuf::new();
        for part in path {
            let Some(part) = part.to_str() else {
                return Ok(None);
            };
            let Some(name) = self.name_in(&found, part)? else {
                return Ok(None);
            };
            found.push(name);
        }
        let full = self.root.join(&found);
        match fs::metadata(&full) {
            Ok(there) if there.is_file() => {}
            // A file that the system does not show is not missing.
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Err(Error::io("cannot look at", &full)(error));
            }
            _ => return Ok(None),
        }
        check_link(&full, &self.real_root, self.follow_links)?;
        Ok(Some(found))
    }

    /// The one file that `path` can mean: with another ending or none, or with leading folders
    /// too many or too few. `None` if there is none, or more than one.
    ///
    /// # Errors
    /// A folder cannot be listed, or it is a link that leads out.
    pub(super) fn fits(&mut self, path: &Path) -> Result<Option<&PathBuf>> {
        let (root, real_root, follow_links) =
            (self.root, self.real_root.clone(), self.follow_links);
        match self.index()?.fits(path).as_slice() {
            [found] => {
                check_link(&root.join(found), &real_root, follow_links)?;
                Ok(Some(*found))
            }
            _ => Ok(None),
        }
    }

    /// The files that `id` can mean, or else the one whose path is most like it; none if there is
    /// no file.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub(super) fn nearest(&mut self, id: &str) -> Result<Vec<String>> {
        let index = self.index()?;
        let fitting = index.fits(Path::new(id));
        if !fitting.is_empty() {
            return Ok(fitting.into_iter().map(|path| path_id(path)).collect());
        }
        let alike = |path: &PathBuf| strsim::normalized_damerau_levenshtein(id, &path_id(path));
        let files = index.files.iter().map(|path| (alike(path), path));
        let nearest = files.max_by(|a, b| a.0.total_cmp(&b.0));
        Ok(nearest.map(|(_, path)| path_id(path)).into_iter().collect())
    }

    fn index(&mut self) -> Result<&Index> {
        let index = match self.index.take() {
            Some(index) => index,
            None => Index::of(self.root)?,
        };
        Ok(self.index.insert(index))
    }

    /// The spelling on disk of `part` in `folder`.
    ///
    /// # Errors
    /// The folder cannot be listed.
    fn name_in(&mut self, folder: &Path, part: &str) -> Result<Option<String>> {
        let full = self.root.join(folder);
        if !self.folders.contains_key(folder) {
            self.folders.insert(folder.to_path_buf(), names_in(&full)?);
        }
        let names = self.folders.get(folder);
        Ok(match names.and_then(|names| names.get(&folded(part))) {
            Some(Some(name)) => Some(name.clone()),
            // Two names differ in case only: then case decides.
            Some(None) if full.join(part).exists() => Some(part.into()),
            _ => None,
        })
    }
}

/// The names in `folder` by their folded form; none if it is not a folder.
fn names_in(folder: &Path) -> Result<HashMap<String, Option<String>>> {
    let refused = || Error::io("cannot list", folder);
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(HashMap::new());
        }
        entries => entries.map_err(refused())?,
    };
    let mut names: HashMap<String, Option<String>> = HashMap::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(refused())?.file_name().into_string() {
            names
                .entry(folded(&name))
                .and_modify(|known| *known = None)
                .or_insert(Some(name));
        }
    }
    Ok(names)
}

impl Index {
    fn of(root: &Path) -> Result<Self> {
        let mut index = Self {
            files: Vec::new(),
            by_name: HashMap::new(),
            by_stem: HashMap::new(),
        };
        let mut folders = vec![(PathBuf::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let full = root.join(&folder);
            for entry in fs::read_dir(&full).map_err(Error::io("cannot list", &full))? {
                let entry = entry.map_err(Error::io("cannot list", &full))?;
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                    continue;
                };
                // A linked folder may lead in circles.
                let linked = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                let path = folder.join(name);
                match entry.path().is_dir() {
                    true if depth < DEPTH && !linked => folders.push((path, depth + 1)),
                    true => {}
                    false => index.files.push(path),
                }
            }
        }
        index.files.sort();
        for (place, path) in index.files.iter().enumerate() {
            let (name, stem) = (text(path.file_name()), text(path.file_stem()));
            if claims_video(&name) {
                let places = index.by_stem.entry(folded(&stem)).or_default();
                places.push(place);
            }
            index.by_name.entry(folded(&name)).or_default().push(place);
        }
        Ok(index)
    }

    /// The files that have most folders in common with `path`.
    fn fits(&self, path: &Path) -> Vec<&PathBuf> {
        let name = folded(&text(path.file_name()));
        let mut named = vec![self.by_name.get(&name), self.by_stem.get(&name)];
        if claims_video(&name) {
            let stem = folded(&text(path.file_stem()));
            named.extend([self.by_stem.get(&stem), self.by_name.get(&stem)]);
        }
        let fitting = |places: &Vec<usize>| -> Vec<&PathBuf> {
            let files = places.iter().filter_map(|place| self.files.get(*place));
            let common: Vec<(usize, &PathBuf)> = files
                .filter_map(|file| Some((common_folders(path, file)?, file)))
                .collect();
            let most = common.iter().map(|(common, _)| *common).max();
            let best = common
                .into_iter()
                .filter(|(common, _)| Some(*common) == most);
            best.map(|(_, file)| file).collect()
        };
        let mut named = named.into_iter().flatten().map(fitting);
        named.find(|files| !files.is_empty()).unwrap_or_default()
    }
}

/// How many folders before the names two paths have in common, if one path is the end of the
/// other.
fn common_folders(a: &Path, b: &Path) -> Option<usize> {
    let folders = |path: &Path| -> Vec<String> {
        let parts = path.iter().rev().skip(1);
        parts.map(|part| folded(&part.to_string_lossy())).collect()
    };
    let (a, b) = (folders(a), folders(b));
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    (common == a.len().min(b.len())).then_some(common)
}

/// A name in one form for all its spellings.
fn folded(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).collect()
}

fn text(name: Option<&std::ffi::OsStr>) -> String {
    name.unwrap_or_default().to_string_lossy().into_owned()
}
