//! A data set as its users name it: a folder, prepared or not, perhaps with lists, perhaps with
//! a list of bad clips.

mod prepared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::class_name::NameStyle;
use crate::error::{Error, Result};
use crate::formats::{Columns, Format, Found, Lists, Missing, ReadOptions, Reader, clip_lists};
use crate::manifest::{Manifest, VideoEntry};
use crate::names::{counted, named};
use crate::skip_list::SkipList;
use crate::splits::Split;

/// Where a data set lies, and how it is read.
#[derive(Clone, Debug)]
pub struct DatasetOptions {
    /// The format of folder and lists.
    pub layout: &'static Format,
    /// The folder of videos, or a prepared folder.
    pub root: PathBuf,
    /// The folder of official lists, or the one list; they go before a prepared folder's
    /// manifest.
    pub lists: Option<PathBuf>,
    /// A list of training clips of one's own, instead of `lists`.
    pub train_list: Option<PathBuf>,
    /// A list of test clips of one's own, instead of `lists`.
    pub test_list: Option<PathBuf>,
    /// A table of class names, for lists of one's own that have numbers.
    pub class_table: Option<PathBuf>,
    /// The columns of a list of one's own, where their names are not known.
    pub columns: Option<Columns>,
    /// A list of clips that cannot be decoded; else that of a prepared folder.
    pub skip_list: Option<PathBuf>,
    /// Leave out listed clips that are not there, instead of refusing.
    pub allow_missing: bool,
    /// Whether symbolic links may lead out of the root.
    pub follow_links: bool,
    /// How class names become words.
    pub class_names: NameStyle,
}

impl DatasetOptions {
    /// A folder alone, strictly: nothing may be missing, and links stay inside.
    #[must_use]
    pub fn new(layout: &'static Format, root: impl Into<PathBuf>) -> Self {
        Self {
            layout,
            root: root.into(),
            lists: None,
            train_list: None,
            test_list: None,
            class_table: None,
            columns: None,
            skip_list: None,
            allow_missing: false,
            follow_links: false,
            class_names: NameStyle::default(),
        }
    }

    /// The lists of one's own; `None` where the folder, or official lists, are all.
    fn own_lists(&self) -> Result<Option<Lists<'_>>> {
        let own = Lists {
            list: self.lists.as_deref(),
            train: self.train_list.as_deref(),
            test: self.test_list.as_deref(),
            class_table: self.class_table.as_deref(),
            columns: self.columns.as_ref(),
        };
        let parts = own.train.is_some() || own.test.is_some();
        let refuse = |name, expected: String| {
            let got = "set".into();
            Err(Error::Option {
                name,
                expected,
                got,
            })
        };
        let layout = self.layout.name;
        if parts && own.list.is_some() {
            return refuse("lists", "none beside train_list and test_list".into());
        }
        if parts && self.layout.published.is_some() {
            let expected = format!("none with the layout '{layout}', which has lists of its own");
            return refuse("train_list", expected);
        }
        let folders = matches!(self.layout.reader, Reader::Folder(_));
        let list = folders && own.list.is_some_and(Path::is_file);
        if parts || list || matches!(self.layout.reader, Reader::List(_)) {
            return Ok(Some(own));
        }
        if folders && own.list.is_some() {
            let expected = format!("a list, or none with the layout '{layout}'");
            return refuse("lists", expected);
        }
        for (name, given) in [
            ("class_table", own.class_table.is_some()),
            ("columns", own.columns.is_some()),
        ] {
            if given {
                let expected = format!("none with the layout '{layout}': it is for lists");
                return refuse(name, expected);
            }
        }
        Ok(None)
    }
}

/// A data set, read and checked.
#[derive(Debug)]
pub struct Dataset {
    /// Clips, classes and splits.
    pub manifest: Manifest,
    /// Clips to leave out, by id.
    pub skip: SkipList,
    /// Recognised or left out by the reader, a sentence each.
    pub notes: Vec<String>,
    /// The classes' names as prompts have them, in label order; [`name`](Self::name) is for
    /// people.
    pub labels: Vec<String>,
    /// Clips that the lists name and the disk does not have, by id.
    pub missing: Vec<String>,
    /// The manifest's file, where the folder was prepared.
    pub prepared: Option<PathBuf>,
    /// Whether lists may name clips that are not there.
    pub allow_missing: bool,
}

impl Dataset {
    /// The file that makes a folder a prepared one.
    pub const MANIFEST: &str = "manifest.json";
    /// The list of bad clips in a prepared folder.
    pub const SKIP: &str = "skip.txt";

    /// Reads the data set. A root that was prepared is all that is needed; lists that are
    /// given go before its manifest.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) with the option's name where lists are needed
    /// and not given, or a prepared root holds another data set than asked for; and what
    /// reading them meets.
    pub fn read(options: &DatasetOptions) -> Result<Self> {
        let manifest = options.root.join(Self::MANIFEST);
        let own = options.own_lists()?;
        let listed = options.lists.is_some() || own.is_some_and(|own| own.any().is_some());
        if !listed && disk::is_file(&manifest)? {
            return prepared::read(&manifest, options);
        }
        let reading = ReadOptions {
            missing: if options.allow_missing {
                Missing::Allow
            } else {
                Missing::Refuse
            },
            follow_links: options.follow_links,
        };
        let found = match own.filter(|own| own.any().is_some()) {
            Some(own) => {
                let name = options.root.file_name().unwrap_or_default();
                clip_lists(&name.to_string_lossy(), &options.root, &own, reading)?
            }
            None => {
                let lists = options.lists.as_deref();
                options.layout.read(&options.root, lists, reading)?
            }
        };
        let skip = match &options.skip_list {
            Some(path) => SkipList::load(path)?,
            None => SkipList::new(),
        };
        Ok(Self::of(found, skip, options))
    }

    fn of(found: Found, skip: SkipList, options: &DatasetOptions) -> Self {
        let mut notes = found.notes;
        let clips = found.manifest.clips().iter();
        let skipped = clips.filter(|clip| skip.reason(&clip.id).is_some());
        let skipped: Vec<&str> = skipped.map(|clip| clip.id.as_str()).collect();
        if !skipped.is_empty() {
            notes.push(format!(
                "{} on the skip list left out: {}",
                counted(skipped.len(), "clip"),
                named(&skipped)
            ));
        }
        let classes = found.manifest.classes().iter();
        Self {
            labels: classes.map(|name| name.text(options.class_names)).collect(),
            manifest: found.manifest,
            skip,
            notes,
            missing: found.missing,
            prepared: None,
            allow_missing: options.allow_missing,
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

    /// The id of the clip at a position; empty where there is no such position.
    #[must_use]
    pub fn id(&self, position: usize) -> &str {
        self.clip(position).map_or("", |clip| clip.id.as_str())
    }

    /// The name of a class as the data set writes it; empty where there is no such class.
    #[must_use]
    pub fn name(&self, class: usize) -> &str {
        self.manifest
            .classes()
            .get(class)
            .map_or("", |name| name.raw())
    }

    /// Every class of the clip at a position.
    #[must_use]
    pub fn classes(&self, position: usize) -> &[usize] {
        self.clip(position)
            .map_or(&[], |clip| clip.labels.as_slice())
    }

    /// The class of the clip at a position, the first of several.
    #[must_use]
    pub fn class(&self, position: usize) -> usize {
        self.clip(position).map_or(0, VideoEntry::label)
    }

    /// Whether clips show several classes.
    #[must_use]
    pub fn is_multi_label(&self) -> bool {
        let clips = self.manifest.clips();
        clips.iter().any(|clip| clip.labels.len() > 1)
    }

    fn clip(&self, position: usize) -> Option<&VideoEntry> {
        self.manifest.clips().get(position)
    }
}
