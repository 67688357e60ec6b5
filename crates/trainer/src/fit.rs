//! User data: a folder of class folders, all trained on, or split into training and test clips by
//! recording.

use std::collections::{BTreeMap, BTreeSet};

use data::{Dataset, Manifest, Split, named};
use random::Stream;

use crate::config::{Config, Source, Unsplit};
use crate::{Error, Result};

/// The name of the split that trains on every clip, judged by cross-validation.
pub const CROSS_VALIDATION: &str = "cross-validation";

/// The name of the folder of strangers: clips that show none of the classes.
pub const STRANGERS: &str = "none";

/// The most clips for a cross-validation: beyond, one in five is a test set.
const MOST: usize = 2048;

/// The name of the split that holds clips out.
pub const HOLD_OUT: &str = "hold-out";

/// One in this many groups is held out.
const SHARE: usize = 5;

/// The name of the split that tests every clip.
pub const ALL: &str = "all";

/// The class of the data set that holds strangers.
pub fn strangers(dataset: &Dataset) -> Option<usize> {
    let classes = dataset.manifest.classes();
    classes.iter().position(|class| class.key() == STRANGERS)
}

/// Splits a data set without a split as the configuration says. One with its own split keeps it.
///
/// Where a cross-validation is asked for and cannot be made, clips are held out, and a note says why.
///
/// # Errors
/// [`Error::Mismatch`] if there are fewer than two classes.
pub fn split_unsplit(mut dataset: Dataset, config: &Config) -> Result<Dataset> {
    let (how, seed) = (config.data.unsplit, config.seed);
    if let (Unsplit::CrossValidate, Some(class)) = (how, strangers(&dataset)) {
        let note = format!(
            "the clips in '{}' are examples of none of the classes: they take part in choosing the \
             threshold of belonging",
            dataset.name(class)
        );
        dataset.notes.push(note);
    }
    if !dataset.manifest.splits().is_empty() {
        note_untrained(&mut dataset);
        return Ok(dataset);
    }
    match how {
        Unsplit::Refuse => Ok(dataset),
        Unsplit::CrossValidate => {
            let reason = match dataset.manifest.clips().len() {
                _ if config.data.source == Source::Video => "training is from videos",
                _ if dataset.is_multi_label() => "clips show several classes",
                count if count > MOST => "there are enough clips",
                _ => return all_trained(dataset),
            };
            let note = format!("no cross-validation, since {reason}: one clip in five is held out");
            dataset.notes.push(note);
            hold_out(dataset, seed)
        }
        Unsplit::HoldOut => hold_out(dataset, seed),
        Unsplit::Test => {
            let clips = (0..dataset.manifest.clips().len()).collect();
            dataset.manifest = with_split(dataset.manifest, ALL, Vec::new(), clips)?;
            Ok(dataset)
        }
    }
}

/// A split that trains on every clip.
fn all_trained(mut dataset: Dataset) -> Result<Dataset> {
    let classes = dataset.manifest.classes().len() - usize::from(strangers(&dataset).is_some());
    if classes < 2 {
        return Err(Error::mismatch("class folders", "at least 2", classes));
    }
    let clips = (0..dataset.manifest.clips().len()).collect();
    dataset.manifest = with_split(dataset.manifest, CROSS_VALIDATION, clips, Vec::new())?;
    Ok(dataset)
}

/// Notes classes that a split tests and of which it has no training clip.
fn note_untrained(dataset: &mut Dataset) {
    let manifest = &dataset.manifest;
    let shown = |clips: &[usize]| -> BTreeSet<usize> {
        let clips = clips.iter().filter_map(|clip| manifest.clips().get(*clip));
        clips.flat_map(|clip| clip.labels.clone()).collect()
    };
    let mut names = BTreeSet::new();
    for split in manifest
        .splits()
        .iter()
        .filter(|split| !split.train.is_empty())
    {
        let trained = shown(&split.train);
        names.extend(
            shown(&split.test)
                .difference(&trained)
                .map(|class| dataset.name(*class)),
        );
    }
    if !names.is_empty() {
        let names: Vec<&str> = names.into_iter().collect();
        let note = format!(
            "{} tested without a training clip: {}",
            counted_classes(names.len()),
            named(&names)
        );
        dataset.notes.push(note);
    }
}

fn counted_classes(count: usize) -> String {
    match count {
        1 => "1 class is".into(),
        _ => format!("{count} classes are"),
    }
}

/// Holds out one group of clips in five from each class, at least one if there are two.
///
/// Clips cut from one recording stay together. The held-out groups depend on the names
/// of class and group alone, so that adding a class does not change the others. A
/// class with a single group is used for training only. Notes list such classes, and a large
/// imbalance of class sizes.
fn hold_out(mut dataset: Dataset, seed: u64) -> Result<Dataset> {
    let classes = dataset.manifest.classes().len();
    if classes < 2 {
        return Err(Error::mismatch("class folders", "at least 2", classes));
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
        let name = dataset.name(class).to_owned();
        if groups.len() < 2 {
            dataset.notes.push(format!(
                "'{name}' has one clip or recording: it is used for training only, not tested"
            ));
            continue;
        }
        let count = (groups.len() / SHARE).max(1);
        let mut order: Vec<(u64, Vec<usize>)> = groups
            .into_iter()
            .map(|(group, clips)| {
                let draw = Stream::new(seed, &[HOLD_OUT, &name, &group]).next_u64();
                (draw, clips)
            })
            .collect();
        order.sort();
        held.extend(order.into_iter().take(count).flat_map(|(_, clips)| clips));
    }
    if let (Some(least), Some(most)) = (sizes.iter().min(), sizes.iter().max())
        && *most > 3 * *least
    {
        dataset.notes.push(format!(
            "classes have {least} to {most} clips; those of small classes are repeated"
        ));
    }
    let all = 0..dataset.manifest.clips().len();
    let (test, train): (Vec<usize>, Vec<usize>) = all.partition(|clip| held.contains(clip));
    dataset.manifest = with_split(dataset.manifest, HOLD_OUT, train, test)?;
    Ok(dataset)
}

fn with_split(
    manifest: Manifest,
    name: &str,
    train: Vec<usize>,
    test: Vec<usize>,
) -> Result<Manifest> {
    Ok(manifest.with_split(Split {
        name: name.into(),
        train,
        test,
    })?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use data::{ClassName, NameStyle, SkipList, VideoEntry};
    use models::Preset;

    fn dataset(sizes: &[usize]) -> Dataset {
        let clip = |class: usize, number: usize| {
            let path = format!("c{class}/{number}.mp4");
            VideoEntry {
                group: (class == 0).then(|| format!("group {}", number / 2)),
                ..VideoEntry::new(path.clone(), path, vec![class])
            }
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
    fn another_class_changes_nothing_for_those_there() {
        let held = |sizes: &[usize]| -> Vec<String> {
            let dataset = hold_out(dataset(sizes), 0).unwrap();
            let split = dataset.manifest.split(HOLD_OUT).unwrap();
            let ids = split.test.iter().map(|clip| dataset.id(*clip).to_owned());
            ids.filter(|id| !id.starts_with("c0/")).collect()
        };
        assert_eq!(held(&[0, 9, 12, 5]), held(&[30, 9, 12, 5]));
    }

    #[test]
    fn what_brings_no_split_is_tested_whole_where_asked() {
        let split_unsplit = |dataset, how| {
            let mut config = Config::preset(Preset::Best);
            config.data.unsplit = how;
            split_unsplit(dataset, &config)
        };
        let whole = split_unsplit(dataset(&[3, 2]), Unsplit::Test).unwrap();
        let split = whole.manifest.split(ALL).unwrap();
        assert_eq!((split.train.len(), split.test.len()), (0, 5));
        let again = split_unsplit(whole, Unsplit::HoldOut).unwrap();
        assert!(again.manifest.split(HOLD_OUT).is_err(), "it has a split");
        let refused = split_unsplit(dataset(&[3, 2]), Unsplit::Refuse).unwrap();
        assert!(refused.manifest.splits().is_empty());
    }

    #[test]
    fn one_class_is_no_task() {
        assert!(hold_out(dataset(&[8]), 0).is_err());
    }
}
