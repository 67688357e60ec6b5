//! What the estimates of a cross-validation are worth: compared with the test recordings, over many
//! draws of a few clips.
//!
//! Everything is chosen on training recordings. Test recordings are looked at once, for figures.

use std::fmt;

use clips::Ended;
use data::Split;
use data::splits::few_shot;
use models::ModelConfig;
use random::Stream;
use recogniser::ClassMeans;
use tch::Tensor;

use super::Session;
use super::cross_validation::Few;
use super::prepared::Prepared;
use super::training::Training;
use crate::Result;
use crate::calibration::{HeldOut, expected_error, reliability, threshold};
use crate::metrics::{Spread, wilson};
use crate::trial::{Test, Trial, split_of};

/// Classes that are known where the others are strangers, and clips of each.
const KNOWN: usize = 5;
const KNOWN_SHOTS: usize = 8;
/// Planted mistakes: draws, and clips looked at.
const PLANTED: u64 = 20;
const LOOKED_AT: usize = 5;

/// Over draws of a few clips: estimates against the test recordings.
#[derive(Debug)]
pub struct Draws {
    shots: usize,
    draws: Vec<Draw>,
}

/// Over all choices of known classes: scores of belonging.
#[derive(Debug)]
pub struct Strangers {
    recordings: &'static str,
    scores: Vec<Belonging>,
}

/// Over draws with two swapped classes: how often both clips, and at least one, were named first.
#[derive(Debug)]
pub struct Planted {
    classes: usize,
    shots: usize,
    both: usize,
    one: usize,
}

/// One draw of a few clips.
#[derive(Debug)]
struct Draw {
    /// Accuracy and its interval, by cross-validation.
    estimate: f64,
    interval: [f64; 2],
    /// Accuracy of the run on the test recordings.
    truth: f64,
    /// Expected calibration error without and with temperature: in nested folds, and on the test
    /// recordings.
    folds: [f64; 2],
    test: [f64; 2],
    /// Shares of clips that are refused in nested folds, and on the test recordings.
    refused: [f64; 2],
}

/// A score of belonging over all choices of known classes.
#[derive(Debug, Default, Clone)]
struct Belonging {
    /// Area under the ROC curve: the probability that a known clip has a higher score than a stranger.
    area: Vec<f64>,
    /// Shares refused, of known clips and of strangers.
    refused: Vec<f64>,
    strangers: Vec<f64>,
}

/// The scores of belonging that are compared.
const SCORES: [&str; 5] = [
    "class similarity",
    "nearest clip",
    "energy",
    "probability",
    "margin",
];

/// The comparison, with the solved start as the run, on a session's data set and split.
pub struct FewClips<'a> {
    session: &'a Session,
    clips: Prepared,
    split: Split,
    classes: Vec<usize>,
    model: ModelConfig,
}

impl<'a> FewClips<'a> {
    /// Clips of each class in the draws that are compared.
    pub const SHOTS: [usize; 2] = [5, 8];
    /// Classes and clips of each with planted mistakes.
    pub const PLANTED: [(usize, usize); 3] = [(8, 5), (5, 8), (4, 10)];

    /// Computes the features.
    ///
    /// # Errors
    /// Any error of the clips.
    pub fn new(session: &'a Session) -> Result<Ended<Self>> {
        let split = split_of(&session.config.protocol, &session.dataset)?;
        let classes: Vec<usize> = (0..session.dataset.manifest.classes().len()).collect();
        let whole = trial(&classes, 0, split.train.clone(), split.test.clone());
        let clips = Prepared::new(session, std::slice::from_ref(&whole))?;
        Ok(clips.map(|clips| Self {
            session,
            clips,
            split,
            classes,
            model: session.config.model.build(session.config.data.frames),
        }))
    }

    /// One draw for each of the configured seeds. `watch` is called with the number done.
    ///
    /// # Errors
    /// A class with fewer clips, and any error of a model.
    pub fn draws(&self, shots: usize, mut watch: impl FnMut(usize)) -> Result<Ended<Draws>> {
        let mut draws = Vec::new();
        for (done, &seed) in self.session.config.protocol.seeds.iter().enumerate() {
            watch(done);
            let drawn = few_shot(&self.session.dataset.manifest, &self.split, shots, seed)?;
            let trial = trial(&self.classes, seed, drawn.train, self.split.test.clone());
            draws.extend(self.draw(&trial)?);
            if self.session.interrupt.asked() {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Done(Draws { shots, draws }))
    }

    /// Scores of belonging on the training recordings that are not trained on, from which one is
    /// chosen, or on the test recordings. `watch` is called with the number of choices done.
    ///
    /// # Errors
    /// As [`draws`](Self::draws).
    pub fn strangers(&self, test: bool, mut watch: impl FnMut(usize)) -> Result<Ended<Strangers>> {
        let drawn = few_shot(&self.session.dataset.manifest, &self.split, KNOWN_SHOTS, 0)?.train;
        let mut tested = self.split.test.clone();
        if !test {
            tested.clone_from(&self.split.train);
            tested.retain(|clip| !drawn.contains(clip));
        }
        let mut scores = vec![Belonging::default(); SCORES.len()];
        for (done, known) in choices(self.classes.len(), KNOWN).iter().enumerate() {
            watch(done);
            let of_known = |clip: &usize| known.contains(&self.session.dataset.class(*clip));
            let train = drawn.iter().copied().filter(of_known).collect();
            self.one_choice(&trial(known, 0, train, tested.clone()), &mut scores)?;
            if self.session.interrupt.asked() {
                return Ok(Ended::Stopped);
            }
        }
        let recordings = if test { "test" } else { "training" };
        Ok(Ended::Done(Strangers { recordings, scores }))
    }

    /// Two clips with swapped classes among `shots` of each of `classes`, in each of several draws of
    /// classes and clips. `watch` is called with the number done.
    ///
    /// # Errors
    /// As [`draws`](Self::draws).
    pub fn planted(
        &self,
        classes: usize,
        shots: usize,
        mut watch: impl FnMut(usize),
    ) -> Result<Ended<Planted>> {
        let (mut both, mut one) = (0, 0);
        for seed in 0..PLANTED {
            watch(seed as usize);
            let mut known = self.classes.clone();
            Stream::new(seed, &["classes of planted mistakes"]).shuffle(&mut known);
            known.truncate(classes);
            known.sort_unstable();
            let manifest = &self.session.dataset.manifest;
            let mut drawn = few_shot(manifest, &self.split, shots, seed)?.train;
            drawn.retain(|clip| known.contains(&self.session.dataset.class(*clip)));
            let named = self.swapped(&trial(&known, seed, drawn, Vec::new()))?;
            both += usize::from(named == 2);
            one += usize::from(named >= 1);
            if self.session.interrupt.asked() {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Done(Planted {
            classes,
            shots,
            both,
            one,
        }))
    }
}

fn trial(classes: &[usize], seed: u64, train: Vec<usize>, test: Vec<usize>) -> Trial {
    Trial {
        name: format!("seed-{seed}"),
        seed,
        classes: classes.to_vec(),
        train,
        strangers: Vec::new(),
        tests: vec![Test {
            name: "test".into(),
            classes: classes.to_vec(),
            clips: test,
        }],
    }
}

/// All choices of `count` of `from` classes.
fn choices(from: usize, count: usize) -> Vec<Vec<usize>> {
    (0..1usize << from)
        .filter(|set| set.count_ones() as usize == count)
        .map(|set| (0..from).filter(|class| set >> class & 1 == 1).collect())
        .collect()
}

impl FewClips<'_> {
    fn training<'b>(&'b self, trial: &'b Trial) -> Training<'b> {
        Training {
            session: self.session,
            trial,
            clips: &self.clips,
            inputs: "",
        }
    }

    /// The test clips of a trial: features, and the class of each; that of strangers is K.
    fn tested(&self, trial: &Trial) -> Result<(Tensor, Vec<usize>)> {
        let clips = trial
            .tests
            .first()
            .map_or(&[][..], |test| test.clips.as_slice());
        let class = |clip: &usize| {
            let class = self.session.dataset.class(*clip);
            let place = trial.classes.iter().position(|other| *other == class);
            place.unwrap_or(trial.classes.len())
        };
        Ok((
            self.session
                .read_by(&self.clips.centre_of(clips)?, self.model.tokens())?,
            clips.iter().map(class).collect(),
        ))
    }

    /// The logits on test clips of the start that is solved over all clips.
    fn final_logits(
        &self,
        training: &Training<'_>,
        few: &Few,
        test: &Tensor,
    ) -> Result<Vec<Vec<f64>>> {
        let model = self.session.first_model(&self.model, training.trial.seed)?;
        let all: Vec<usize> = (0..few.classes.len()).collect();
        training.solve(few, model.as_ref(), &all)?;
        training.logits(model.as_ref(), test)
    }

    fn draw(&self, trial: &Trial) -> Result<Option<Draw>> {
        let training = self.training(trial);
        let few = training.few(self.model.tokens())?;
        let scratch = self.session.config.data.cache.join("folds");
        let Ended::Done(Some(judged)) =
            training.cross_validate(&few, &self.model, &scratch, &|_, _| ())?
        else {
            return Ok(None);
        };
        let (features, classes) = self.tested(trial)?;
        let held = HeldOut {
            logits: self.final_logits(&training, &few, &features)?,
            classes,
        };
        let error = |temperature| {
            expected_error(&reliability(
                &held.probabilities(temperature),
                &held.classes,
            ))
        };
        let estimate = &judged.cross_validation;
        let belonging = judged.calibration.belonging(&features)?;
        let refused = belonging.iter().filter(|seen| !seen.known).count();
        let (before, after) = estimate.calibration_error();
        Ok(Some(Draw {
            estimate: judged.outcome.accuracy.top1,
            interval: estimate.interval,
            truth: share(
                held.logits
                    .iter()
                    .zip(&held.classes)
                    .map(|(row, class)| best(row) == *class),
            ),
            folds: [before, after.unwrap_or(f64::NAN)],
            test: [error(1.0), error(estimate.temperature)],
            refused: [
                estimate.refused as f64 / estimate.clips.max(1) as f64,
                refused as f64 / belonging.len().max(1) as f64,
            ],
        }))
    }

    /// Adds one choice of known classes.
    fn one_choice(&self, trial: &Trial, scores: &mut [Belonging]) -> Result<()> {
        let training = self.training(trial);
        let few = training.few(self.model.tokens())?;
        let Some(folds) = few.folds(trial.seed) else {
            return Ok(());
        };
        let scratch = self.session.config.data.cache.join("folds");
        let Ended::Done((seen, _)) =
            training.every_fold(&few, &self.model, &folds, &scratch, &|_, _| ())?
        else {
            return Ok(());
        };
        let temperature = seen.start.temperature();
        let mut held: Vec<Vec<f64>> = vec![Vec::new(); SCORES.len()];
        let mut start = 0;
        for (fold, clips) in folds.held().iter().enumerate() {
            let logits = seen
                .start
                .logits
                .get(start..start + clips.len())
                .unwrap_or_default();
            start += clips.len();
            let known = few.part(&folds.without(&[fold], few.classes.len()))?;
            let found = belonging(logits, temperature, &few.part(clips)?.0, &known)?;
            for (all, more) in held.iter_mut().zip(found) {
                all.extend(more);
            }
        }
        let (features, classes) = self.tested(trial)?;
        let logits = self.final_logits(&training, &few, &features)?;
        let all: Vec<usize> = (0..few.classes.len()).collect();
        let tested = belonging(&logits, temperature, &features, &few.part(&all)?)?;
        let rate = self.session.config.protocol.wrongly_refused;
        for ((held, tested), score) in held.iter().zip(tested).zip(scores) {
            let threshold = threshold(held, &[], rate);
            let of = |stranger: bool| -> Vec<f64> {
                let clips = tested.iter().zip(&classes);
                let own = clips.filter(|(_, class)| (**class == trial.classes.len()) == stranger);
                own.map(|(score, _)| *score).collect()
            };
            let (known, strangers) = (of(false), of(true));
            let refused = |scores: &[f64]| share(scores.iter().map(|score| *score < threshold));
            score.area.push(area(&known, &strangers));
            score.refused.push(refused(&known));
            score.strangers.push(refused(&strangers));
        }
        Ok(())
    }

    /// Swaps the classes of two clips; how many of them are among the first clips named.
    fn swapped(&self, trial: &Trial) -> Result<usize> {
        let training = self.training(trial);
        let mut few = training.few(self.model.tokens())?;
        let mut stream = Stream::new(trial.seed, &["planted mistakes"]);
        let count = few.classes.len();
        let one = stream.below(count);
        let class = few.classes.get(one).copied();
        let others: Vec<usize> = (0..count)
            .filter(|clip| few.classes.get(*clip).copied() != class)
            .collect();
        let other = others.get(stream.below(others.len())).copied().unwrap_or(0);
        few.classes.swap(one, other);
        let scratch = self.session.config.data.cache.join("folds");
        let Ended::Done(Some(judged)) =
            training.cross_validate(&few, &self.model, &scratch, &|_, _| ())?
        else {
            return Ok(0);
        };
        let named = judged.cross_validation.suspects.iter().take(LOOKED_AT);
        let swapped = [one, other].map(|clip| few.ids.get(clip));
        Ok(named
            .filter(|suspect| swapped.contains(&Some(&suspect.id)))
            .count())
    }
}

/// Each score of belonging of clips with these `logits` and `features`, where the clips of `known`
/// have been trained on.
fn belonging(
    logits: &[Vec<f64>],
    temperature: f64,
    features: &Tensor,
    known: &(Tensor, Vec<i64>),
) -> Result<[Vec<f64>; SCORES.len()]> {
    let (trained, classes) = known;
    let each: Vec<i64> = (0..classes.len() as i64).collect();
    let rows = |of: fn(&[f64], f64) -> f64| logits.iter().map(|row| of(row, temperature)).collect();
    Ok([
        ClassMeans::fit(trained, classes)?.scores(features)?,
        // Every clip is a class of its own.
        ClassMeans::fit(trained, &each)?.scores(features)?,
        rows(|row, temperature| {
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = row
                .iter()
                .map(|x| ((x - largest) / temperature).exp())
                .sum();
            largest + temperature * sum.ln()
        }),
        rows(|row, temperature| {
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            1.0 / row
                .iter()
                .map(|x| ((x - largest) / temperature).exp())
                .sum::<f64>()
        }),
        rows(|row, _| {
            let mut row = row.to_vec();
            row.sort_by(|a, b| b.total_cmp(a));
            row.first().zip(row.get(1)).map_or(0.0, |(a, b)| a - b)
        }),
    ])
}

fn best(row: &[f64]) -> usize {
    let ranked = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    ranked.map_or(0, |(class, _)| class)
}

fn share(of: impl ExactSizeIterator<Item = bool>) -> f64 {
    let count = of.len().max(1);
    of.filter(|is| *is).count() as f64 / count as f64
}

fn area(known: &[f64], strangers: &[f64]) -> f64 {
    let wins = known.iter().flat_map(|score| {
        strangers
            .iter()
            .map(move |other| match score.total_cmp(other) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            })
    });
    wins.sum::<f64>() / (known.len() * strangers.len()).max(1) as f64
}

impl fmt::Display for Draws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shots, draws } = self;
        let mean = |of: fn(&Draw) -> f64| mean(draws.iter().map(of));
        let inside = |draw: &&Draw| (draw.interval[0]..=draw.interval[1]).contains(&draw.truth);
        let held = draws.iter().filter(inside).count();
        let (low, high) = wilson(held, draws.len());
        writeln!(f, "k = {shots}, {} draws", draws.len())?;
        writeln!(
            f,
            "  accuracy %: folds {}, test recordings {}, difference {}",
            mean(|draw| draw.estimate),
            mean(|draw| draw.truth),
            mean(|draw| draw.estimate - draw.truth)
        )?;
        writeln!(
            f,
            "  the 95 % interval (width {}) holds the test accuracy in {held} of {} draws: {:.1} to \
             {:.1} %",
            mean(|draw| draw.interval[1] - draw.interval[0]),
            draws.len(),
            100.0 * low,
            100.0 * high
        )?;
        writeln!(
            f,
            "  calibration error %: nested folds {} -> {}, test recordings {} -> {}",
            mean(|draw| draw.folds[0]),
            mean(|draw| draw.folds[1]),
            mean(|draw| draw.test[0]),
            mean(|draw| draw.test[1])
        )?;
        writeln!(
            f,
            "  wrongly refused %: nested folds {}, test recordings {}",
            mean(|draw| draw.refused[0]),
            mean(|draw| draw.refused[1])
        )
    }
}

impl fmt::Display for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "strangers, {} recordings, {KNOWN_SHOTS} clips of each known class",
            self.recordings
        )?;
        let [area, refused, strangers] = ["AUROC", "wrongly refused %", "strangers refused %"];
        writeln!(
            f,
            "  {:<18} {area:>7} {refused:>19} {strangers:>19}",
            "score"
        )?;
        for (name, score) in SCORES.iter().zip(&self.scores) {
            let area = score.area.iter().sum::<f64>() / score.area.len().max(1) as f64;
            let [refused, strangers] =
                [&score.refused, &score.strangers].map(|all| mean(all.iter().copied()));
            writeln!(f, "  {name:<18} {area:>7.3} {refused:>19} {strangers:>19}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "two clips with swapped classes, {PLANTED} draws of {} clips of {} classes: both among the first \
             {LOOKED_AT} named {} times, at least one {} times",
            self.shots, self.classes, self.both, self.one
        )
    }
}

/// Mean and standard deviation in per cent.
fn mean(shares: impl Iterator<Item = f64>) -> String {
    let percents: Vec<f64> = shares.map(|share| 100.0 * share).collect();
    Spread::new(&percents).map_or("-".into(), |spread| {
        format!("{:.1} ±{:.1}", spread.mean, spread.deviation)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_of_eight_classes_can_be_chosen_in_56_ways() {
        let all = choices(8, 5);
        assert_eq!(all.len(), 56);
        assert!(all.iter().all(|known| known.len() == 5));
    }

    #[test]
    fn the_area_counts_pairs() {
        assert_eq!(area(&[2.0, 3.0], &[1.0, 2.0]), 0.875);
        assert_eq!(area(&[1.0], &[2.0]), 0.0);
    }
}
