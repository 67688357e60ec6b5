//! What each registered data set says about itself. Readers, the trainer's configuration, the
//! commands that prepare data sets, their help and the documentation take it from here.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FORMATS, Found, ReadOptions};
use crate::error::{Error, Result};

/// A public data set, or a layout of one's own videos.
pub struct Format {
    /// As configurations and commands spell it; a public data set's manifest has it, too.
    pub name: &'static str,
    /// As text spells it.
    pub title: &'static str,
    /// How its folder and lists are read.
    pub reader: Reader,
    /// Facts about a public data set.
    pub published: Option<Published>,
}

/// How a folder of videos becomes a manifest, and which lists that takes.
#[derive(Clone, Copy)]
pub enum Reader {
    /// The folder, and a folder of official lists.
    Official(fn(&Path, &Path, ReadOptions) -> Result<Found>),
    /// The folder alone, whose name the manifest gets.
    Folder(fn(&str, &Path, ReadOptions) -> Result<Found>),
    /// The folder, whose name the manifest gets, and one list.
    List(fn(&str, &Path, &Path, ReadOptions) -> Result<Found>),
}

/// Facts about a public data set.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Number and kind of its clips, as in "13,320 `.avi`".
    pub clips: &'static str,
    /// Number of its classes.
    pub classes: usize,
    /// Whether a clip may show several of them.
    pub several_labels: bool,
    /// Its official splits, training / test clips.
    pub splits: &'static str,
    /// Licence and terms.
    pub terms: &'static str,
    /// Authors and year.
    pub citation: &'static str,
    /// Its home page.
    pub url: &'static str,
    /// Columns that its own tables have; none if its lists are not tables.
    pub table: &'static [&'static str],
    /// The files it is offered as.
    pub source: Source,
}

/// The files a data set is offered as.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// One archive of videos and one of lists.
    Archives {
        /// The address both are offered below; `None` where one has to register first.
        url: Option<&'static str>,
        /// The videos.
        videos: Archive,
        /// The lists.
        lists: Archive,
    },
    /// Many tar files, of which every copy has lost clips, and a CSV list a part.
    Shards(Shards),
}

/// An archive under its official name.
#[derive(Clone, Copy, Debug)]
pub struct Archive {
    /// Its file; of one cut into pieces, the name before `-00`.
    pub file: &'static str,
    /// What kind of archive it is.
    pub packing: Packing,
    /// The folder that it holds; one that is unpacked already goes by this name.
    pub folder: &'static str,
    /// The room that unpacking takes, as a multiple of the archive's size.
    pub room: u64,
}

/// Kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A `.rar` of files.
    Rar,
    /// A `.rar` of a folder a class, or of a `.rar` a class.
    ClassRar,
    /// A `.zip`, of which some files are taken, without their folders.
    Zip(Endings),
    /// A `.tar.gz` cut into pieces `-00`, `-01` and so on.
    CutTar,
}

/// The files of a `.zip` that are taken: those whose names end in one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endings {
    /// A complete archive has a file for each.
    pub required: &'static [&'static str],
    /// Some releases have them.
    pub optional: &'static [&'static str],
}

/// Tar files named by an index: the parts `train` and `val`.
#[derive(Clone, Copy, Debug)]
pub struct Shards {
    /// The address they are offered below.
    pub url: &'static str,
    /// The index of a part is `<part>/<prefix>_<part>_path.txt`.
    pub prefix: &'static str,
}

impl Format {
    /// The format of that name.
    ///
    /// # Errors
    /// There is none; the error names those that are.
    pub fn named(name: &str) -> Result<&'static Self> {
        let mut formats = FORMATS.iter().copied();
        formats
            .find(|format| format.name == name)
            .ok_or_else(|| Error::Option {
                name: "layout",
                expected: format!("one of {}", Self::names().join(", ")),
                got: name.into(),
            })
    }

    /// The names of all formats.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        FORMATS.iter().map(|format| format.name).collect()
    }

    /// The public data sets, with what is known of them.
    pub fn published() -> impl Iterator<Item = (&'static Self, &'static Published)> {
        let known = |format: &'static Self| Some((format, format.published.as_ref()?));
        FORMATS.iter().copied().filter_map(known)
    }

    /// Reads the videos below `root` and the lists that the format needs.
    ///
    /// # Errors
    /// [`Error::Option`] where lists are needed and `lists` is `None`; unreadable or
    /// contradictory lists; and what `options` refuses.
    pub fn read(&self, root: &Path, lists: Option<&Path>, options: ReadOptions) -> Result<Found> {
        let absent = |expected: &str| Error::Option {
            name: "lists",
            expected: expected.into(),
            got: "not set".into(),
        };
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        match self.reader {
            Reader::Official(read) => {
                let lists = lists.ok_or_else(|| {
                    absent("the folder of official lists, or a prepared folder as the root")
                })?;
                read(root, lists, options)
            }
            Reader::Folder(read) => read(&name, root, options),
            Reader::List(read) => {
                let list = lists.ok_or_else(|| absent("a list, or train_list and test_list"))?;
                read(&name, root, list, options)
            }
        }
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for &'static Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Format::named(&name).map_err(serde::de::Error::custom)
    }
}

impl Source {
    /// The files to bring along, in Markdown.
    #[must_use]
    pub fn files(&self) -> String {
        match self {
            Self::Archives { videos, lists, .. } => {
                let loose = match lists.packing {
                    Packing::Zip(_) => " or its files",
                    _ => "",
                };
                format!("{}; {}{loose}", videos.files(), lists.files())
            }
            Self::Shards(_) => "tar shards (`*.tar`, `*.tar.gz`) in the folder or in its \
                                `train/` and `val/`, or the clips themselves; `train.csv` and \
                                `val.csv` there, in `annotations/`, or named by `--train-csv` \
                                and `--val-csv`"
                .into(),
        }
    }
}

impl Archive {
    fn files(&self) -> String {
        let Self { file, folder, .. } = self;
        match self.packing {
            Packing::CutTar => format!("`{file}-00`, `-01` and so on, or the folder `{folder}/`"),
            _ => format!("`{file}` or the folder `{folder}/`"),
        }
    }
}

impl Shards {
    /// The CSV list of a part in `folder`, under the names that copies give it.
    #[must_use]
    pub fn list(folder: &Path, part: &str) -> Option<PathBuf> {
        let names = ["", "kinetics_", "kinetics-400_", "annotations/"];
        let mut lists = names
            .map(|name| folder.join(format!("{name}{part}.csv")))
            .into_iter();
        lists.find(|list| list.is_file())
    }
}
