//! How far probabilities can be believed: a temperature fitted on held-out clips, the expected
//! calibration error, and the threshold of belonging.

use serde::{Deserialize, Serialize};

/// Candidate temperatures: powers of 2 in steps of a sixteenth, up to this exponent.
const OCTAVES: i32 = 10;
const STEPS: i32 = 16;
/// Bins of the calibration error.
const BINS: usize = 10;

/// Logits of clips that were held out of their model's training.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeldOut {
    /// One row of K logits per clip.
    pub logits: Vec<Vec<f64>>,
    /// The class of each clip.
    pub classes: Vec<usize>,
}

/// Clips of similar certainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Number of clips.
    pub clips: usize,
    /// Mean probability of the most probable class.
    pub certainty: f64,
    /// The share of correct predictions.
    pub correct: f64,
}

impl HeldOut {
    /// Adds the clips of `other`.
    pub fn extend(&mut self, other: Self) {
        self.logits.extend(other.logits);
        self.classes.extend(other.classes);
    }

    /// The temperature with the smallest cross-entropy. Each clip counts for its class by
    /// (N + 1) / (N + 2), and for the others by the rest, as in Platt scaling: a few clips that are all
    /// right do not make anything certain. 1 without clips.
    pub fn temperature(&self) -> f64 {
        let loss = |exponent: &i32| -> f64 {
            let temperature = candidate(*exponent);
            let rest = 1.0 / (self.classes.len() + 2) as f64;
            let rows = self.logits.iter().zip(&self.classes);
            rows.map(|(row, class)| {
                let log = log_softmax(row, temperature);
                let own = log.get(*class).copied().unwrap_or(0.0);
                let others = log.iter().sum::<f64>() - own;
                let share = rest / (row.len().max(2) - 1) as f64;
                -(1.0 - rest) * own - share * others
            })
            .sum()
        };
        let all: Vec<(i32, f64)> = (-OCTAVES * STEPS..=OCTAVES * STEPS)
            .map(|exponent| (exponent, loss(&exponent)))
            .collect();
        let best = all.iter().min_by(|a, b| {
            // Of equal ones the nearest to 1.
            a.1.total_cmp(&b.1).then(a.0.abs().cmp(&b.0.abs()))
        });
        best.map_or(1.0, |(exponent, _)| candidate(*exponent))
    }

    /// Probabilities of each clip at a temperature.
    pub fn probabilities(&self, temperature: f64) -> Vec<Vec<f64>> {
        let row = |row: &Vec<f64>| {
            log_softmax(row, temperature)
                .iter()
                .map(|x| x.exp())
                .collect()
        };
        self.logits.iter().map(row).collect()
    }

    /// Cross-entropy of each clip at a temperature.
    pub fn losses(&self, temperature: f64) -> Vec<f64> {
        let rows = self.logits.iter().zip(&self.classes);
        rows.map(|(row, class)| {
            -log_softmax(row, temperature)
                .get(*class)
                .copied()
                .unwrap_or(0.0)
        })
        .collect()
    }
}

fn candidate(exponent: i32) -> f64 {
    (f64::from(exponent) / f64::from(STEPS)).exp2()
}

fn log_softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scaled = row.iter().map(|x| (x - largest) / temperature);
    let log = scaled.clone().map(f64::exp).sum::<f64>().ln();
    scaled.map(|x| x - log).collect()
}

/// Ten bins of equal width by certainty, without the empty ones.
pub fn reliability(probabilities: &[Vec<f64>], classes: &[usize]) -> Vec<Bin> {
    let mut sums = [(0usize, 0.0, 0usize); BINS];
    for (row, class) in probabilities.iter().zip(classes) {
        let best = row.iter().copied().enumerate().max_by(|a, b| {
            // Of equal ones the first.
            a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))
        });
        let Some((predicted, certainty)) = best else {
            continue;
        };
        let bin = ((certainty * BINS as f64) as usize).min(BINS - 1);
        if let Some((clips, sum, right)) = sums.get_mut(bin) {
            *clips += 1;
            *sum += certainty;
            *right += usize::from(predicted == *class);
        }
    }
    let filled = sums.into_iter().filter(|(clips, ..)| *clips > 0);
    filled
        .map(|(clips, certainty, right)| Bin {
            clips,
            certainty: certainty / clips as f64,
            correct: right as f64 / clips as f64,
        })
        .collect()
}

/// Expected calibration error: the mean distance between certainty and share of correct
/// predictions over the bins, by their clips; 0 to 1.
pub fn expected_error(bins: &[Bin]) -> f64 {
    let clips: usize = bins.iter().map(|bin| bin.clips).sum();
    let off = |bin: &Bin| (bin.certainty - bin.correct).abs() * bin.clips as f64;
    bins.iter().map(off).sum::<f64>() / clips.max(1) as f64
}

/// The threshold of belonging: the largest that refuses at most `rate` of further clips like those
/// with the scores `known`, the r-th smallest with r = `rate` (N + 1), at least the first.
///
/// With examples of strangers it is, up to there, the one that tells known clips and strangers apart
/// best: that with the largest difference between the shares refused; of several the middle.
pub fn threshold(known: &[f64], strangers: &[f64], rate: f64) -> f64 {
    let sorted = |scores: &[f64]| {
        let mut scores = scores.to_vec();
        scores.sort_by(f64::total_cmp);
        scores
    };
    let (known, strangers) = (sorted(known), sorted(strangers));
    let rank = (rate * (known.len() + 1) as f64) as usize;
    let Some(highest) = known.get(rank.saturating_sub(1)).copied() else {
        return f64::MIN;
    };
    if strangers.is_empty() {
        return highest;
    }
    let refused = |scores: &[f64], threshold: f64| {
        scores.partition_point(|score| *score < threshold) as f64 / scores.len() as f64
    };
    let gain = |threshold: f64| refused(&strangers, threshold) - refused(&known, threshold);
    // The gain changes just above a score.
    let mut candidates: Vec<f64> = known
        .iter()
        .chain(&strangers)
        .map(|score| score.next_up())
        .collect();
    candidates.retain(|candidate| *candidate <= highest);
    candidates.extend(known.first());
    candidates.push(highest);
    candidates.sort_by(f64::total_cmp);
    let best = candidates
        .iter()
        .copied()
        .map(gain)
        .fold(f64::MIN, f64::max);
    let low = candidates
        .iter()
        .copied()
        .find(|candidate| gain(*candidate) == best);
    let low = low.unwrap_or(highest);
    // It stays the same up to the next known clip.
    let next = known.iter().copied().find(|score| *score >= low);
    let next = next.unwrap_or(highest).min(highest).max(low);
    let stranger = strangers
        .iter()
        .copied()
        .find(|score| *score >= low && *score < next);
    match stranger {
        Some(_) => low,
        None => f64::midpoint(low, next),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Logits of two classes with margins `sure`, right where said.
    fn held(margins: &[(f64, bool)]) -> HeldOut {
        HeldOut {
            logits: margins
                .iter()
                .map(|(margin, _)| vec![*margin, 0.0])
                .collect(),
            classes: margins
                .iter()
                .map(|(_, right)| usize::from(!right))
                .collect(),
        }
    }

    #[test]
    fn a_temperature_makes_certainty_what_is_right() {
        let mut clips = vec![(30.0, true); 75];
        clips.extend([(30.0, false); 25]);
        let held = held(&clips);
        let before = reliability(&held.probabilities(1.0), &held.classes);
        assert!((expected_error(&before) - 0.25).abs() < 1e-6);
        let temperature = held.temperature();
        let certainty = held.probabilities(temperature)[0][0];
        assert!(
            (certainty - 0.745).abs() < 0.02,
            "{temperature} {certainty}"
        );
        let after = reliability(&held.probabilities(temperature), &held.classes);
        assert!(expected_error(&after) < 0.02);
    }

    #[test]
    fn a_few_clips_that_are_right_make_nothing_certain() {
        let held = held(&[(30.0, true); 8]);
        let certainty = held.probabilities(held.temperature())[0][0];
        assert!((certainty - 0.9).abs() < 0.01, "{certainty}");
        assert_eq!(HeldOut::default().temperature(), 1.0);
    }

    #[test]
    fn the_calibration_error_follows_its_definition() {
        let row = |certainty: f64| vec![certainty, 1.0 - certainty];
        let mut probabilities = vec![row(0.9); 10];
        probabilities.extend(vec![row(0.6); 10]);
        let classes: Vec<usize> = (0..20).map(|clip| usize::from(clip % 2 == 0)).collect();
        let bins = reliability(&probabilities, &classes);
        assert_eq!(bins.len(), 2);
        assert!((bins[0].certainty - 0.6).abs() < 1e-12 && bins[0].correct == 0.5);
        assert!((expected_error(&bins) - (0.1 + 0.4) / 2.0).abs() < 1e-12);
        assert_eq!(expected_error(&reliability(&[], &[])), 0.0);
    }

    #[test]
    fn one_in_twenty_is_refused_and_with_few_clips_none_below_the_lowest() {
        let scores: Vec<f64> = (0..39).map(f64::from).collect();
        assert_eq!(threshold(&scores, &[], 0.05), 1.0);
        assert_eq!(threshold(&scores[..5], &[], 0.05), 0.0);
        assert!(threshold(&[], &[], 0.05) < -1e300);
    }

    #[test]
    fn strangers_move_the_threshold_where_that_refuses_fewer() {
        let known: Vec<f64> = (10..49).map(f64::from).collect();
        // All strangers are far below: between.
        let between = threshold(&known, &[1.0, 2.0, 3.0], 0.1);
        assert!((between - 6.5).abs() < 1e-9, "{between}");
        // Strangers among the known: never more than the chosen rate.
        assert_eq!(threshold(&known, &[30.0, 31.0], 0.1), 10.0);
        assert!(threshold(&known, &[12.5, 11.5, 30.0], 0.1) <= 13.0);
    }
}
