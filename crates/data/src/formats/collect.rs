//! Gathers the clips that lists name, looks for them, and makes the manifest.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::find::Disk;
use super::parts::Parts;
use super::{Found, Missing, ReadOptions, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, VideoEntry, is_inside};
use crate::names::named;
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

/// Turns a path of a list into one below `root`. The beginning of an absolute path is dropped
/// where it is `root`; else it stays, without its `/` or drive, as folders too many.
///
/// # Errors
/// It is empty, or has a part `..`.
pub(super) fn relative(root: &Path, text: &str, at: At<'_>) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(at.fail("expected a path, got nothing"));
    }
    if text.chars().any(char::is_control) {
        return Err(at.fail(format!("the path {text:?} holds control characters")));
    }
    let slashes = text.replace('\\', "/");
    let path = Path::new(&slashes);
    let path = path.strip_prefix(root).unwrap_or(path);
    let drive = |part: &str| part.len() == 2 && part.ends_with(':');
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name).filter(|name| !name.to_str().is_some_and(drive)),
        // Refused below.
        Component::ParentDir => Some(part.as_os_str()),
        _ => None,
    });
    let path: PathBuf = parts.collect();
    if !is_inside(&path) {
        return Err(Error::Traversal {
            path: at.list.into(),
            line: at.line,
            entry: text.into(),
        });
    }
    Ok(path)
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

    /// Adds the splits that the parts make; `name` is that of a single one. The answer is a
    /// sentence about them.
    pub(super) fn add_parts(&mut self, name: &str, parts: Parts) -> Option<String> {
        let (splits, note) = parts.splits(name);
        for (name, train, test) in splits {
            self.add_split(&name, train, test);
        }
        note
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
        let Located {
            present,
            missing,
            renamed,
        } = locate(root, list, options, clips, &mut notes)?;

        let mut count = vec![0_usize; classes.len()];
        for entry in &present {
            for label in &entry.labels {
                if let Some(count) = count.get_mut(*label) {
                    *count += 1;
                }
            }
        }
        let mut empty = Vec::new();
        let mut label_of = vec![None; classes.len()];
        let mut kept = Vec::with_capacity(classes.len());
        for (label, class) in classes.into_iter().enumerate() {
            let clips = count.get(label).copied().unwrap_or_default();
            if clips > 0 || options.missing == Missing::Unchecked {
                if let Some(slot) = label_of.get_mut(label) {
                    *slot = Some(kept.len());
                }
                kept.push(class);
            } else {
                empty.push(class.raw().to_owned());
            }
        }
        if !empty.is_empty() {
            let without = format!(
                "{} of {} classes have no clip: {}",
                empty.len(),
                empty.len() + kept.len(),
                named(&empty)
            );
            if options.missing == Missing::Refuse {
                return Err(Error::Content {
                    path: list.into(),
                    what: format!("{without}; accepted with `allow_missing`"),
                });
            }
            notes.push(format!("{without}; they are left out"));
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
                let ids = ids.iter().map(|id| renamed.get(id).unwrap_or(id));
                let mut positions: Vec<_> = ids.filter_map(|id| manifest.position(id)).collect();
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

/// The listed clips on disk.
struct Located {
    present: Vec<VideoEntry>,
    /// Ids of the others.
    missing: Vec<String>,
    /// The ids of files found under other names, by those in the list.
    renamed: HashMap<String, String>,
}

/// Looks for the clips, as they are named or as the one file that fits.
fn locate(
    root: &Path,
    list: &Path,
    options: ReadOptions,
    clips: BTreeMap<String, VideoEntry>,
    notes: &mut Vec<String>,
) -> Result<Located> {
    let listed = clips.len();
    let mut found = Located {
        present: Vec::with_capacity(listed),
        missing: Vec::new(),
        renamed: HashMap::new(),
    };
    if options.missing == Missing::Unchecked {
        found.present.extend(clips.into_values());
        return Ok(found);
    }
    let mut disk = Disk::new(root, options.follow_links)?;
    for (id, mut entry) in clips {
        if let Some(path) = disk.find(&entry.path)? {
            entry.path = path;
        } else if let Some(path) = disk.fits(&entry.path)? {
            entry.id = path_id(path);
            entry.path.clone_from(path);
            found.renamed.insert(id, entry.id.clone());
        } else {
            found.missing.push(id);
            continue;
        }
        found.present.push(entry);
    }
    let Located {
        present,
        missing,
        renamed,
    } = &found;
    one_file_each(list, present, renamed)?;
    if !renamed.is_empty() {
        let mut names: Vec<String> = renamed
            .iter()
            .map(|(listed, found)| format!("{listed}' is '{found}"))
            .collect();
        names.sort();
        notes.push(format!(
            "{} of {listed} names are not written as on disk; the one file that fits is taken: {}",
            names.len(),
            named(&names)
        ));
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let names = missing.iter().take(3);
    let names = names.map(|id| Ok((id.clone(), disk.nearest(id)?)));
    let names: Vec<(String, Vec<String>)> = names.collect::<Result<_>>()?;
    if options.missing == Missing::Refuse || present.is_empty() {
        return Err(Error::MissingClips {
            list: list.into(),
            root: root.into(),
            missing: missing.len(),
            listed,
            names,
        });
    }
    let mut near: Vec<String> = names.into_iter().flat_map(|(_, near)| near).collect();
    near.dedup();
    notes.push(format!(
        "{} of {listed} listed clips are not on disk and are left out: {}; nearest there: {}",
        missing.len(),
        named(missing),
        named(&near)
    ));
    Ok(found)
}

/// # Errors
/// Two names of a list were found to be one file.
fn one_file_each(
    list: &Path,
    present: &[VideoEntry],
    renamed: &HashMap<String, String>,
) -> Result<()> {
    if renamed.is_empty() {
        return Ok(());
    }
    // The first of several names for one file.
    let listed_as: HashMap<&str, &str> = renamed
        .iter()
        .map(|(listed, found)| (found.as_str(), listed.as_str()))
        .collect();
    let mut names: HashMap<&Path, &str> = HashMap::new();
    for entry in present {
        let id = entry.id.as_str();
        let listed = *listed_as.get(id).unwrap_or(&id);
        if let Some(other) = names.insert(&entry.path, listed) {
            return Err(Error::Content {
                path: list.into(),
                what: format!(
                    "'{other}' and '{listed}' are both taken for the file '{}'",
                    entry.path.display()
                ),
            });
        }
    }
    Ok(())
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
