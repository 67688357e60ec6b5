//! A data-dependent initialisation for few-shot training: the maps of the outer residual, solved
//! instead of zero.
//!
//! V = mean(I) + Σ W_b s_b is linear in the maps W_b of the block's statistics s_b (of mean(S), of further
//! features such as the moving patches', of the frames over time), so logistic regression on the statistics gives them:
//! its class scores, carried into the span of the class texts, are added to V by the residual. How strong the penalty is and
//! how much each statistic counts is not chosen but averaged: each candidate counts by the likelihood of
//! the clips while they are held out (Bayesian model averaging with stacked folds), at the
//! temperature that suits it best; an average of linear maps is one linear map. The share of the texts is
//! averaged in the same way; none is one of the candidates. No class has parameters of its own, so new
//! labels can be scored as before.
//!
//! The paper has no such step. That a linear classifier on frozen features, combined with
//! the zero-shot scores, is hard to beat with few clips is the finding of LP++ (Huang et al., CVPR
//! 2024).

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::kernel_logistic::{KernelLogistic, Solution, add, product};
use crate::scores::unit;
use crate::{Error, LogisticRegression, Result};

/// λ, for rows whose squared length is about the sum of the squared weights below, on average.
const PENALTIES: [f64; 5] = [1.0, 0.3, 0.1, 0.03, 0.005];
/// Weights of the first two cosine coefficients over time, relative to 1 for mean(S).
const ORDERS: [[f64; 2]; 3] = [[0.0, 0.0], [0.25, 0.18], [0.5, 0.35]];
/// Weights of the deviation over time.
const SPREADS: [f64; 2] = [0.0, 0.25];
/// Weights of the further features.
const FURTHER: [f64; 3] = [0.0, 0.75, 1.5];
/// Factors of a candidate's scores in the comparison; the best counts.
const TEMPERATURES: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];
/// Candidate lengths of the residual, as multiples of the length of mean(I): from frozen CLIP
/// to almost no CLIP. Longer ones would bury what training adds.
const LENGTHS: [f64; 10] = [0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];
/// The prior of the last, relative to that of each of the others: texts have to show what they know.
const WITHOUT_TEXTS: f64 = 18.0;
/// Factors of 1 / τ in the comparison of lengths, powers of two from this one.
const SUREST: [i32; 2] = [-7, 3];
/// Held-out clips that tell whether all is guessing.
const TELLING: usize = 64;
/// Weight of a candidate below which it is left out of the average.
const FAINT: f64 = 1e-6;
/// Ridge of the texts' inverse, relative to their mean square.
const RIDGE: f64 = 1e-3;
/// Deviation below which a feature counts as constant.
const STILL: f64 = 1e-9;
/// The largest cross-entropy of a clip.
const MOST: f64 = 27.6;
/// Numbers in the scores' products, N² K, above which a coarser grid is used.
const LARGE: usize = 50_000_000;

/// The statistics, in the order of a candidate's weights.
const STATISTICS: usize = 5;

/// The choice of the cross-validation: means over the candidates by their likelihood.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WarmStart {
    /// Mean length of the residual over that of mean(I), for clips that it was not solved over; 0: the
    /// model starts as frozen CLIP.
    pub residual_length: f64,
    /// λ, the geometric mean.
    pub penalty: f64,
    /// Weight of the further features, such as those of the moving patches, relative to 1 for mean(S).
    #[serde(alias = "moving")]
    pub further: f64,
    /// Weight of the first cosine coefficient over time.
    pub drift: f64,
    /// Weight of the second.
    pub bend: f64,
    /// Weight of the deviation over time.
    pub spread: f64,
    /// Factor of 1 / τ that suits the held-out clips.
    pub sureness: f64,
    /// Mean cross-entropy of held-out clips with this start, and with no residual, each at
    /// its best temperature.
    pub held_out_loss: [f64; 2],
    /// Candidates in the average, and how many there would have been of fewer clips and classes.
    #[serde(default)]
    pub candidates: [usize; 2],
}

/// A solved residual: added to V, linear in the block's statistics.
#[derive(Debug)]
pub(crate) struct Residual {
    /// W_s, `[D, D]`.
    pub spatial: Tensor,
    /// Its bias, `[D]`.
    pub bias: Tensor,
    /// That of the further features, `[D, E D]`.
    pub further: Option<Tensor>,
    /// Those of the statistics over time side by side, `[D, 3 D]`.
    pub time: Option<Tensor>,
}

/// The clips' features before training.
pub(crate) struct States<'a> {
    /// mean(I), `[N V, D]`.
    pub video: Tensor,
    /// mean(S), `[N V, D]`.
    pub spatial: Tensor,
    /// The means of the further features, `[N V, E D]`, if there are any.
    pub further: Option<Tensor>,
    /// The statistics over time, `[N V, 3, D]`, if there is a motion stream.
    pub time: Option<Tensor>,
    /// The class of each view, N V.
    pub classes: &'a [i64],
    /// V, views per clip.
    pub views: usize,
    /// The class texts, `[K, D]`.
    pub text: Tensor,
    /// 1 / τ.
    pub scale: f64,
}

impl States<'_> {
    /// The residual by the views of each fold, which are held out once.
    pub(crate) fn solve(&self, folds: &[Vec<i64>]) -> Result<(WarmStart, Residual)> {
        let statistics = self.statistics()?;
        let average = statistics.average(folds)?;
        let share = self.share(&average.held_out, folds)?;
        let residual = self.residual(&average, share.factor)?;
        let WeightedMeans { penalty, weights } = average.means;
        let choice = WarmStart {
            residual_length: share.length,
            penalty,
            further: weights[1],
            drift: weights[2],
            bend: weights[3],
            spread: weights[4],
            sureness: share.sureness,
            held_out_loss: share.losses,
            candidates: [statistics.is_coarse(), false].map(|coarse| statistics.grid(coarse).len()),
        };
        Ok((choice, residual))
    }

    /// K
    fn count(&self) -> usize {
        usize::try_from(self.text.size().first().copied().unwrap_or(0)).unwrap_or(0)
    }

    fn statistics(&self) -> Result<Statistics<'_>> {
        let time = |at: i64| self.time.as_ref().map(|time| time.f_select(1, at));
        let rows = [
            Some(self.spatial.shallow_clone()),
            self.further.as_ref().map(Tensor::shallow_clone),
            time(0).transpose()?,
            time(1).transpose()?,
            time(2).transpose()?,
        ];
        Statistics::new(rows, self.classes, self.count(), self.views)
    }

    /// The share of the residual by the scores of held-out views, `[N V, K]`.
    fn share(&self, held_out: &Tensor, folds: &[Vec<i64>]) -> Result<Share> {
        let text = unit(&on_cpu(&self.text));
        let held = Tensor::from_slice(&sorted(folds)); // (H V)
        let video = on_cpu(&self.video).f_index_select(0, &held)?;
        let shift = held_out
            .f_index_select(0, &held)?
            .f_matmul(&carry(&text)?.tr())?; // (H V, D)
        let [own, long] = [&video, &shift].map(mean_length);
        let at = Tensor::from_slice(self.classes).f_index_select(0, &held)?;
        // The best loss of each clip with this factor of the shift: losses, factor of 1 / τ.
        let judge = |factor: f64| -> Result<(Tensor, f64)> {
            let moved = &video + &shift * factor;
            let cosines = unit(&moved).f_matmul(&text.tr())? * self.scale;
            let multipliers = (SUREST[0]..=SUREST[1]).map(|power| f64::from(power).exp2());
            best_temperature(&cosines, &at, self.views, multipliers)
        };
        let factors = LENGTHS.map(|length| if long > 0.0 { length * own / long } else { 0.0 });
        let judged = factors
            .iter()
            .map(|factor| judge(*factor))
            .collect::<Result<Vec<_>>>()?;
        let mut weights = by_likelihood(judged.iter().map(|(losses, _)| losses));
        if let Some(last) = weights.last_mut() {
            *last *= WITHOUT_TEXTS;
        }
        // Scores are a sum of m t and f Z; so is their average.
        let (mut of_video, mut of_shift) = (0.0, 0.0);
        for ((weight, (_, sure)), factor) in weights.iter().zip(&judged).zip(factors) {
            let moved = &video + &shift * factor;
            let scale = weight * sure / mean_length(&moved).max(f64::MIN_POSITIVE);
            of_video += scale;
            of_shift += scale * factor;
        }
        let (mut factor, guess) = (of_shift / of_video, (text.size2()?.0 as f64).ln());
        let (mut losses, mut sureness) = judge(factor)?;
        // Where all is guessing, the model starts as frozen CLIP; fewer clips cannot tell.
        if losses.numel() >= TELLING && standard_errors(&(guess - &losses)) <= 1.0 {
            factor = 0.0;
            (losses, sureness) = judge(factor)?;
        }
        Ok(Share {
            factor,
            length: factor * long / own.max(f64::MIN_POSITIVE),
            sureness,
            losses: [mean(&losses), mean(&judged[0].0)],
        })
    }

    /// The maps of the averaged scores, in the span of the texts, `factor` times.
    fn residual(&self, average: &Average, factor: f64) -> Result<Residual> {
        let text = unit(&on_cpu(&self.text));
        let carry = carry(&text)? * factor; // (D, K)
        let map = |weights: &Tensor| carry.matmul(&weights.tr()).to_kind(Kind::Float);
        let [spatial, further, drift, bend, spread] = &average.maps;
        let time = [drift, bend, spread].map(|part| part.as_ref().map(map));
        let Some(spatial) = spatial else {
            return Err(Error::Shape {
                op: "warm start",
                expected: "mean(S)".into(),
                got: Vec::new(),
            });
        };
        Ok(Residual {
            spatial: map(spatial),
            bias: carry.mv(&average.bias).to_kind(Kind::Float),
            further: further.as_ref().map(map),
            time: match time {
                [Some(a), Some(b), Some(c)] => Some(Tensor::f_cat(&[a, b, c], 1)?),
                _ => None,
            },
        })
    }
}

/// The share of the residual in V.
struct Share {
    /// Of the carried scores.
    factor: f64,
    length: f64,
    sureness: f64,
    losses: [f64; 2],
}

/// The statistics of the clips, in double precision.
pub(crate) struct Statistics<'a> {
    /// `[N V, D]` each, or `[N V, E D]`.
    rows: [Option<Tensor>; STATISTICS],
    classes: &'a [i64],
    /// K
    count: usize,
    /// V
    views: usize,
}

/// The average of all candidates.
#[derive(Debug)]
pub(crate) struct Average {
    /// For each statistic `[D, K]`, for its values as they are.
    pub(crate) maps: [Option<Tensor>; STATISTICS],
    /// `[K]`
    pub(crate) bias: Tensor,
    /// The scores of each clip while it was held out, `[N, K]`.
    pub(crate) held_out: Tensor,
    /// The share of each candidate.
    #[cfg(test)]
    shares: Vec<f64>,
    means: WeightedMeans,
}

/// Means over the candidates.
#[derive(Debug)]
struct WeightedMeans {
    penalty: f64,
    weights: [f64; STATISTICS],
}

/// The hyper-parameters of a regression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) penalty: f64,
    pub(crate) weights: [f64; STATISTICS],
}

impl<'a> Statistics<'a> {
    pub(crate) fn new(
        rows: [Option<Tensor>; STATISTICS],
        classes: &'a [i64],
        count: usize,
        views: usize,
    ) -> Result<Self> {
        Ok(Self {
            rows: rows.map(|rows| rows.as_ref().map(on_cpu)),
            classes,
            count,
            views,
        })
    }

    /// The average over the grid by the clips of each fold, which is held out once.
    pub(crate) fn average(&self, folds: &[Vec<i64>]) -> Result<Average> {
        let grid = self.grid(self.is_coarse());
        let started = Instant::now();
        let losses_and_scores = self.held_out(&grid, folds)?;
        let of_folds = started.elapsed();
        let at = Tensor::from_slice(self.classes);
        let judged = losses_and_scores
            .iter()
            .map(|scores| best_temperature(scores, &at, self.views, TEMPERATURES.into_iter()))
            .collect::<Result<Vec<_>>>()?;
        let shares = by_likelihood(judged.iter().map(|(losses, _)| losses));
        let counted: Vec<(&[Candidate], Vec<f64>)> = {
            // Each path of penalties with the factors of its candidates.
            let factors: Vec<f64> = shares
                .iter()
                .zip(&judged)
                .map(|(share, (_, temperature))| match *share < FAINT {
                    true => 0.0,
                    false => share * temperature,
                })
                .collect();
            let paths = grid
                .chunks(PENALTIES.len())
                .zip(factors.chunks(PENALTIES.len()));
            paths
                .map(|(path, factors)| (path, factors.to_vec()))
                .collect()
        };
        let mut held_out = losses_and_scores[0].zeros_like();
        for (scores, factor) in losses_and_scores
            .iter()
            .zip(counted.iter().flat_map(|(_, factors)| factors))
        {
            held_out += scores * *factor;
        }
        let started = Instant::now();
        let (maps, bias) = self.whole(&counted)?;
        tracing::debug!(
            folds_seconds = of_folds.as_secs_f64(),
            whole_seconds = started.elapsed().as_secs_f64(),
            "solved start"
        );
        let total: f64 = shares.iter().sum();
        let mean_of = |of: &dyn Fn(&Candidate) -> f64| {
            let sum: f64 = grid
                .iter()
                .zip(&shares)
                .map(|(one, share)| of(one) * share)
                .sum();
            sum / total
        };
        let means = WeightedMeans {
            penalty: mean_of(&|one| one.penalty.ln()).exp(),
            weights: std::array::from_fn(|at| mean_of(&|one| one.weights[at])),
        };
        Ok(Average {
            maps,
            bias,
            held_out,
            means,
            #[cfg(test)]
            shares,
        })
    }

    /// The scores of the best candidate alone by the clips of each fold: its map of mean(S), `[D, K]`,
    /// and its bias, `[K]`.
    fn best(&self, folds: &[Vec<i64>]) -> Result<(Option<Tensor>, Tensor)> {
        let grid = self.grid(self.is_coarse());
        let at = Tensor::from_slice(self.classes);
        let mut best: Option<(f64, usize)> = None;
        for (candidate, scores) in self.held_out(&grid, folds)?.iter().enumerate() {
            let reached =
                mean(&best_temperature(scores, &at, self.views, TEMPERATURES.into_iter())?.0);
            if best.is_none_or(|(least, _)| reached < least) {
                best = Some((reached, candidate));
            }
        }
        let chosen = best.map_or(0, |(_, candidate)| candidate);
        let paths = grid.chunks(PENALTIES.len()).enumerate();
        let counted: Vec<(&[Candidate], Vec<f64>)> = paths
            .map(|(path, candidates)| {
                let own = (0..PENALTIES.len()).map(|step| path * PENALTIES.len() + step);
                let factors = own.map(|candidate| f64::from(u8::from(candidate == chosen)));
                (candidates, factors.collect())
            })
            .collect();
        let ([spatial, ..], bias) = self.whole(&counted)?;
        Ok((spatial, bias))
    }

    /// Whether there are too many clips and classes for all candidates.
    fn is_coarse(&self) -> bool {
        let clips = self.classes.len();
        clips * clips * self.count > LARGE
    }

    /// The candidates, the penalties of the same weights side by side, largest first.
    fn grid(&self, coarse: bool) -> Vec<Candidate> {
        let has = |at: usize| self.rows[at].is_some();
        let some = |at: usize, all: &[f64]| -> Vec<f64> {
            match (has(at), coarse) {
                (false, _) => vec![0.0],
                (true, false) => all.to_vec(),
                (true, true) => all.last().copied().into_iter().collect(),
            }
        };
        let orders: &[[f64; 2]] = match (has(2), coarse) {
            (false, _) => &ORDERS[..1],
            (true, false) => &ORDERS,
            (true, true) => &[ORDERS[0], ORDERS[2]],
        };
        let mut grid = Vec::new();
        for further in some(1, &FURTHER) {
            for [drift, bend] in orders {
                for spread in some(4, &SPREADS) {
                    let weights = [1.0, further, *drift, *bend, spread];
                    grid.extend(PENALTIES.map(|penalty| Candidate { penalty, weights }));
                }
            }
        }
        grid
    }

    /// For each candidate the scores of each clip while it is held out, `[N, K]`.
    fn held_out(&self, grid: &[Candidate], folds: &[Vec<i64>]) -> Result<Vec<Tensor>> {
        let clips = self.classes.len() as i64;
        let mut tasks = Vec::new();
        for held in folds {
            let known: Vec<i64> = (0..clips).filter(|clip| !held.contains(clip)).collect();
            let standard = self.standardised(&known)?;
            let (held, known_at) = (self.at(held), self.at(&known));
            let problem = self.problem(&known)?;
            let products = standard.each_ref().map(|rows| -> Result<_> {
                let Some(rows) = rows else { return Ok(None) };
                let part = |at: &Tensor| rows.values.f_index_select(0, at);
                let (known, held) = (part(&known_at)?, part(&held)?);
                let products = |rows: &Tensor| numbers(&rows.matmul(&known.tr()));
                Ok(Some([products(&known)?, products(&held)?]))
            });
            let products = Arc::new(all(products)?);
            tasks.extend(grid.chunks(PENALTIES.len()).map(|path| Task {
                path: path.to_vec(),
                products: products.clone(),
                problem: problem.clone(),
            }));
        }
        let solved = parallel::each(tch::Device::Cpu, tasks, Task::scores);
        let paths = grid.len() / PENALTIES.len();
        let width = self.count;
        let mut scores = vec![vec![0.0; self.classes.len() * width]; grid.len()];
        for (task, of_path) in solved.into_iter().enumerate() {
            let (fold, path) = (task / paths, task % paths);
            for (step, rows) in of_path.iter().enumerate() {
                let Some(scores) = scores.get_mut(path * PENALTIES.len() + step) else {
                    continue;
                };
                for (clip, row) in folds[fold].iter().zip(rows.chunks_exact(width)) {
                    let start = *clip as usize * width;
                    scores[start..start + width].copy_from_slice(row);
                }
            }
        }
        let shape = [clips, width as i64];
        let tensor = |scores: &Vec<f64>| Ok(Tensor::from_slice(scores).f_view(shape)?);
        scores.iter().map(tensor).collect()
    }

    /// The maps over all clips, each path's candidates summed with the factors beside it, and the
    /// bias.
    fn whole(
        &self,
        counted: &[(&[Candidate], Vec<f64>)],
    ) -> Result<([Option<Tensor>; STATISTICS], Tensor)> {
        let clips: Vec<i64> = (0..self.classes.len() as i64).collect();
        let standard = self.standardised(&clips)?;
        let products = standard.each_ref().map(|rows| -> Result<_> {
            let Some(rows) = rows else { return Ok(None) };
            let own = numbers(&rows.values.matmul(&rows.values.tr()))?;
            Ok(Some([own, Vec::new()]))
        });
        let products = Arc::new(all(products)?);
        let problem = self.problem(&clips)?;
        let needed = |factors: &Vec<f64>| factors.iter().any(|factor| *factor > 0.0);
        let (mut tasks, mut used) = (Vec::new(), Vec::new());
        for (path, factors) in counted.iter().filter(|(_, factors)| needed(factors)) {
            used.push((path[0].weights, factors));
            tasks.push(Task {
                path: path.to_vec(),
                products: products.clone(),
                problem: problem.clone(),
            });
        }
        let solved = parallel::each(tch::Device::Cpu, tasks, Task::solutions);
        let size = self.classes.len() * self.count;
        let mut rows: [Vec<f64>; STATISTICS] = std::array::from_fn(|_| vec![0.0; size]);
        let mut bias = vec![0.0; self.count];
        for ((weights, factors), path) in used.into_iter().zip(solved) {
            for (factor, own) in factors.iter().zip(path) {
                add(&mut bias, &own.bias, *factor);
                for (rows, weight) in rows.iter_mut().zip(weights) {
                    add(rows, &own.rows, weight * factor);
                }
            }
        }
        let mut bias = Tensor::from_slice(&bias);
        let mut maps = [const { None }; STATISTICS];
        for (at, map) in maps.iter_mut().enumerate() {
            if let Some(standard) = &standard[at] {
                let rows = Tensor::from_slice(&rows[at]).f_view([-1, self.count as i64])?;
                let weights = standard.values.tr().matmul(&rows) * standard.scale.tr(); // (D, K)
                bias -= standard.mean.matmul(&weights).squeeze_dim(0);
                *map = Some(weights);
            }
        }
        Ok((maps, bias))
    }

    fn at(&self, clips: &[i64]) -> Tensor {
        Tensor::from_slice(clips)
    }

    /// Every statistic, standardised over the clips `known` to a mean squared length of 1.
    fn standardised(&self, known: &[i64]) -> Result<[Option<Standard>; STATISTICS]> {
        let at = self.at(known);
        let one = |rows: &Tensor| -> Result<Standard> {
            let known = rows.f_index_select(0, &at)?;
            let mean = known.mean_dim(0, true, Kind::Double);
            let deviation = known.std_dim(0, false, true);
            let deviation = deviation.where_self(&deviation.ge(STILL), &deviation.ones_like());
            let scale = deviation.reciprocal() / (rows.size2()?.1 as f64).sqrt();
            Ok(Standard {
                values: (rows - &mean) * &scale,
                mean,
                scale,
            })
        };
        let mut standard = [const { None }; STATISTICS];
        for (standard, rows) in standard.iter_mut().zip(&self.rows) {
            *standard = rows.as_ref().map(one).transpose()?;
        }
        Ok(standard)
    }

    /// The clips' classes and weights: all classes count the same.
    fn problem(&self, clips: &[i64]) -> Result<Problem> {
        let own = clips.iter().filter_map(|clip| {
            let class = self.classes.get(usize::try_from(*clip).ok()?)?;
            usize::try_from(*class)
                .ok()
                .filter(|class| *class < self.count)
        });
        let classes: Vec<usize> = own.collect();
        if classes.len() != clips.len() {
            return Err(Error::Shape {
                op: "warm start",
                expected: format!("a class below {} of each clip", self.count),
                got: vec![clips.len() as i64],
            });
        }
        let mut of_class = vec![0.0f64; self.count];
        classes.iter().for_each(|class| of_class[*class] += 1.0);
        let weights: Vec<f64> = classes.iter().map(|class| 1.0 / of_class[*class]).collect();
        let one = weights.iter().sum::<f64>() * self.views as f64 / weights.len() as f64;
        Ok(Problem {
            classes: classes.into(),
            weights: weights.into_iter().map(|weight| weight / one).collect(),
            count: self.count,
        })
    }
}

/// A regression on rows `[N, D]` with the penalty that suits the clips of the folds best.
pub(crate) fn best_by_folds(
    rows: &Tensor,
    classes: &[i64],
    count: usize,
    views: usize,
    folds: &[Vec<i64>],
) -> Result<LogisticRegression> {
    let rows = [Some(rows.shallow_clone()), None, None, None, None];
    let (weights, bias) = Statistics::new(rows, classes, count, views)?.best(folds)?;
    let weights = weights.ok_or_else(|| Error::Shape {
        op: "logistic regression",
        expected: "rows".into(),
        got: Vec::new(),
    })?;
    Ok(LogisticRegression { weights, bias })
}

/// A standardised statistic of all clips.
struct Standard {
    /// `[N, D]`
    values: Tensor,
    /// `[1, D]`
    mean: Tensor,
    /// `[1, D]`
    scale: Tensor,
}

/// For each statistic the products of the known clips, `[N, N]`, and those of the held-out clips with
/// them, `[M, N]`.
type Products = [Option<[Vec<f64>; 2]>; STATISTICS];

fn all(products: [Result<Option<[Vec<f64>; 2]>>; STATISTICS]) -> Result<Products> {
    let mut all = [const { None }; STATISTICS];
    for (all, one) in all.iter_mut().zip(products) {
        *all = one?;
    }
    Ok(all)
}

/// The known clips of a regression.
#[derive(Debug, Clone)]
struct Problem {
    classes: Arc<[usize]>,
    weights: Arc<[f64]>,
    count: usize,
}

impl Problem {
    fn of<'a>(&'a self, products: &'a [f64]) -> KernelLogistic<'a> {
        KernelLogistic {
            products,
            classes: &self.classes,
            count: self.count,
            weights: &self.weights,
        }
    }
}

/// A path of penalties over the same rows.
struct Task {
    path: Vec<Candidate>,
    products: Arc<Products>,
    problem: Problem,
}

impl Task {
    /// The sum of one kind of each statistic's products, by the squares of the path's weights.
    fn sum(&self, kind: usize) -> Vec<f64> {
        let weights = self
            .path
            .first()
            .map_or([0.0; STATISTICS], |one| one.weights);
        let mut sum: Vec<f64> = Vec::new();
        for (products, weight) in self.products.iter().zip(weights) {
            let Some(products) = products.as_ref().filter(|_| weight > 0.0) else {
                continue;
            };
            sum.resize(products[kind].len(), 0.0);
            add(&mut sum, &products[kind], weight * weight);
        }
        sum
    }

    /// The solution of each candidate.
    fn solutions(self) -> Vec<Solution> {
        let products = self.sum(0);
        let problem = self.problem.of(&products);
        let mut at = problem.zero();
        let path = self.path.iter().map(|one| {
            let start = std::mem::replace(&mut at, problem.zero());
            at = problem.fit(one.penalty, start);
            at.clone()
        });
        path.collect()
    }

    /// The scores of the held-out clips by each candidate, `[M, K]`.
    fn scores(self) -> Vec<Vec<f64>> {
        let (other, known, count) = (self.sum(1), self.problem.classes.len(), self.problem.count);
        let scores = self.solutions().into_iter().map(|solved| {
            let mut scores = product(&other, &solved.rows, known, count);
            for row in scores.chunks_exact_mut(count) {
                add(row, &solved.bias, 1.0);
            }
            scores
        });
        scores.collect()
    }
}

/// In double precision, where the loops are.
fn on_cpu(x: &Tensor) -> Tensor {
    x.to_device(tch::Device::Cpu).to_kind(Kind::Double)
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::try_from(x.contiguous().view(-1))?)
}

/// The positions that any of the folds holds out, in order.
fn sorted(folds: &[Vec<i64>]) -> Vec<i64> {
    let mut all = folds.concat();
    all.sort_unstable();
    all
}

/// The mean cross-entropy of each clip's views at the factor of `logits`, `[N V, K]`, with the smallest
/// mean: `[N]`, and that factor.
fn best_temperature(
    logits: &Tensor,
    classes: &Tensor,
    views: usize,
    factors: impl Iterator<Item = f64>,
) -> Result<(Tensor, f64)> {
    let mut best: Option<(Tensor, f64, f64)> = None;
    let own = classes.f_unsqueeze(1)?;
    for factor in factors {
        let log = (logits * factor).log_softmax(-1, Kind::Double);
        let losses = -log
            .f_gather(1, &own, false)?
            .clamp_max(MOST)
            .f_view([-1, views as i64])?
            .mean_dim(1, false, Kind::Double);
        let reached = mean(&losses);
        if best.as_ref().is_none_or(|(.., least)| reached < *least) {
            best = Some((losses, factor, reached));
        }
    }
    best.map(|(losses, factor, _)| (losses, factor))
        .ok_or_else(|| Error::Shape {
            op: "warm start",
            expected: "at least one temperature".into(),
            got: logits.size(),
        })
}

/// The share of each candidate: proportional to its likelihood of all held-out clips.
fn by_likelihood<'a>(losses: impl Iterator<Item = &'a Tensor>) -> Vec<f64> {
    let sums: Vec<f64> = losses
        .map(|losses| losses.sum(Kind::Double).double_value(&[]))
        .collect();
    let least = sums.iter().copied().fold(f64::INFINITY, f64::min);
    let shares: Vec<f64> = sums.iter().map(|sum| (least - sum).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / total).collect()
}

/// The map from class scores to the shortest vector whose products with the texts differ as the
/// scores do: `[K, D]` to `[D, K]`. The ridge keeps nearly equal texts from dominating it.
fn carry(text: &Tensor) -> Result<Tensor> {
    let centred = text - text.mean_dim(0, true, Kind::Double);
    let products = centred.matmul(&centred.tr()); // (K, K)
    let classes = products.size2()?.0;
    let ridge = products.trace().double_value(&[]) / classes as f64 * RIDGE;
    let ridge = Tensor::eye(classes, (Kind::Double, text.device())) * ridge.max(f64::EPSILON);
    Ok(centred.tr().f_matmul(&(products + ridge).f_inverse()?)?)
}

/// The mean of independent numbers over its standard error.
fn standard_errors(numbers: &Tensor) -> f64 {
    let error = numbers.std(true).double_value(&[]) / (numbers.numel() as f64).sqrt();
    mean(numbers) / error.max(f64::MIN_POSITIVE)
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

/// The mean length of rows.
fn mean_length(rows: &Tensor) -> f64 {
    mean(&rows.norm_scalaropt_dim(2, [-1], false))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tch::Device;

    use super::*;

    const CLASSES: usize = 3;
    const WIDTH: i64 = 12;

    fn noise(rows: usize) -> Tensor {
        Tensor::randn([rows as i64, WIDTH], (Kind::Float, Device::Cpu))
    }

    /// Clips that show their class in the frames, in the moving patches, or in neither.
    fn states(classes: &[i64], in_frames: f64, in_moving: f64) -> States<'_> {
        tch::manual_seed(4);
        let place = Tensor::from_slice(classes)
            .one_hot(WIDTH)
            .to_kind(Kind::Float);
        let spatial = noise(classes.len()) + &place * in_frames;
        States {
            video: spatial.shallow_clone(),
            spatial,
            further: Some(noise(classes.len()) + place * in_moving),
            time: Some(noise(3 * classes.len()).view([-1, 3, WIDTH])),
            classes,
            views: 1,
            text: noise(CLASSES),
            scale: 100.0,
        }
    }

    fn classes(shots: usize) -> Vec<i64> {
        let count = CLASSES * shots;
        (0..count).map(|clip| (clip % CLASSES) as i64).collect()
    }

    /// Folds of clips of a recording each.
    fn folds(classes: &[i64]) -> Vec<Vec<i64>> {
        let each: Vec<usize> = (0..classes.len()).collect();
        let folds = crate::examples::folds(classes, &each).unwrap();
        let rows = |fold: Vec<usize>| fold.into_iter().map(|clip| clip as i64).collect();
        folds.into_iter().map(rows).collect()
    }

    /// Fraction of clips whose class has the largest cosine with mean(I) plus the residual.
    fn right(states: &States<'_>, residual: &Residual) -> f64 {
        let of = |x: &Tensor, map: &Tensor| x.matmul(&map.tr());
        let mut video = &states.video + of(&states.spatial, &residual.spatial);
        video += &residual.bias;
        video += of(
            states.further.as_ref().unwrap(),
            residual.further.as_ref().unwrap(),
        );
        let time = states.time.as_ref().unwrap().flatten(1, 2);
        video += of(&time, residual.time.as_ref().unwrap());
        let nearest = unit(&video)
            .matmul(&unit(&states.text).tr())
            .argmax(1, false);
        let right = nearest.eq_tensor(&Tensor::from_slice(states.classes));
        mean(&right.to_kind(Kind::Double))
    }

    #[test]
    fn what_the_frames_tell_is_solved() {
        let classes = classes(8);
        let states = states(&classes, 4.0, 0.0);
        let (chosen, residual) = states.solve(&folds(&classes)).unwrap();
        assert!(chosen.residual_length > 0.0);
        assert!(chosen.held_out_loss[0] < chosen.held_out_loss[1]);
        assert!(chosen.further < 0.6, "{chosen:?}");
        assert_eq!(right(&states, &residual), 1.0);
    }

    #[test]
    fn what_moving_patches_alone_tell_is_taken_from_them() {
        let classes = classes(8);
        let states = states(&classes, 0.0, 4.0);
        let (chosen, residual) = states.solve(&folds(&classes)).unwrap();
        assert!(chosen.further > 0.9, "{chosen:?}");
        assert_eq!(right(&states, &residual), 1.0);
    }

    #[test]
    fn where_all_is_guessing_nothing_is_added() {
        let classes = classes(24);
        let states = states(&classes, 0.0, 0.0);
        let (chosen, residual) = states.solve(&folds(&classes)).unwrap();
        assert_eq!(chosen.residual_length, 0.0, "{chosen:?}");
        let largest = |x: &Tensor| x.abs().max().double_value(&[]);
        assert_eq!(largest(&residual.spatial) + largest(&residual.bias), 0.0);
    }

    #[test]
    fn what_the_texts_tell_is_left_to_them() {
        let classes = classes(4);
        let mut states = states(&classes, 0.0, 0.0);
        let own = states.text.index_select(0, &Tensor::from_slice(&classes));
        states.video = own * 3.0 + noise(classes.len()) * 0.1;
        let (chosen, residual) = states.solve(&folds(&classes)).unwrap();
        assert!(chosen.residual_length < 0.5, "{chosen:?}");
        assert_eq!(right(&states, &residual), 1.0);
    }

    /// Constructed features of a dual encoder whose texts know little, half or nearly all. Means over 20
    /// draws: with the texts no more than half a point below the better of texts and clips alone.
    #[test]
    fn texts_help_where_they_know_and_do_no_harm_where_they_do_not() {
        const COUNT: usize = 8;
        const D: i64 = 48;
        const TESTED: usize = 200;
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let drawn = |shots: usize| -> Vec<i64> {
            let clips = 0..COUNT * shots;
            clips.map(|clip| (clip % COUNT) as i64).collect()
        };
        for (told, between) in [(0.0, 5.0..20.0), (1.4, 40.0..60.0), (3.2, 85.0..95.0)] {
            for shots in [2, 8] {
                let mut sums = [0.0; 3];
                for draw in 0..20 {
                    tch::manual_seed(draw);
                    let text = unit(&random(&[COUNT as i64, D]));
                    let centre = unit(&random(&[COUNT as i64, D])) * 3.0;
                    let video = |classes: &[i64]| {
                        let at = Tensor::from_slice(classes);
                        let shown = &text * told + &centre;
                        shown.index_select(0, &at) + random(&[classes.len() as i64, D])
                    };
                    let (own, tested) = (drawn(shots), drawn(TESTED / COUNT));
                    let (known, new) = (video(&own), video(&tested));
                    let states = States {
                        video: known.shallow_clone(),
                        spatial: known,
                        further: None,
                        time: None,
                        classes: &own,
                        views: 1,
                        text: text.shallow_clone(),
                        scale: 100.0,
                    };
                    let folds = folds(&own);
                    let average = states.statistics().unwrap().average(&folds).unwrap();
                    let share = states.share(&average.held_out, &folds).unwrap();
                    let residual = states.residual(&average, share.factor).unwrap();
                    let blended = &new + new.matmul(&residual.spatial.tr()) + &residual.bias;
                    let alone = new.to_kind(Kind::Double);
                    let alone = alone.matmul(average.maps[0].as_ref().unwrap()) + average.bias;
                    let frozen = new.matmul(&text.tr());
                    let scores = [frozen, alone, unit(&blended).matmul(&text.tr())];
                    for (sum, scores) in sums.iter_mut().zip(scores) {
                        let right = scores.argmax(1, false);
                        let right = right.eq_tensor(&Tensor::from_slice(&tested));
                        *sum += 5.0 * mean(&right.to_kind(Kind::Double));
                    }
                }
                let [frozen, alone, blended] = sums;
                assert!(between.contains(&frozen), "{told}: zero-shot {frozen}");
                assert!(
                    blended >= frozen.max(alone) - 0.5,
                    "{told}, {shots} clips: {frozen}, {alone}, {blended}"
                );
            }
        }
    }

    /// The maps give the scores that the average promises, whatever the units of the features.
    #[test]
    fn one_linear_map_gives_the_average_of_all_candidates() {
        let classes = classes(4);
        let states = states(&classes, 2.0, 1.0);
        let folds = folds(&classes);
        let statistics = states.statistics().unwrap();
        let average = statistics.average(&folds).unwrap();
        let mut scores = average.held_out.zeros_like() + &average.bias;
        for (rows, map) in statistics.rows.iter().zip(&average.maps) {
            scores += rows.as_ref().unwrap().matmul(map.as_ref().unwrap());
        }
        assert_eq!(scores.size(), [12, 3]);
        let mut scaled = states;
        scaled.spatial *= 7.0;
        scaled.further = scaled.further.map(|further| further * 0.01 + 5.0);
        let again = scaled.statistics().unwrap().average(&folds).unwrap();
        let off = (&again.held_out - &average.held_out).abs().max();
        assert!(off.double_value(&[]) < 1e-3, "{off:?}");
        let off = (again.maps[0].as_ref().unwrap() * 7.0 - average.maps[0].as_ref().unwrap()).abs();
        assert!(off.max().double_value(&[]) < 1e-4);
    }

    /// The program that made the golden values solves each regression by other means.
    #[test]
    fn every_candidate_and_their_average_are_those_of_the_reference() {
        let read = Tensor::read_safetensors(testkit::golden("solved_start.safetensors"));
        let golden: std::collections::HashMap<String, Tensor> = read.unwrap().into_iter().collect();
        for classes in [8usize, 20] {
            let named = |name: &str| golden[&format!("{classes}.{name}")].shallow_clone();
            let frames = named("frames");
            let time = motion::TimeStatistics::new(frames.size()[1]).forward(&frames);
            let mean_of = |x: &Tensor| x.mean_dim(1, false, Kind::Double);
            let rows = [
                Some(mean_of(&frames)),
                Some(mean_of(&named("moving"))),
                Some(time.select(1, 0)),
                Some(time.select(1, 1)),
                Some(time.select(1, 2)),
            ];
            let own = Vec::<i64>::try_from(named("classes")).unwrap();
            let fold_of = Vec::<i64>::try_from(named("folds")).unwrap();
            let parts = fold_of.iter().max().unwrap() + 1;
            let folds: Vec<Vec<i64>> = (0..parts)
                .map(|fold| {
                    let clips = fold_of.iter().enumerate();
                    let held = clips.filter(|(_, of)| **of == fold);
                    held.map(|(clip, _)| clip as i64).collect()
                })
                .collect();
            let statistics = Statistics::new(rows, &own, classes, 1).unwrap();
            let average = statistics.average(&folds).unwrap();
            // Objectives over all clips.
            let all: Vec<i64> = (0..own.len() as i64).collect();
            let standard = statistics.standardised(&all).unwrap();
            let problem = statistics.problem(&all).unwrap();
            let objectives = Vec::<f64>::try_from(named("objectives")).unwrap();
            let grid = statistics.grid(false);
            assert_eq!(grid.len(), objectives.len());
            for (one, expected) in grid.iter().zip(objectives) {
                let parts = standard.iter().zip(one.weights);
                let parts = parts.map(|(rows, weight)| &rows.as_ref().unwrap().values * weight);
                let z = Tensor::cat(&parts.collect::<Vec<_>>(), 1);
                let products = z.matmul(&z.tr());
                let products = numbers(&products).unwrap();
                let problem = problem.of(&products);
                let reached = problem.loss(&problem.fit(one.penalty, problem.zero()), one.penalty);
                let off = (reached - expected).abs() / expected;
                assert!(off < 1e-6, "{one:?}: {reached}, expected {expected}");
            }
            let softmax = |x: &Tensor| x.softmax(-1, Kind::Double);
            let off = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
            let shares: Vec<f64> = average.shares.clone();
            let shares = Tensor::from_slice(&shares);
            assert!(off(&shares, &named("shares")) < 1e-4);
            let held_out = softmax(&average.held_out);
            assert!(off(&held_out, &softmax(&named("held_out"))) < 1e-4);
            let mut scores = average.held_out.zeros_like() + &average.bias;
            for (rows, map) in statistics.rows.iter().zip(&average.maps) {
                scores += rows.as_ref().unwrap().matmul(map.as_ref().unwrap());
            }
            let scores = softmax(&scores);
            assert!(off(&scores, &softmax(&named("scores"))) < 1e-4);
        }
    }

    #[test]
    fn many_clips_and_classes_leave_fewer_candidates() {
        let grid = |clips: usize, count: usize| {
            let own: Vec<i64> = (0..clips).map(|clip| (clip % count) as i64).collect();
            let row = || Some(Tensor::zeros([clips as i64, 2], (Kind::Float, Device::Cpu)));
            let rows = std::array::from_fn(|_| row());
            let statistics = Statistics::new(rows, &own, count, 1).unwrap();
            statistics.grid(statistics.is_coarse())
        };
        let (whole, coarse) = (grid(816, 51), grid(1616, 101));
        assert_eq!((whole.len(), coarse.len()), (90, 10));
        // The smaller grid is part of the larger one, with every penalty.
        assert!(coarse.iter().all(|one| whole.contains(one)));
        let penalties: Vec<f64> = coarse.iter().take(5).map(|one| one.penalty).collect();
        assert_eq!(penalties, PENALTIES);
    }

    #[test]
    fn class_scores_come_back_from_the_span_of_the_texts() {
        tch::manual_seed(1);
        let text = unit(&noise(5).to_kind(Kind::Double));
        let scores = Tensor::randn([7, 5], (Kind::Double, Device::Cpu));
        let back = scores
            .matmul(&carry(&text).unwrap().tr())
            .matmul(&text.tr());
        let centred = |x: &Tensor| x - x.mean_dim(1, true, Kind::Double);
        let off = (centred(&back) - centred(&scores)).abs().max();
        assert!(off.double_value(&[]) < 0.05, "{off:?}");
    }

    /// The same clips twice over, as two views each, are the same problem.
    #[test]
    fn a_view_counts_as_its_part_of_a_clip() {
        let classes = classes(8);
        let once = states(&classes, 2.0, 1.0);
        let (chosen, residual) = once.solve(&folds(&classes)).unwrap();
        let twice = |rows: &Tensor| rows.repeat_interleave_self_int(2, 0, None);
        let both: Vec<i64> = classes.iter().flat_map(|class| [*class; 2]).collect();
        let views = States {
            video: twice(&once.video),
            spatial: twice(&once.spatial),
            further: once.further.as_ref().map(twice),
            time: once.time.as_ref().map(twice),
            classes: &both,
            views: 2,
            text: once.text.shallow_clone(),
            scale: once.scale,
        };
        let rows = |fold: Vec<i64>| fold.into_iter().flat_map(|clip| [2 * clip, 2 * clip + 1]);
        let both = folds(&classes).into_iter().map(|fold| rows(fold).collect());
        let (again, same) = views.solve(&both.collect::<Vec<_>>()).unwrap();
        // The deviation of 48 rows is that of 24, but for Bessel's correction.
        let off = (again.residual_length / chosen.residual_length - 1.0).abs();
        assert!(off < 0.05, "{again:?}, expected {chosen:?}");
        let gap = (same.spatial - &residual.spatial).norm() / residual.spatial.norm();
        assert!(gap.double_value(&[]) < 0.05, "{gap:?}");
    }

    /// A class with a single clip, which is never held out, takes part.
    #[test]
    fn a_class_of_one_clip_is_solved_with_the_others() {
        let mut classes = classes(6);
        classes.retain(|class| *class != 2);
        classes.push(2);
        let states = states(&classes, 4.0, 0.0);
        let (chosen, residual) = states.solve(&folds(&classes)).unwrap();
        assert!(chosen.residual_length > 0.0, "{chosen:?}");
        assert_eq!(right(&states, &residual), 1.0);
    }
}
