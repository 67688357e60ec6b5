//! The trials of a protocol: training clips, test clips and classes.

mod draws;

use std::collections::BTreeMap;

use data::splits::{base_to_novel, few_shot, half_classes};
use data::{Dataset, Manifest, Split};
use serde::{Deserialize, Serialize};

use crate::config::{Protocol, ProtocolKind};
use crate::{Error, Result};
use random::{Purpose, StepStream};

/// One training with its tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Folder name, such as `seed-3`.
    pub name: String,
    /// Seed of the draw and of the training.
    pub seed: u64,
    /// Classes trained on, as labels of the data set.
    pub classes: Vec<usize>,
    /// Training clips, as positions in the manifest; none if nothing is trained.
    pub train: Vec<usize>,
    /// Clips that show none of the classes, as positions in the manifest.
    pub strangers: Vec<usize>,
    /// Its tests.
    pub tests: Vec<Test>,
}

/// One test of a trained model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// `test`, `base` or `novel`.
    pub name: String,
    /// Candidate classes.
    pub classes: Vec<usize>,
    /// Test clips, as positions in the manifest.
    pub clips: Vec<usize>,
}

impl Test {
    fn new(name: &str, classes: Vec<usize>, clips: Vec<usize>) -> Self {
        Self {
            name: name.into(),
            classes,
            clips,
        }
    }
}

impl Trial {
    /// Takes the clips of a class out of training and tests; those of training are strangers.
    fn set_apart(&mut self, strangers: usize, dataset: &Dataset) {
        let is_stranger = |clip: &usize| dataset.class(*clip) == strangers;
        self.strangers = self
            .train
            .extract_if(.., |clip| is_stranger(clip))
            .collect();
        self.classes.retain(|class| *class != strangers);
        for test in &mut self.tests {
            test.classes.retain(|class| *class != strangers);
            test.clips.retain(|clip| !is_stranger(clip));
        }
    }

    /// If no clip is left for testing, as with one clip per class, the training clips are
    /// tested, under a name that says so.
    pub fn test_something(&mut self) {
        if self.tests.iter().all(|test| test.clips.is_empty()) {
            let mut clips = self.train.clone();
            clips.sort_unstable();
            clips.dedup();
            self.tests = vec![Test::new("training", self.classes.clone(), clips)];
        }
    }
}

/// The trials of a protocol on a data set, one class of which may hold examples of strangers.
///
/// # Errors
/// A split that does not exist, classes with fewer clips than shots, or published draws that
/// are missing or do not fit.
pub fn trials(
    protocol: &Protocol,
    dataset: &Dataset,
    strangers: Option<usize>,
) -> Result<Vec<Trial>> {
    let split = split_of(protocol, dataset)?;
    let manifest = &dataset.manifest;
    let all: Vec<usize> = (0..manifest.classes().len()).collect();
    let mut trials = Vec::with_capacity(protocol.seeds.len());
    for &seed in &protocol.seeds {
        let name = format!("seed-{seed}");
        trials.push(match protocol.name {
            ProtocolKind::ClosedSet => Trial {
                name,
                seed,
                classes: all.clone(),
                train: split.train.clone(),
                strangers: Vec::new(),
                tests: vec![Test::new("test", all.clone(), split.test.clone())],
            },
            ProtocolKind::FewShot => Trial {
                name,
                seed,
                classes: all.clone(),
                train: match &protocol.draws {
                    Some(place) => draws::few_shot(place, protocol, dataset, &split)?,
                    None => few_shot(manifest, &split, protocol.shots, seed)?.train,
                },
                strangers: Vec::new(),
                tests: vec![Test::new("test", all.clone(), split.test.clone())],
            },
            ProtocolKind::ZeroShot => Trial {
                name,
                seed,
                classes: all.clone(),
                train: Vec::new(),
                strangers: Vec::new(),
                tests: vec![Test::new("test", all.clone(), split.test.clone())],
            },
            ProtocolKind::ZeroShotHalves => {
                let half = half_classes(manifest, seed);
                let clips = split.of_classes(manifest, &half).test;
                Trial {
                    name,
                    seed,
                    classes: half.clone(),
                    train: Vec::new(),
                    strangers: Vec::new(),
                    tests: vec![Test::new("test", half, clips)],
                }
            }
            ProtocolKind::BaseToNovel => match &protocol.draws {
                Some(place) => draws::base_to_novel(place, protocol, dataset, seed)?,
                None => base_to_novel_trial(manifest, &split, protocol, seed)?,
            },
        });
    }
    if let Some(class) = strangers {
        for trial in &mut trials {
            trial.set_apart(class, dataset);
        }
    }
    if protocol.balance {
        for trial in &mut trials {
            trial.train = balanced(dataset, &trial.train);
        }
    }
    Ok(trials)
}

/// The clips, those of smaller classes repeated in turn until each class has as many as
/// the largest.
pub(crate) fn balanced(dataset: &Dataset, clips: &[usize]) -> Vec<usize> {
    let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for clip in clips {
        classes.entry(dataset.class(*clip)).or_default().push(*clip);
    }
    let most = classes.values().map(Vec::len).max().unwrap_or(0);
    classes
        .into_values()
        .flat_map(|clips| clips.into_iter().cycle().take(most))
        .collect()
}

fn base_to_novel_trial(
    manifest: &Manifest,
    split: &Split,
    protocol: &Protocol,
    seed: u64,
) -> Result<Trial> {
    let halves = base_to_novel(manifest, split);
    let drawn = few_shot(manifest, split, protocol.shots, seed)?;
    let tests = |classes: &[usize]| split.of_classes(manifest, classes).test;
    Ok(Trial {
        name: format!("seed-{seed}"),
        seed,
        train: drawn.of_classes(manifest, &halves.base).train,
        strangers: Vec::new(),
        tests: vec![
            Test::new("base", halves.base.clone(), tests(&halves.base)),
            Test::new("novel", halves.novel.clone(), tests(&halves.novel)),
        ],
        classes: halves.base,
    })
}

/// The split a protocol draws from, without the clips of the skip list.
///
/// # Errors
/// There is no such split, or no split at all.
pub fn split_of(protocol: &Protocol, dataset: &Dataset) -> Result<Split> {
    if dataset.manifest.splits().is_empty() {
        return Err(Error::Value {
            key: "data.unsplit".into(),
            expected: format!(
                "hold-out or test, since {} has no split (folders train and test, data.train_list \
                 and data.test_list, or a column of parts)",
                dataset.manifest.root().display()
            ),
            got: "refuse".into(),
        });
    }
    Ok(dataset.split(&split_name(&dataset.manifest, protocol.split))?)
}

/// The manifest's name of official split `number`. Where names are not numbers, it counts them;
/// Kinetics has one, named "val".
pub fn split_name(manifest: &Manifest, number: usize) -> String {
    let name = number.to_string();
    match manifest.splits() {
        [only] => only.name.clone(),
        splits if splits.iter().any(|split| split.name == name) => name,
        splits => splits
            .get(number.saturating_sub(1))
            .filter(|split| split.name.parse::<usize>().is_err())
            .map_or(name, |split| split.name.clone()),
    }
}

/// Every class of each training clip, as indices into the trial's own classes, if clips
/// show several; else none.
///
/// # Errors
/// [`Error::Value`] if their labels are to be shuffled, since there is no single label.
pub fn shown_classes(trial: &Trial, dataset: &Dataset, shuffle: bool) -> Result<Vec<Vec<i64>>> {
    if !dataset.is_multi_label() {
        return Ok(Vec::new());
    }
    if shuffle {
        return Err(Error::Value {
            key: "protocol.shuffle_labels".into(),
            expected: "false if clips show several classes".into(),
            got: "true".into(),
        });
    }
    let shown = |position: &usize| numbers(&trial.classes, dataset.classes(*position));
    Ok(trial.train.iter().map(shown).collect())
}

/// For each of `classes`, its index in `among`; missing ones are skipped.
pub fn numbers(among: &[usize], classes: &[usize]) -> Vec<i64> {
    let place = |class: &usize| among.iter().position(|other| other == class);
    classes
        .iter()
        .filter_map(place)
        .map(|place| place as i64)
        .collect()
}

/// The classes of training clips as indices into the trial's own classes; shuffled
/// if the protocol requires that check.
pub fn training_classes(trial: &Trial, dataset: &Dataset, shuffle: bool) -> Vec<i64> {
    let number = |position: &usize| {
        let class = dataset.class(*position);
        let place = trial.classes.iter().position(|other| *other == class);
        place.unwrap_or(0) as i64
    };
    let mut classes: Vec<i64> = trial.train.iter().map(number).collect();
    if shuffle {
        StepStream::new(trial.seed, Purpose::Labels, 0, 0).shuffle(&mut classes);
    }
    classes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_split_is_found_by_its_number_or_counted() {
        let name = |names: &[&str], number| {
            let empty = Manifest::new("own", "", Vec::new(), Vec::new()).unwrap();
            let manifest = names.iter().try_fold(empty, |manifest, name| {
                manifest.with_split(Split {
                    name: (*name).into(),
                    train: Vec::new(),
                    test: Vec::new(),
                })
            });
            split_name(&manifest.unwrap(), number)
        };
        assert_eq!(name(&["1", "3"], 3), "3");
        assert_eq!(name(&["1", "3"], 2), "2", "there is none");
        assert_eq!(name(&["val"], 2), "val");
        assert_eq!(name(&["val", "test"], 1), "val");
        assert_eq!(name(&["val", "test"], 2), "test");
        assert_eq!(name(&["val", "test"], 3), "3", "there is none");
    }
}
