//! The manifest: which clips a data set has, where they lie, and what they show.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::class_name::{ClassName, twins};
use crate::error::{Error, Result};
use crate::splits::Split;

/// Format number written into manifest files.
const FORMAT: u32 = 1;

/// One clip of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoEntry {
    /// Names the clip within its data set; unique.
    pub id: String,
    /// Where it lies, relative to the manifest's root.
    pub path: PathBuf,
    /// The classes it shows: indices into [`Manifest::classes`], at least one.
    pub labels: Vec<usize>,
    /// Clips of one group were cut from one recording; a split keeps them on one side.
    pub group: Option<String>,
    /// Frames that can be decoded, where they have been counted.
    pub frames: Option<usize>,
    /// A sentence about this very clip, where the data set has one.
    pub caption: Option<String>,
}

impl VideoEntry {
    /// A clip of `labels`, with neither group, frame count nor caption.
    #[must_use]
    pub fn new(id: impl Into<String>, path: impl Into<PathBuf>, labels: Vec<usize>) -> Self {
        Self {
            id: id.into(),
            path: path.into(),
            labels,
            group: None,
            frames: None,
            caption: None,
        }
    }

    /// The first (for most data sets the only) label.
    #[must_use]
    pub fn label(&self) -> usize {
        // `Manifest::new` refuses clips without a label.
        self.labels.first().copied().unwrap_or_default()
    }
}

/// A checked data set: clips sorted by id, labels that exist, splits that do not overlap.
///
/// A clip's place in [`Manifest::clips`] is its *position*; splits, the loader and kept
/// features speak of positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    dataset: String,
    root: PathBuf,
    classes: Vec<ClassName>,
    clips: Vec<VideoEntry>,
    splits: Vec<Split>,
}

impl Manifest {
    /// Sorts `clips` by id and checks that all of it fits together.
    ///
    /// # Errors
    /// Ids that repeat, are empty or hold control characters; a path that leaves the
    /// root; no label, or one beyond `classes`; classes of one spelling.
    pub fn new(
        dataset: impl Into<String>,
        root: impl Into<PathBuf>,
        classes: Vec<ClassName>,
        mut clips: Vec<VideoEntry>,
    ) -> Result<Self> {
        let dataset = dataset.into();
        let fail = |what: String| Error::Manifest {
            dataset: dataset.clone(),
            what,
        };
        if classes.iter().any(|class| class.raw().trim().is_empty()) {
            return Err(fail("a class has an empty name".into()));
        }
        let name = |place: usize| classes.get(place).map_or("", ClassName::raw);
        if let Some((one, other)) = twins(classes.iter().map(ClassName::raw)) {
            let (one, other) = (name(one), name(other));
            return Err(fail(format!(
                "'{one}' and '{other}' are two spellings of one class"
            )));
        }
        clips.sort_by(|a, b| a.id.cmp(&b.id));
        for pair in clips.windows(2) {
            if let [a, b] = pair
                && a.id == b.id
            {
                return Err(fail(format!("clip '{}' appears twice", a.id)));
            }
        }
        for clip in &clips {
            let id = &clip.id;
            if id.is_empty() || id.chars().any(char::is_control) {
                return Err(fail(format!(
                    "clip id {id:?} is empty or holds control characters"
                )));
            }
            if !is_inside(&clip.path) {
                return Err(fail(format!(
                    "clip '{id}': the path '{}' leads out of the root; expected a relative path \
                     without '..'",
                    clip.path.display()
                )));
            }
            if clip.path.to_str().is_none() {
                return Err(fail(format!("clip '{id}': its path is not UTF-8")));
            }
            if clip.labels.is_empty() {
                return Err(fail(format!("clip '{id}' has no label")));
            }
            if let Some(label) = clip.labels.iter().find(|label| **label >= classes.len()) {
                return Err(fail(format!(
                    "clip '{id}' has label {label}, there are {} classes",
                    classes.len()
                )));
            }
        }
        Ok(Self {
            dataset,
            root: root.into(),
            classes,
            clips,
            splits: Vec::new(),
        })
    }

    /// The same with one more named split.
    ///
    /// # Errors
    /// A split of that name is there, or [`Split::check`] refuses it.
    pub fn with_split(mut self, split: Split) -> Result<Self> {
        split.check(&self)?;
        if self.splits.iter().any(|other| other.name == split.name) {
            return Err(Error::Split {
                split: split.name,
                what: "appears twice".into(),
            });
        }
        self.splits.push(split);
        Ok(self)
    }

    /// The data set's name; part of the key of every draw.
    #[must_use]
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// The folder that clip paths are relative to.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The classes, in label order.
    #[must_use]
    pub fn classes(&self) -> &[ClassName] {
        &self.classes
    }

    /// The clips, sorted by id.
    #[must_use]
    pub fn clips(&self) -> &[VideoEntry] {
        &self.clips
    }

    /// The splits that came with the lists.
    #[must_use]
    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    /// The split of that name.
    ///
    /// # Errors
    /// There is none; the error names those that are.
    pub fn split(&self, name: &str) -> Result<&Split> {
        self.splits
            .iter()
            .find(|split| split.name == name)
            .ok_or_else(|| Error::Option {
                name: "split",
                expected: if self.splits.is_empty() {
                    format!("nothing: '{}' came without splits", self.dataset)
                } else {
                    let names: Vec<_> = self
                        .splits
                        .iter()
                        .map(|split| split.name.as_str())
                        .collect();
                    format!("one of {}", names.join(", "))
                },
                got: name.into(),
            })
    }

    /// Where the clip of that id stands.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.clips
            .binary_search_by(|clip| clip.id.as_str().cmp(id))
            .ok()
    }

    /// The class of that name, however it is spelled.
    #[must_use]
    pub fn class(&self, name: &str) -> Option<usize> {
        let key = ClassName::new(name).key();
        self.classes.iter().position(|class| class.key() == key)
    }

    /// The clip's file.
    #[must_use]
    pub fn file(&self, clip: &VideoEntry) -> PathBuf {
        self.root.join(&clip.path)
    }

    /// Records how many frames of a clip can be decoded; `false` where there is no such
    /// position.
    pub fn set_frames(&mut self, position: usize, frames: usize) -> bool {
        match self.clips.get_mut(position) {
            Some(clip) => {
                clip.frames = Some(frames);
                true
            }
            None => false,
        }
    }

    /// SHA-256, in hex, of the data set's name, classes, and each clip's id, path, labels
    /// and group. Neither the root (data may move) nor frame counts (they are found out
    /// later) nor captions change it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut field = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        field("manifest 1");
        field(&self.dataset);
        field(&self.classes.len().to_string());
        for class in &self.classes {
            field(class.raw());
        }
        for clip in &self.clips {
            field(&clip.id);
            field(&clip.path.to_string_lossy());
            field(&clip.labels.len().to_string());
            for label in &clip.labels {
                field(&label.to_string());
            }
            field(clip.group.as_deref().unwrap_or_default());
        }
        disk::hex(hash.finalize())
    }

    /// Reads a manifest file. A relative root is taken from the manifest's own folder.
    ///
    /// # Errors
    /// The file cannot be read, is not such a manifest, has changed since [`save`](Self::save) wrote
    /// it, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io("cannot read", path))?;
        let broken = |what: String| Error::Content {
            path: path.into(),
            what,
        };
        let changed = |reason| {
            broken(format!(
                "{reason}; if it was edited, remove its last field, `sha256`"
            ))
        };
        let text = match disk::unseal(&bytes).map_err(changed)? {
            Some(text) => text,
            // Written by hand.
            None => String::from_utf8_lossy(&bytes).into_owned(),
        };
        let wire: Wire = serde_json::from_str(&text)
            .map_err(|error| broken(format!("is not a manifest: {error}")))?;
        if wire.format != FORMAT {
            return Err(Error::Content {
                path: path.into(),
                what: format!(
                    "manifest format {}, this version reads {FORMAT}",
                    wire.format
                ),
            });
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        wire.check(folder)
    }

    /// Writes the manifest, whole or not at all. A root below the manifest's folder is
    /// written relative to it, so that the folder can move.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let text = serde_json::to_string_pretty(&Wire::of(self, folder)).map_err(|error| {
            Error::Content {
                path: path.into(),
                what: format!("cannot be written: {error}"),
            }
        })?;
        Ok(disk::write(path, disk::seal(&text).as_bytes())?)
    }
}

/// Whether `path` is relative and stays below where it starts.
pub(crate) fn is_inside(path: &Path) -> bool {
    use std::path::Component;
    let mut parts = path.components().peekable();
    parts.peek().is_some()
        && parts.all(|part| match part {
            // Written on Windows, a path may hide its way up from this platform.
            Component::Normal(name) => name.to_str().is_none_or(|name| {
                !name.split('\\').any(|part| part == "..") && !name.starts_with('\\')
            }),
            Component::CurDir => true,
            _ => false,
        })
}

/// The file: labels by name, splits by clip id.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: u32,
    dataset: String,
    root: PathBuf,
    classes: Vec<ClassName>,
    clips: Vec<WireClip>,
    #[serde(default)]
    splits: Vec<WireSplit>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireClip {
    id: String,
    path: String,
    labels: Vec<ClassName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frames: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caption: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSplit {
    name: String,
    train: Vec<String>,
    test: Vec<String>,
}

impl Wire {
    fn of(manifest: &Manifest, folder: &Path) -> Self {
        let root = match manifest.root.strip_prefix(folder) {
            Ok(below) if below.as_os_str().is_empty() => PathBuf::from("."),
            Ok(below) => below.to_path_buf(),
            Err(_) => std::path::absolute(&manifest.root).unwrap_or_else(|_| manifest.root.clone()),
        };
        let ids = |positions: &[usize]| -> Vec<String> {
            positions
                .iter()
                .filter_map(|position| manifest.clips.get(*position))
                .map(|clip| clip.id.clone())
                .collect()
        };
        Self {
            format: FORMAT,
            dataset: manifest.dataset.clone(),
            root,
            classes: manifest.classes.clone(),
            clips: manifest
                .clips
                .iter()
                .map(|clip| WireClip {
                    id: clip.id.clone(),
                    path: clip.path.to_string_lossy().into_owned(),
                    labels: clip
                        .labels
                        .iter()
                        .filter_map(|label| manifest.classes.get(*label).cloned())
                        .collect(),
                    group: clip.group.clone(),
                    frames: clip.frames,
                    caption: clip.caption.clone(),
                })
                .collect(),
            splits: manifest
                .splits
                .iter()
                .map(|split| WireSplit {
                    name: split.name.clone(),
                    train: ids(&split.train),
                    test: ids(&split.test),
                })
                .collect(),
        }
    }

    fn check(self, folder: &Path) -> Result<Manifest> {
        let dataset = self.dataset;
        let labels: HashMap<&ClassName, usize> = self
            .classes
            .iter()
            .enumerate()
            .map(|(label, class)| (class, label))
            .collect();
        let mut clips = Vec::with_capacity(self.clips.len());
        for clip in self.clips {
            let labels = clip
                .labels
                .iter()
                .map(|name| {
                    labels.get(name).copied().ok_or_else(|| Error::Manifest {
                        dataset: dataset.clone(),
                        what: format!("clip '{}' is of unknown class '{name}'", clip.id),
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            clips.push(VideoEntry {
                id: clip.id,
                path: clip.path.into(),
                labels,
                group: clip.group,
                frames: clip.frames,
                caption: clip.caption,
            });
        }
        let root = if self.root.is_absolute() {
            self.root
        } else {
            folder.join(self.root)
        };
        let mut manifest = Manifest::new(dataset, root, self.classes, clips)?;
        for split in self.splits {
            let positions = |ids: &[String]| {
                ids.iter()
                    .map(|id| {
                        manifest.position(id).ok_or_else(|| Error::Split {
                            split: split.name.clone(),
                            what: format!("clip '{id}' is not in the manifest"),
                        })
                    })
                    .collect::<Result<Vec<_>>>()
            };
            let (train, test) = (positions(&split.train)?, positions(&split.test)?);
            manifest = manifest.with_split(Split {
                name: split.name,
                train,
                test,
            })?;
        }
        Ok(manifest)
    }
}
