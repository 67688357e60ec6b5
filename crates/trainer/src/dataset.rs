//! The videos a configuration names.

mod prepared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data::formats::{
    Found, KineticsLists, Missing, ReadOptions, charades, class_folders, clip_list, hmdb51,
    kinetics400, ucf101,
};
use data::{Manifest, SkipList, Split};

use crate::config::{Data, DatasetKind};
use crate::{Error, Result};

/// A data set, read and checked.
#[derive(Debug)]
pub struct Dataset {
    /// Clips, classes and splits.
    pub manifest: Manifest,
    /// Clips to leave out, by name.
    pub skip: SkipList,
    /// What the reader recognised or left out, a sentence each.
    pub notes: Vec<String>,
    /// The classes' names as words, in label order.
    pub labels: Vec<String>,
    /// Clips that the lists name and the disk does not have, by id.
    pub missing: Vec<String>,
    /// The manifest's file, where the folder was prepared.
    pub prepared: Option<PathBuf>,
    /// Whether lists may name clips that are not there.
    pub allow_missing: bool,
}

impl Dataset {
    /// Reads the data set that `config` names. A root that was prepared (it holds a
    /// `manifest.json`) is all that is needed; lists that are given go before it.
    ///
    /// # Errors
    /// [`Error::Value`] where root or lists are needed and not given, or a prepared root holds
    /// another data set than asked for; and whatever reading them meets.
    pub fn read(config: &Data) -> Result<Self> {
        let root = needed("data.root", "the folder of videos", config.root.as_deref())?;
        let manifest = root.join(prepared::MANIFEST);
        if config.lists.is_none() && manifest.is_file() {
            return prepared::read(root, &manifest, config);
        }
        let options = ReadOptions {
            missing: if config.allow_missing {
                Missing::Allow
            } else {
                Missing::Refuse
            },
            follow_links: config.follow_links,
        };
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let lists = || {
            needed(
                "data.lists",
                "the folder of official lists, or a prepared folder as data.root",
                config.lists.as_deref(),
            )
        };
        let found = match config.layout {
            DatasetKind::Ucf101 => ucf101(root, lists()?, options)?,
            DatasetKind::Hmdb51 => hmdb51(root, lists()?, options)?,
            DatasetKind::Kinetics400 => kinetics400(root, &kinetics_lists(lists()?), options)?,
            DatasetKind::Charades => charades(root, lists()?, options)?,
            DatasetKind::Folder => class_folders(&name, root, options)?,
            DatasetKind::Csv => {
                let list = needed(
                    "data.lists",
                    "a file of `path,label`",
                    config.lists.as_deref(),
                )?;
                clip_list(&name, root, list, None, options)?
            }
        };
        let skip = match &config.skip_list {
            Some(path) => SkipList::load(path)?,
            None => SkipList::new(),
        };
        Ok(Self::of(found, skip, config))
    }

    fn of(found: Found, skip: SkipList, config: &Data) -> Self {
        let mut notes = found.notes;
        if !found.missing.is_empty() {
            notes.push(format!(
                "{} of {} listed clips are not there and were left out",
                found.missing.len(),
                found.listed
            ));
        }
        let clips = found.manifest.clips().iter();
        let skipped = clips.filter(|clip| skip.reason(&clip.id).is_some()).count();
        if skipped > 0 {
            notes.push(format!(
                "{skipped} clips are on the skip list and were left out"
            ));
        }
        let classes = found.manifest.classes();
        Self {
            labels: classes
                .iter()
                .map(|name| name.text(config.class_names))
                .collect(),
            manifest: found.manifest,
            skip,
            notes,
            missing: found.missing,
            prepared: None,
            allow_missing: config.allow_missing,
        }
    }

    /// Writes how many frames of each clip decode, by id, into the manifest of a prepared
    /// folder, so that decoding need not find out again; `false` where there is none.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_counts(&mut self, frames: &BTreeMap<String, usize>) -> Result<bool> {
        for (id, frames) in frames {
            if let Some(position) = self.manifest.position(id) {
                self.manifest.set_frames(position, *frames);
            }
        }
        let Some(path) = &self.prepared else {
            return Ok(false);
        };
        self.manifest.save(path)?;
        Ok(true)
    }

    /// The split of that name without the clips of the skip list.
    ///
    /// # Errors
    /// There is no such split.
    pub fn split(&self, name: &str) -> Result<Split> {
        let mut split = self.manifest.split(name)?.clone();
        let kept = |position: &usize| self.skip.reason(self.id(*position)).is_none();
        split.train.retain(kept);
        split.test.retain(kept);
        Ok(split)
    }

    /// The id of the clip at a position.
    pub fn id(&self, position: usize) -> &str {
        self.manifest
            .clips()
            .get(position)
            .map_or("", |clip| clip.id.as_str())
    }

    /// Every class of the clip at a position.
    pub fn classes(&self, position: usize) -> &[usize] {
        let clip = self.manifest.clips().get(position);
        clip.map_or(&[], |clip| clip.labels.as_slice())
    }

    /// Whether clips show several classes.
    pub fn is_multi_label(&self) -> bool {
        let clips = self.manifest.clips();
        clips.iter().any(|clip| clip.labels.len() > 1)
    }

    /// The class of the clip at a position, the first of several.
    pub fn class(&self, position: usize) -> usize {
        self.manifest
            .clips()
            .get(position)
            .map_or(0, data::VideoEntry::label)
    }
}

fn needed<'a>(key: &str, expected: &str, path: Option<&'a Path>) -> Result<&'a Path> {
    path.ok_or_else(|| Error::Value {
        key: key.into(),
        expected: expected.into(),
        got: "not set".into(),
    })
}

/// The two CSV files as they are published.
fn kinetics_lists(folder: &Path) -> KineticsLists {
    let first = |names: [&str; 2]| -> Option<PathBuf> {
        let mut paths = names.into_iter().map(|name| folder.join(name));
        paths.find(|path| path.is_file())
    };
    KineticsLists {
        train: first(["train.csv", "kinetics_train.csv"]),
        val: first(["val.csv", "kinetics_val.csv"]),
    }
}
