//! One's own actions: a folder of class folders, split so that a test means something.

use std::collections::{BTreeMap, BTreeSet};

use data::{Manifest, Split};

use crate::dataset::Dataset;
use crate::seed::{Purpose, Stream};
use crate::{Error, Result};

/// The name of the split that [`hold_out`] makes.
pub const HOLD_OUT: &str = "hold-out";

/// One group in this many is held out.
const SHARE: usize = 5;

/// Holds one group of clips in five back from each class, at least one where there are two.
///
/// Clips cut from one recording stay together. A class of one group has nothing to hold out:
/// all of it trains. Notes say which, and where classes differ much in size. A folder that
/// brings its own split keeps it.
///
/// # Errors
/// [`Error::Mismatch`] for fewer than two classes.
pub fn hold_out(mut dataset: Dataset, seed: u64) -> Result<Dataset> {
    let classes = dataset.manifest.classes().len();
    if classes < 2 {
        return Err(Error::mismatch("class folders", "at least 2", classes));
    }
    if !dataset.manifest.splits().is_empty() {
        return Ok(dataset);
    }
    let mut groups: BTreeMap<usize, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (position, clip) in dataset.manifest.clips().iter().enumerate() {
        let group = clip.group.clone().unwrap_or_else(|| clip.id.clone());
        let class = groups.entry(clip.label()).or_default();
        class.entry(group).or_default().push(position);
    }
    let mut held = BTreeSet::new();
    let mut sizes = Vec::new();
    for (class, groups) in groups {
        sizes.push(groups.values().map(Vec::len).sum::<usize>());
        let name = dataset.labels.get(class).cloned().unwrap_or_default();
        if groups.len() < 2 {
            dataset.notes.push(format!(
                "'{name}' has one clip or recording: all of it trains, nothing of it is tested"
            ));
            continue;
        }
        let count = (groups.len() / SHARE).max(1);
        let mut order: Vec<&Vec<usize>> = groups.values().collect();
        Stream::new(seed, Purpose::Labels, 1, class as u64).shuffle(&mut order);
        held.extend(order.into_iter().take(count).flatten().copied());
    }
    if let (Some(least), Some(most)) = (sizes.iter().min(), sizes.iter().max())
        && *most > 3 * *least
    {
        dataset.notes.push(format!(
            "classes have {least} to {most} clips; those of small classes are seen more often"
        ));
    }
    let all = 0..dataset.manifest.clips().len();
    let (test, train): (Vec<usize>, Vec<usize>) = all.partition(|clip| held.contains(clip));
    dataset.manifest = with_split(dataset.manifest, train, test)?;
    Ok(dataset)
}

fn with_split(manifest: Manifest, train: Vec<usize>, test: Vec<usize>) -> Result<Manifest> {
    Ok(manifest.with_split(Split {
        name: HOLD_OUT.into(),
        train,
        test,
    })?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use data::{ClassName, Clip, NameStyle, SkipList};

    fn dataset(sizes: &[usize]) -> Dataset {
        let clip = |class: usize, number: usize| Clip {
            id: format!("c{class}/{number}.mp4"),
            path: format!("c{class}/{number}.mp4").into(),
            labels: vec![class],
            group: (class == 0).then(|| format!("group {}", number / 2)),
            frames: None,
        };
        let clips = sizes
            .iter()
            .enumerate()
            .flat_map(|(class, count)| (0..*count).map(move |number| clip(class, number)))
            .collect();
        let classes: Vec<ClassName> = (0..sizes.len())
            .map(|class| ClassName::new(format!("class{class}")))
            .collect();
        Dataset {
            labels: classes
                .iter()
                .map(|class| class.text(NameStyle::Raw))
                .collect(),
            manifest: Manifest::new("own", "videos", classes, clips).unwrap(),
            skip: SkipList::new(),
            notes: Vec::new(),
            missing: Vec::new(),
            prepared: None,
            allow_missing: false,
        }
    }

    #[test]
    fn groups_are_never_parted_and_every_class_trains() {
        let dataset = hold_out(dataset(&[8, 5, 1, 20]), 0).unwrap();
        let split = dataset.manifest.split(HOLD_OUT).unwrap();
        split.check_groups(&dataset.manifest).unwrap();
        let count = |clips: &[usize], class| {
            clips
                .iter()
                .filter(|clip| dataset.class(**clip) == class)
                .count()
        };
        let tested: Vec<usize> = (0..4).map(|class| count(&split.test, class)).collect();
        assert_eq!(tested, [2, 1, 0, 4]);
        assert!((0..4).all(|class| count(&split.train, class) > 0));
        let notes = dataset.notes.join("\n");
        assert!(
            notes.contains("class2") && notes.contains("1 to 20"),
            "{notes}"
        );
    }

    #[test]
    fn one_class_is_no_task() {
        assert!(hold_out(dataset(&[8]), 0).is_err());
    }
}
