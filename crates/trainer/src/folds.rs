//! Folds by recording: every clip is held out once, together with all clips of its recording.

use std::collections::{BTreeMap, BTreeSet};

use random::Stream;

/// The most folds.
const MOST: usize = 5;

/// A partition of clips for cross-validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folds(Vec<Vec<usize>>);

impl Folds {
    /// Folds of the clips that are cut from `recordings` and show `classes`, both in the clips'
    /// order: as many as the commonest class has recordings, at most five, each with clips of every
    /// class that has as many. A class of one recording is never held out, nor what shares that
    /// recording.
    ///
    /// `None` if no class has two recordings, or clips of some class cannot be on both sides.
    pub fn new(recordings: &[String], classes: &[usize], seed: u64) -> Option<Self> {
        let mut clips_of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (clip, recording) in recordings.iter().enumerate() {
            clips_of.entry(recording).or_default().push(clip);
        }
        let class = |clip: &usize| classes.get(*clip).copied().unwrap_or_default();
        let alone: BTreeSet<usize> = recordings_of(&clips_of, class)
            .into_iter()
            .filter_map(|(class, count)| (count < 2).then_some(class))
            .collect();
        clips_of.retain(|_, clips| clips.iter().all(|clip| !alone.contains(&class(clip))));
        let most = recordings_of(&clips_of, class).into_values().max()?;
        let count = most.min(MOST);
        if count < 2 {
            return None;
        }
        let mut order: Vec<(usize, u64, Vec<usize>)> = clips_of
            .into_iter()
            .map(|(recording, clips)| {
                let draw = Stream::new(seed, &["folds", recording]).next_u64();
                (clips.len(), draw, clips)
            })
            .collect();
        // The largest first, so that the small ones even the folds out.
        order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut folds = vec![Vec::new(); count];
        let mut held: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (_, _, clips) in order {
            let own: BTreeSet<usize> = clips.iter().map(class).collect();
            let load = |fold: &usize| {
                let of_class = |class: &usize| held.get(&(*fold, *class)).copied().unwrap_or(0);
                let total = folds.get(*fold).map_or(0, Vec::len);
                (own.iter().map(of_class).sum::<usize>(), total)
            };
            let fold = (0..count).min_by_key(load).unwrap_or(0);
            for clip in &clips {
                *held.entry((fold, class(clip))).or_default() += 1;
            }
            folds.get_mut(fold)?.extend(clips);
        }
        folds.iter_mut().for_each(|fold| fold.sort_unstable());
        let whole = |fold: &Vec<usize>| {
            let trained = |class: usize| {
                let mut others = (0..classes.len()).filter(|clip| !fold.contains(clip));
                others.any(|clip| classes.get(clip) == Some(&class))
            };
            fold.iter().map(class).all(trained)
        };
        folds.iter().all(whole).then_some(Self(folds))
    }

    /// The clips that each fold holds out, ascending.
    pub fn held(&self) -> &[Vec<usize>] {
        &self.0
    }

    /// Those of `count` clips that are in none of `folds`: the ones to train on.
    pub fn without(&self, folds: &[usize], count: usize) -> Vec<usize> {
        let held = folds.iter().filter_map(|fold| self.0.get(*fold)).flatten();
        let held: BTreeSet<usize> = held.copied().collect();
        (0..count).filter(|clip| !held.contains(clip)).collect()
    }
}

/// The number of recordings of each class.
fn recordings_of(
    clips_of: &BTreeMap<&str, Vec<usize>>,
    class: impl Fn(&usize) -> usize,
) -> BTreeMap<usize, usize> {
    let mut count = BTreeMap::new();
    for clips in clips_of.values() {
        for class in clips.iter().map(&class).collect::<BTreeSet<_>>() {
            *count.entry(class).or_default() += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn named(recordings: &[usize]) -> Vec<String> {
        recordings
            .iter()
            .map(|number| format!("r{number}"))
            .collect()
    }

    #[test]
    fn five_clips_of_each_class_make_five_folds_with_one_of_each() {
        let classes: Vec<usize> = (0..20).map(|clip| clip / 5).collect();
        let recordings: Vec<usize> = (0..20).collect();
        let folds = Folds::new(&named(&recordings), &classes, 3).unwrap();
        assert_eq!(folds.held().len(), 5);
        for fold in folds.held() {
            let shown: Vec<usize> = fold.iter().map(|clip| classes[*clip]).collect();
            assert_eq!(shown, [0, 1, 2, 3]);
        }
        let other = Folds::new(&named(&recordings), &classes, 4).unwrap();
        assert_ne!(folds, other);
    }

    #[test]
    fn a_class_of_one_recording_is_always_trained_on() {
        let folds = Folds::new(&named(&[0, 1, 2, 3, 4, 4]), &[0, 0, 1, 1, 2, 2], 0).unwrap();
        let held: BTreeSet<usize> = folds.held().iter().flatten().copied().collect();
        assert_eq!(held, BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(folds.held().len(), 2);
        assert_eq!(Folds::new(&named(&[0, 1, 1]), &[0, 1, 1], 0), None);
    }

    proptest! {
        #[test]
        fn no_recording_is_on_both_sides(
            clips in prop::collection::vec((0usize..12, 0usize..3), 1..40), seed: u64
        ) {
            let (recordings, classes): (Vec<usize>, Vec<usize>) = clips.into_iter().unzip();
            let names = named(&recordings);
            if let Some(folds) = Folds::new(&names, &classes, seed) {
                let mut seen = BTreeSet::new();
                for (number, fold) in folds.held().iter().enumerate() {
                    let trained = folds.without(&[number], names.len());
                    for clip in fold {
                        prop_assert!(seen.insert(*clip));
                        prop_assert!(trained.iter().all(|other| names[*other] != names[*clip]));
                        prop_assert!(trained.iter().any(|other| classes[*other] == classes[*clip]));
                    }
                }
            }
        }
    }
}
