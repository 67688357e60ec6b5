//! Which clips train and which test.

mod base_to_novel;
mod few_shot;
mod half_classes;
mod published;

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::manifest::Manifest;

pub use base_to_novel::{BaseToNovel, base_to_novel};
pub use few_shot::few_shot;
pub use half_classes::half_classes;
pub use published::{Published, read_published};

/// Clips to train on and clips to test on, as positions in a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// "1", "2", "3" for official splits, "val" for Kinetics.
    pub name: String,
    /// Training positions.
    pub train: Vec<usize>,
    /// Test positions.
    pub test: Vec<usize>,
}

impl Split {
    /// Refuses positions that do not exist, that repeat, or that are on both sides.
    ///
    /// # Errors
    /// One of these, naming the clip.
    pub fn check(&self, manifest: &Manifest) -> Result<()> {
        let mut seen: HashMap<usize, &str> = HashMap::new();
        for (part, positions) in [("train", &self.train), ("test", &self.test)] {
            for position in positions {
                let clip = manifest.clips().get(*position).ok_or_else(|| {
                    self.fail(format!(
                        "{part} position {position}, there are {} clips",
                        manifest.clips().len()
                    ))
                })?;
                if let Some(other) = seen.insert(*position, part) {
                    let what = if other == part {
                        "twice in"
                    } else {
                        "in train and in"
                    };
                    return Err(self.fail(format!("clip '{}' is {what} {part}", clip.id)));
                }
            }
        }
        Ok(())
    }

    /// Refuses a group, that is one recording, with clips on both sides.
    ///
    /// # Errors
    /// Such a group, with two of its clips.
    pub fn check_groups(&self, manifest: &Manifest) -> Result<()> {
        let clips = |positions: &[usize]| -> Vec<_> {
            positions
                .iter()
                .filter_map(|position| manifest.clips().get(*position))
                .collect()
        };
        let train = clips(&self.train);
        let groups: HashMap<_, _> = train
            .iter()
            .filter_map(|clip| Some((clip.group.as_deref()?, clip)))
            .collect();
        for clip in clips(&self.test) {
            if let Some(other) = clip.group.as_deref().and_then(|group| groups.get(group)) {
                return Err(self.fail(format!(
                    "'{}' is in train and '{}' in test, both of group '{}'",
                    other.id,
                    clip.id,
                    clip.group.as_deref().unwrap_or_default()
                )));
            }
        }
        Ok(())
    }

    /// The split with clips of `classes` only.
    #[must_use]
    pub fn of_classes(&self, manifest: &Manifest, classes: &[usize]) -> Self {
        let wanted: HashSet<usize> = classes.iter().copied().collect();
        let keep = |positions: &[usize]| {
            positions
                .iter()
                .copied()
                .filter(|position| {
                    let clip = manifest.clips().get(*position);
                    clip.is_some_and(|clip| clip.labels.iter().any(|label| wanted.contains(label)))
                })
                .collect()
        };
        Self {
            name: self.name.clone(),
            train: keep(&self.train),
            test: keep(&self.test),
        }
    }

    fn fail(&self, what: String) -> Error {
        Error::Split {
            split: self.name.clone(),
            what,
        }
    }

    /// Training positions of each class, sorted by clip id.
    fn train_by_class(&self, manifest: &Manifest) -> Vec<Vec<usize>> {
        let mut classes = vec![Vec::new(); manifest.classes().len()];
        for position in &self.train {
            let labels = manifest
                .clips()
                .get(*position)
                .map(|clip| clip.labels.as_slice());
            for label in labels.unwrap_or_default() {
                if let Some(class) = classes.get_mut(*label) {
                    class.push(*position);
                }
            }
        }
        // Clips are sorted by id, so positions are too.
        for class in &mut classes {
            class.sort_unstable();
        }
        classes
    }
}
