//! Training clips, and which of them are held out together.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::{Clips, Error, Result};

/// The most folds of a cross-validation.
const FOLDS: usize = 4;

/// The training clips of what is solved rather than trained in steps.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// N V views: those of the first clip, then those of the second, and so on.
    pub clips: &'a Clips,
    /// The class of each clip, N.
    pub classes: &'a [i64],
    /// The number of the recording that each clip was cut from, N.
    pub recordings: &'a [usize],
    /// V, views per clip, at least one. Each counts as 1 / V of a clip.
    pub views: usize,
}

impl Examples<'_> {
    /// Checks that views, classes and recordings are of the same clips.
    pub(crate) fn check(&self) -> Result<()> {
        let clips = self.classes.len();
        let views = i64::try_from(clips * self.views).unwrap_or(i64::MAX);
        if clips == 0 || self.recordings.len() != clips || self.clips.count() != views {
            return Err(Error::Shape {
                op: "training clips",
                expected: format!(
                    "{} views of {clips} clips, at least one, as classes and recordings",
                    clips * self.views
                ),
                got: vec![self.clips.count(), self.recordings.len() as i64],
            });
        }
        Ok(())
    }

    /// The first view of each clip: `[N V, F]` to `[N, F]`.
    pub(crate) fn first_views(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(rows.f_slice(0, 0, None, i64::try_from(self.views).unwrap_or(i64::MAX))?)
    }

    /// The class of each view, N V.
    pub(crate) fn class_of_view(&self) -> Vec<i64> {
        let each = self.classes.iter();
        each.flat_map(|class| std::iter::repeat_n(*class, self.views))
            .collect()
    }

    /// The views that each fold holds out: [`folds`] of their clips.
    pub(crate) fn folds(&self) -> Option<Vec<Vec<i64>>> {
        let folds = folds(self.classes, self.recordings)?.into_iter();
        let views =
            |clip: usize| (clip * self.views..(clip + 1) * self.views).map(|row| row as i64);
        Some(
            folds
                .map(|clips| clips.into_iter().flat_map(views).collect())
                .collect(),
        )
    }
}

/// The clips that each fold holds out, by position, as many folds as the largest class has clips, at
/// most four. Clips of one recording are in one fold where a class has enough recordings; the only
/// clip of a class is never held out. `None` if no class has two clips.
pub(crate) fn folds(classes: &[i64], recordings: &[usize]) -> Option<Vec<Vec<usize>>> {
    let mut of_class: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (clip, class) in classes.iter().enumerate() {
        of_class.entry(*class).or_default().push(clip);
    }
    let most = of_class.values().map(Vec::len).max()?;
    if most < 2 {
        return None;
    }
    let mut folds = vec![Vec::new(); most.min(FOLDS)];
    for clips in of_class.into_values().filter(|clips| clips.len() > 1) {
        let parts = clips.len().min(folds.len());
        // The largest first, each to the fold with the fewest clips of the class.
        let mut load = vec![0usize; parts];
        for clips in groups(clips, recordings, parts) {
            let least = (0..parts).min_by_key(|fold| load[*fold])?;
            load[least] += clips.len();
            folds[least].extend(clips);
        }
    }
    folds.iter_mut().for_each(|fold| fold.sort_unstable());
    Some(folds)
}

/// Clips of a class by recording, the largest first; each for itself if the recordings are fewer than
/// `parts`.
fn groups(clips: Vec<usize>, recordings: &[usize], parts: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
    for &clip in &clips {
        let recording = recordings.get(clip).copied().unwrap_or(clip);
        match groups.iter_mut().find(|(known, _)| *known == recording) {
            Some((_, clips)) => clips.push(clip),
            None => groups.push((recording, vec![clip])),
        }
    }
    if groups.len() < parts {
        return clips.into_iter().map(|clip| vec![clip]).collect();
    }
    groups.sort_by_key(|(_, clips)| std::cmp::Reverse(clips.len()));
    groups.into_iter().map(|(_, clips)| clips).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn each_clip_but_the_only_one_of_a_class_is_held_out_once() {
        let classes = [0, 0, 1, 2, 2, 2, 2, 2, 0];
        let each: Vec<usize> = (0..classes.len()).collect();
        let found = folds(&classes, &each).unwrap();
        assert_eq!(found, [vec![0, 3, 7], vec![1, 4], vec![5, 8], vec![6]]);
        assert_eq!(folds(&[0, 1, 2], &each), None);
        assert_eq!(folds(&[], &each), None);
    }

    #[test]
    fn clips_of_one_recording_are_held_out_together() {
        let classes = [0, 0, 0, 0, 1, 1, 1, 1];
        // Class 0 has two recordings of two clips each, class 1 four clips of one: fewer recordings
        // than folds, each clip for itself.
        let found = folds(&classes, &[7, 8, 7, 8, 1, 1, 1, 1]).unwrap();
        assert_eq!(found.len(), 4);
        let of = |clip: usize| found.iter().position(|fold| fold.contains(&clip)).unwrap();
        assert_ne!(of(0), of(2));
        let classes = [0, 0, 0, 0, 0, 0, 1, 1];
        let found = folds(&classes, &[7, 8, 9, 10, 7, 8, 1, 2]).unwrap();
        let of = |clip: usize| found.iter().position(|fold| fold.contains(&clip)).unwrap();
        assert!(of(0) == of(4) && of(1) == of(5) && of(2) != of(3) && of(6) != of(7));
    }

    #[test]
    fn views_of_one_clip_are_held_out_together() {
        let clips = Clips::Features(Tensor::zeros([8, 1, 1], (Kind::Float, Device::Cpu)));
        let examples = Examples {
            clips: &clips,
            classes: &[0, 1, 1, 0],
            recordings: &[0, 1, 2, 3],
            views: 2,
        };
        examples.check().unwrap();
        assert_eq!(examples.class_of_view(), [0, 0, 1, 1, 1, 1, 0, 0]);
        let folds = examples.folds().unwrap();
        assert_eq!(folds, [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
        let fewer = Examples {
            views: 3,
            ..examples
        };
        assert!(fewer.check().is_err());
    }
}
