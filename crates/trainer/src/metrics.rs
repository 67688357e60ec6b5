//! Accuracy over every clip of a set, and its spread over seeds.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The metrics of a set of scored clips. Shares are in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Clips scored: all of them.
    pub clips: usize,
    /// Top-1 accuracy.
    pub top1: f64,
    /// Top-5 accuracy.
    pub top5: f64,
    /// Top-1 accuracy of each class; `None` for a class without clips.
    pub per_class: Vec<Option<f64>>,
    /// Mean of `per_class` over the classes with clips.
    pub mean_class: f64,
    /// `confusion[true][predicted]`, counts.
    pub confusion: Vec<Vec<u64>>,
}

impl Accuracy {
    /// Evaluates `scores`, `[N * K]` row-major, against `labels`, `[N]`.
    ///
    /// Ties go to the first class, so that the result does not depend on the stability of a
    /// sort.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the lengths do not fit, a label is not a class, or a score is
    /// not a number.
    pub fn new(scores: &[f32], labels: &[usize], classes: usize) -> Result<Self> {
        if scores.len() != labels.len() * classes {
            return Err(Error::mismatch(
                "scores",
                format!("{} clips x {classes} classes", labels.len()),
                format!("{} values", scores.len()),
            ));
        }
        if let Some(label) = labels.iter().find(|label| **label >= classes) {
            return Err(Error::mismatch("label", format!("below {classes}"), label));
        }
        if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
            return Err(Error::mismatch("score", "a finite number", score));
        }
        let mut confusion = vec![vec![0u64; classes]; classes];
        let mut among_five = 0usize;
        let rows = scores.chunks_exact(classes.max(1));
        for (row, &label) in rows.zip(labels) {
            let ranks = order(row);
            if ranks.iter().take(5).any(|class| *class == label) {
                among_five += 1;
            }
            if let (Some(&best), Some(counts)) = (ranks.first(), confusion.get_mut(label))
                && let Some(count) = counts.get_mut(best)
            {
                *count += 1;
            }
        }
        let right = |class: usize, row: &[u64]| row.get(class).copied().unwrap_or(0);
        let hits: u64 = confusion
            .iter()
            .enumerate()
            .map(|(c, row)| right(c, row))
            .sum();
        let per_class: Vec<Option<f64>> = confusion
            .iter()
            .enumerate()
            .map(|(class, row)| {
                let clips: u64 = row.iter().sum();
                (clips > 0).then(|| right(class, row) as f64 / clips as f64)
            })
            .collect();
        let present: Vec<f64> = per_class.iter().flatten().copied().collect();
        let share = |count: f64| {
            if labels.is_empty() {
                0.0
            } else {
                count / labels.len() as f64
            }
        };
        Ok(Self {
            clips: labels.len(),
            top1: share(hits as f64),
            top5: share(among_five as f64),
            mean_class: if present.is_empty() {
                0.0
            } else {
                present.iter().sum::<f64>() / present.len() as f64
            },
            per_class,
            confusion,
        })
    }
}

/// The classes of one row of scores, best first; equal scores in the classes' order.
pub fn order(row: &[f32]) -> Vec<usize> {
    let mut ranked: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.into_iter().map(|(class, _)| class).collect()
}

/// Mean average precision of `scores`, `[N * K]` row-major, where clip n shows the classes
/// `shown[n]`: for each class the clips are ranked by its score, and the precision at each clip
/// that shows it is averaged; then the mean over the classes shown by any clip. Equal
/// scores keep the clips' order. `None` if nothing is shown.
///
/// # Errors
/// [`Error::Mismatch`] if the lengths do not fit, or a score is not a number.
pub fn mean_average_precision(
    scores: &[f32],
    shown: &[Vec<i64>],
    classes: usize,
) -> Result<Option<f64>> {
    if scores.len() != shown.len() * classes {
        return Err(Error::mismatch(
            "scores",
            format!("{} clips x {classes} classes", shown.len()),
            format!("{} values", scores.len()),
        ));
    }
    if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
        return Err(Error::mismatch("score", "a finite number", score));
    }
    let mut precisions = Vec::new();
    for class in 0..classes {
        let of_class = scores.iter().skip(class).step_by(classes.max(1));
        let column: Vec<f32> = of_class.copied().collect();
        let (mut right, mut sum) = (0usize, 0.0);
        for (rank, clip) in order(&column).into_iter().enumerate() {
            if shown
                .get(clip)
                .is_some_and(|set| set.contains(&(class as i64)))
            {
                right += 1;
                sum += right as f64 / (rank + 1) as f64;
            }
        }
        if right > 0 {
            precisions.push(sum / right as f64);
        }
    }
    let count = precisions.len();
    Ok((count > 0).then(|| precisions.iter().sum::<f64>() / count as f64))
}

/// The harmonic mean of base and novel accuracy; 0 if either is.
pub fn harmonic_mean(base: f64, novel: f64) -> f64 {
    if base <= 0.0 || novel <= 0.0 {
        return 0.0;
    }
    2.0 * base * novel / (base + novel)
}

/// Mean, standard deviation and confidence interval of a metric over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The number of values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation; 0 for fewer than two.
    pub deviation: f64,
    /// Half the width of the mean's 95 % interval by Student's t; 0 for fewer than two.
    pub half_interval: f64,
}

impl Spread {
    /// The spread of `values`; `None` for none.
    pub fn new(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        if count == 1 {
            return Some(Self {
                count,
                mean,
                deviation: 0.0,
                half_interval: 0.0,
            });
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (count - 1) as f64).sqrt();
        let half_interval = student(count - 1) * deviation / (count as f64).sqrt();
        Some(Self {
            count,
            mean,
            deviation,
            half_interval,
        })
    }

    /// The spread of `a - b` over the draws both were run on, a paired comparison that is sharper
    /// than two separate spreads; `None` if the lengths differ or are 0.
    pub fn paired(a: &[f64], b: &[f64]) -> Option<Self> {
        if a.len() != b.len() {
            return None;
        }
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self::new(&differences)
    }
}

/// Wilson's 95 % interval of a share of `right` among `clips`: the uncertainty of a test set of
/// few clips.
pub fn wilson(right: usize, clips: usize) -> (f64, f64) {
    if clips == 0 {
        return (0.0, 1.0);
    }
    wilson_of(right as f64 / clips as f64, clips as f64)
}

/// 95 % interval of the accuracy on new recordings from a cross-validation with this `accuracy` over
/// `recordings` in `folds`.
///
/// It is Wilson's, with each recording as one observation, whatever the number of its clips, and the
/// number of recordings divided by 1 + F / (F - 1): the models of F folds share most of their training
/// clips, and this is the correction of the variance by Nadeau and Bengio (Machine Learning 2003).
pub fn interval_of_folds(accuracy: f64, recordings: usize, folds: usize) -> (f64, f64) {
    if recordings == 0 || folds < 2 {
        return (0.0, 1.0);
    }
    let shared = 1.0 + folds as f64 / (folds - 1) as f64;
    wilson_of(accuracy, recordings as f64 / shared)
}

fn wilson_of(share: f64, n: f64) -> (f64, f64) {
    let z = 1.959_964;
    let centre = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (
        ((centre - half) / scale).max(0.0),
        ((centre + half) / scale).min(1.0),
    )
}

/// The 97.5 % point of Student's t.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    match TABLE.get(freedom.saturating_sub(1)) {
        Some(value) => *value,
        // Cornish and Fisher's first term; within 0.001 from 30 on.
        None => 1.959_964 + (1.959_964f64.powi(3) + 1.959_964) / (4.0 * freedom as f64),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_by_hand() {
        // Clip 0: right. Clip 1: class 1 is second. Clip 2: tie between 0 and 2, 0 wins.
        let scores = [0.7, 0.2, 0.1, 0.5, 0.4, 0.1, 0.4, 0.2, 0.4];
        let seen = Accuracy::new(&scores, &[0, 1, 2], 3).unwrap();
        assert!((seen.top1 - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(seen.top5, 1.0);
        assert_eq!(seen.per_class, [Some(1.0), Some(0.0), Some(0.0)]);
        assert_eq!(seen.confusion, [[1, 0, 0], [1, 0, 0], [1, 0, 0]]);
    }

    #[test]
    fn a_class_without_clips_has_no_accuracy() {
        let seen = Accuracy::new(&[0.9, 0.1, 0.2, 0.8], &[0, 0], 2).unwrap();
        assert_eq!(seen.per_class, [Some(0.5), None]);
        assert_eq!(seen.mean_class, 0.5);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Accuracy::new(&[0.1, 0.2, 0.3], &[0], 2).is_err());
        assert!(Accuracy::new(&[0.1, 0.2], &[2], 2).is_err());
        assert!(Accuracy::new(&[0.1, f32::NAN], &[0], 2).is_err());
        assert_eq!(Accuracy::new(&[], &[], 0).unwrap().clips, 0);
    }

    #[test]
    fn spreads_by_hand() {
        let s = Spread::new(&[0.1, 0.2, 0.3]).unwrap();
        assert!((s.mean - 0.2).abs() < 1e-12 && (s.deviation - 0.1).abs() < 1e-12);
        assert!((s.half_interval - 4.303 * 0.1 / 3f64.sqrt()).abs() < 1e-9);
        assert_eq!(Spread::new(&[]), None);
        assert_eq!(Spread::new(&[0.5]).unwrap().deviation, 0.0);
        let p = Spread::paired(&[0.5, 0.6], &[0.4, 0.4]).unwrap();
        assert!((p.mean - 0.15).abs() < 1e-12);
        assert_eq!(Spread::paired(&[0.5], &[]), None);
        assert!((student(30) - 2.042).abs() < 1e-9 && (student(40) - 2.021).abs() < 2e-3);
    }

    #[test]
    fn harmonic_mean_by_hand() {
        assert!((harmonic_mean(0.6, 0.3) - 0.4).abs() < 1e-12);
        assert_eq!(harmonic_mean(0.0, 0.9), 0.0);
    }

    #[test]
    fn wilson_by_hand() {
        // 56 of 112: 0.409 to 0.591.
        let (low, high) = wilson(56, 112);
        assert!((low - 0.4089).abs() < 1e-3 && (high - 0.5911).abs() < 1e-3);
        assert!(wilson(0, 10).0 < 1e-12 && (wilson(10, 10).1 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn folds_that_share_clips_count_for_fewer_recordings() {
        // 45 recordings in five folds count for 20.
        assert_eq!(interval_of_folds(0.75, 45, 5), wilson(15, 20));
        assert_eq!(interval_of_folds(1.0, 0, 5), (0.0, 1.0));
    }

    #[test]
    fn average_precision_follows_its_definition() {
        // Class 0: ranks of the clips 0, 2, 1, 3; shown by 0 and 1: (1/1 + 2/3) / 2.
        // Class 1: ranks 3, 1, 0, 2; shown by 1, 2, 3: (1 + 1 + 3/4) / 3. Class 2: not shown.
        let scores = [
            0.9f32, 0.3, 0.5, 0.4, 0.6, 0.5, 0.8, 0.1, 0.5, 0.1, 0.7, 0.5,
        ];
        let shown = [vec![0], vec![0, 1], vec![1], vec![1]];
        let map = mean_average_precision(&scores, &shown, 3).unwrap().unwrap();
        let expected = ((1.0 + 2.0 / 3.0) / 2.0 + (1.0 + 1.0 + 0.75) / 3.0) / 2.0;
        assert!((map - expected).abs() < 1e-12, "{map}");
        assert_eq!(
            mean_average_precision(&scores, &vec![vec![]; 4], 3).unwrap(),
            None
        );
        assert!(mean_average_precision(&scores, &shown, 4).is_err());
        assert!(mean_average_precision(&[f32::NAN; 12], &shown, 3).is_err());
    }

    proptest! {
        #[test]
        fn every_clip_is_counted_once(
            clips in 1usize..60,
            classes in 1usize..9,
            seed: u64,
        ) {
            let mut stream =
                random::StepStream::new(seed, random::Purpose::Labels, 0, 0);
            let scores: Vec<f32> =
                (0..clips * classes).map(|_| stream.unit() as f32).collect();
            let labels: Vec<usize> = (0..clips).map(|_| stream.below(classes)).collect();
            let seen = Accuracy::new(&scores, &labels, classes).unwrap();
            let counted: u64 = seen.confusion.iter().flatten().sum();
            prop_assert_eq!(counted as usize, clips);
            prop_assert!(seen.top1 <= seen.top5);
            if classes <= 5 {
                prop_assert_eq!(seen.top5, 1.0);
            }
            // Batches of any size, the last one incomplete, give the same counts.
            let batch = 1 + stream.below(clips);
            let mut right = 0.0;
            for (scores, labels) in scores.chunks(batch * classes).zip(labels.chunks(batch)) {
                let part = Accuracy::new(scores, labels, classes).unwrap();
                right += part.top1 * part.clips as f64;
            }
            prop_assert!((right / clips as f64 - seen.top1).abs() < 1e-9);
        }
    }
}
