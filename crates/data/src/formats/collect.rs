//! Gathers the clips that lists name, looks for them, and makes the manifest.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Found, Missing, ReadOptions, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, VideoEntry, is_inside};
use crate::splits::Split;

/// A place in a list, for errors.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) list: &'a Path,
    /// 0: the list as a whole.
    pub(super) line: usize,
}

impl At<'_> {
    pub(super) fn fail(self, what: impl Into<String>) -> Error {
        let (path, what) = (self.list.into(), what.into());
        match self.line {
            0 => Error::Content { path, what },
            line => Error::Line { path, line, what },
        }
    }

    /// # Errors
    /// `name` is not an id that can stand in a file's name.
    pub(super) fn check_id(self, name: &str) -> Result<()> {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(self.fail(format!("expected a video's id, got '{name}'")));
        }
        Ok(())
    }
}

/// Turns a path of a list into one relative to `root`.
///
/// # Errors
/// It is empty, or leads out of `root`.
pub(super) fn relative(root: &Path, text: &str, at: At<'_>) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(at.fail("expected a path, got nothing"));
    }
    if text.chars().any(char::is_control) {
        return Err(at.fail(format!("the path {text:?} holds control characters")));
    }
    let path = Path::new(text);
    // Lists in use often hold absolute paths into the data set's folder.
    let path = path.strip_prefix(root).unwrap_or(path);
    if !is_inside(path) {
        return Err(Error::Traversal {
            path: at.list.into(),
            line: at.line,
            entry: text.into(),
        });
    }
    Ok(path
        .components()
        .filter(|part| *part != std::path::Component::CurDir)
        .collect())
}

/// A clip's id from its relative path: parts joined by `/` on every platform.
pub(super) fn path_id(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

/// The clips of one data set, and the splits that name them.
pub(super) struct Collector<'a> {
    dataset: &'a str,
    root: &'a Path,
    list: &'a Path,
    options: ReadOptions,
    clips: BTreeMap<String, VideoEntry>,
    splits: Vec<NamedSplit>,
    /// The list being read, and the line of each id in it.
    reading: (PathBuf, HashMap<String, usize>),
}

struct NamedSplit {
    name: String,
    train: Vec<String>,
    test: Vec<String>,
}

impl<'a> Collector<'a> {
    /// `list` is the list or folder of lists that errors about missing clips name.
    pub(super) fn new(
        dataset: &'a str,
        root: &'a Path,
        list: &'a Path,
        options: ReadOptions,
    ) -> Self {
        Self {
            dataset,
            root,
            list,
            options,
            clips: BTreeMap::new(),
            splits: Vec::new(),
            reading: (PathBuf::new(), HashMap::new()),
        }
    }

    /// Adds the clips of a list of lines `path` or `path word`, of paths below `folder`.
    /// `describe` is given each clip with its id and path, and the word, and completes it.
    ///
    /// # Errors
    /// The list cannot be read, a path leaves the root, [`add`](Self::add) refuses a clip, or
    /// `describe` does.
    pub(super) fn add_lines(
        &mut self,
        list: &Path,
        folder: &str,
        mut describe: impl FnMut(&mut VideoEntry, Option<&str>, At<'_>) -> Result<()>,
    ) -> Result<()> {
        for line in text::lines(&text::read(list)?) {
            let at = At {
                list,
                line: line.number,
            };
            let (path, word) = match line.text.rsplit_once(char::is_whitespace) {
                Some((path, word)) => (path.trim_end(), Some(word)),
                None => (line.text, None),
            };
            let path = Path::new(folder).join(relative(self.root, path, at)?);
            let mut clip = VideoEntry::new(path_id(&path), path, Vec::new());
            describe(&mut clip, word, at)?;
            self.add(clip, at)?;
        }
        Ok(())
    }

    /// Adds a clip, or meets it again in another list.
    ///
    /// # Errors
    /// The same list named it before, or another list under another class.
    pub(super) fn add(&mut self, entry: VideoEntry, at: At<'_>) -> Result<()> {
        let (list, lines) = &mut self.reading;
        if list != at.list {
            *list = at.list.into();
            lines.clear();
        }
        if let Some(first_line) = lines.insert(entry.id.clone(), at.line) {
            return Err(Error::DuplicateClip {
                path: at.list.into(),
                id: entry.id,
                first_line,
                line: at.line,
            });
        }
        if let Some(known) = self.clips.get(&entry.id) {
            if known.labels != entry.labels {
                return Err(at.fail(format!(
                    "clip '{}' has another class here than in the lists before",
                    entry.id
                )));
            }
            return Ok(());
        }
        self.clips.insert(entry.id.clone(), entry);
        Ok(())
    }

    /// Adds a split by clip ids.
    pub(super) fn add_split(&mut self, name: &str, train: Vec<String>, test: Vec<String>) {
        self.splits.push(NamedSplit {
            name: name.into(),
            train,
            test,
        });
    }

    /// Looks for the files and makes the manifest.
    ///
    /// # Errors
    /// Missing clips where they are refused, links out of the root, and whatever
    /// [`Manifest::new`] and [`Split::check`] refuse.
    pub(super) fn finish(self, classes: Vec<ClassName>, notes: Vec<String>) -> Result<Found> {
        let Self {
            dataset,
            root,
            list,
            options,
            clips,
            splits,
            ..
        } = self;
        let listed = clips.len();
        if listed == 0 {
            return Err(Error::Content {
                path: list.into(),
                what: "names no clip".into(),
            });
        }
        let mut notes = notes;
        let mut missing = Vec::new();
        let mut present = Vec::with_capacity(listed);
        if options.missing == Missing::Unchecked {
            present.extend(clips.into_values());
        } else {
            let mut disk = Disk::new(root, options.follow_links)?;
            for (id, mut entry) in clips {
                match disk.find(&entry.path)? {
                    Some(path) => {
                        entry.path = path;
                        present.push(entry);
                    }
                    None => missing.push(id),
                }
            }
        }
        if let (Missing::Refuse, Some(first)) = (options.missing, missing.first()) {
            return Err(Error::MissingClips {
                list: list.into(),
                root: root.into(),
                missing: missing.len(),
                listed,
                first: first.clone(),
            });
        }
        if present.is_empty() {
            return Err(Error::MissingClips {
                list: list.into(),
                root: root.into(),
                missing: missing.len(),
                listed,
                first: missing.first().cloned().unwrap_or_default(),
            });
        }
        if !missing.is_empty() {
            #[allow(clippy::cast_precision_loss)] // a percentage for people
            let share = 100.0 * missing.len() as f64 / listed as f64;
            notes.push(format!(
                "{} of {listed} listed clips are not on disk and are left out ({share:.1} %)",
                missing.len()
            ));
        }

        let mut count = vec![0_usize; classes.len()];
        for entry in &present {
            for label in &entry.labels {
                if let Some(count) = count.get_mut(*label) {
                    *count += 1;
                }
            }
        }
        let empty = count.iter().filter(|count| **count == 0).count();
        let mut label_of = vec![None; classes.len()];
        let mut kept = Vec::with_capacity(classes.len());
        for (label, class) in classes.into_iter().enumerate() {
            let clips = count.get(label).copied().unwrap_or_default();
            if clips > 0 || options.missing == Missing::Unchecked {
                if let Some(slot) = label_of.get_mut(label) {
                    *slot = Some(kept.len());
                }
                kept.push(class);
            } else if options.missing == Missing::Refuse {
                return Err(Error::Content {
                    path: list.into(),
                    what: format!("class '{class}' has no clip"),
                });
            }
        }
        if empty > 0 && options.missing == Missing::Allow {
            notes.push(format!("{empty} classes have no clip and are left out"));
        }
        let clips = present
            .into_iter()
            .map(|entry| {
                let labels = entry.labels.iter();
                let labels = labels.filter_map(|label| label_of.get(*label).copied().flatten());
                VideoEntry {
                    labels: labels.collect(),
                    ..entry
                }
            })
            .collect();
        let mut manifest = Manifest::new(dataset, root, kept, clips)?;
        for split in splits {
            let positions = |ids: &[String]| -> Vec<usize> {
                let mut positions: Vec<_> =
                    ids.iter().filter_map(|id| manifest.position(id)).collect();
                positions.sort_unstable();
                positions
            };
            let split = Split {
                name: split.name.clone(),
                train: positions(&split.train),
                test: positions(&split.test),
            };
            manifest = manifest.with_split(split)?;
        }
        Ok(Found {
            manifest,
            listed,
            missing,
            notes,
        })
    }
}

/// Finds listed files, forgiving differences of case between lists and disk (UCF-101
/// writes `HandStandPushups` and `HandstandPushups`).
struct Disk<'a> {
    root: &'a Path,
    real_root: PathBuf,
    follow_links: bool,
    /// Of each folder looked into, its names by their lower-case form. `None` marks two
    /// names that differ in case only.
    folders: HashMap<PathBuf, HashMap<String, Option<String>>>,
}

impl<'a> Disk<'a> {
    fn new(root: &'a Path, follow_links: bool) -> Result<Self> {
        let real_root =
            fs::canonicalize(root).map_err(Error::io("cannot open the folder", root))?;
        Ok(Self {
            root,
            real_root,
            follow_links,
            folders: HashMap::new(),
        })
    }

    fn find(&mut self, path: &Path) -> Result<Option<PathBuf>> {
        let mut found = PathBuf::new();
        for part in path {
            let Some(part) = part.to_str() else {
                return Ok(None);
            };
            let Some(name) = self.name_in(&found, part) else {
                return Ok(None);
            };
            found.push(name);
        }
        let full = self.root.join(&found);
        if !full.is_file() {
            return Ok(None);
        }
        check_link(&full, &self.real_root, self.follow_links)?;
        Ok(Some(found))
    }

    /// The spelling on disk of `part` in `folder`.
    fn name_in(&mut self, folder: &Path, part: &str) -> Option<String> {
        let root = self.root;
        let names = self.folders.entry(folder.to_path_buf()).or_insert_with(|| {
            let mut names: HashMap<String, Option<String>> = HashMap::new();
            for entry in fs::read_dir(root.join(folder))
                .into_iter()
                .flatten()
                .flatten()
            {
                if let Ok(name) = entry.file_name().into_string() {
                    let lower = name.to_lowercase();
                    names
                        .entry(lower)
                        .and_modify(|known| *known = None)
                        .or_insert(Some(name));
                }
            }
            names
        });
        match names.get(&part.to_lowercase()) {
            Some(Some(name)) => Some(name.clone()),
            // Two names differ in case only: then case decides.
            Some(None) if root.join(folder).join(part).exists() => Some(part.into()),
            _ => None,
        }
    }
}

/// # Errors
/// `path` is, or lies behind, a link that leads out of `real_root`.
pub(super) fn check_link(path: &Path, real_root: &Path, follow_links: bool) -> Result<()> {
    if follow_links {
        return Ok(());
    }
    let target = fs::canonicalize(path).map_err(Error::io("cannot follow", path))?;
    if target.starts_with(real_root) {
        return Ok(());
    }
    Err(Error::Link {
        link: path.into(),
        target,
    })
}
