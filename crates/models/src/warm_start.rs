//! A data-dependent initialisation for few-shot training: W_s and W_m of the outer residual,
//! solved instead of zero.
//!
//! V = mean(I) + W_s mean(S) + W_m mean(M) is linear in W_s and W_m, so logistic regression on
//! \[mean(S), mean(M)\] gives them in one convex problem: its class scores, carried into the span
//! of the class texts, are added to V by the residual. The length of the residual and its share of
//! motion are chosen by cross-validation over the training clips; zero is one of
//! the choices. No class has parameters of its own, so new labels can be scored as before.
//!
//! The paper has no such step. That a linear classifier on frozen features, combined with
//! the zero-shot scores, is hard to beat with few clips is the finding of LP++ (Huang et al., CVPR
//! 2024).

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::scores::unit;
use crate::{LogisticRegression, Result};

/// Candidate lengths of the residual, as multiples of the length of mean(I): from frozen CLIP
/// to almost no CLIP.
const LENGTHS: [f64; 10] = [0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];
/// Candidate weights of motion, relative to 1 for the spatial features.
const EMPHASES: [f64; 4] = [0.0, 0.25, 0.5, 1.0];
/// Factors of 1 / τ in the comparison. The best counts: lengths are compared by how well
/// they separate classes, not by the confidence that τ gives them.
const TEMPERATURE_MULTIPLIERS: [f64; 8] = [0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0];
/// The most folds of the cross-validation.
const FOLDS: usize = 4;
/// Ridge of the texts' inverse, relative to their mean square.
const RIDGE: f64 = 1e-3;

/// The choice of the cross-validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WarmStart {
    /// Mean length of the residual over that of mean(I); 0: the model starts as frozen CLIP.
    pub residual_length: f64,
    /// Factor of the standardised mean(M), relative to 1 for mean(S).
    pub motion_emphasis: f64,
    /// Mean cross-entropy of held-out clips with this choice, and with no residual, each at
    /// its best temperature.
    pub held_out_loss: [f64; 2],
}

/// A solved residual: added to V, linear in the block's states.
#[derive(Debug)]
pub(crate) struct Residual {
    /// W_s, `[D, D]`.
    pub spatial: Tensor,
    /// Its bias, `[D]`.
    pub bias: Tensor,
    /// W_m, `[D, D]`, if there is a motion stream.
    pub motion: Option<Tensor>,
}

/// The clips' features before training.
pub(crate) struct States<'a> {
    /// mean(I), `[N, D]`.
    pub video: Tensor,
    /// mean(S), `[N, D]`.
    pub spatial: Tensor,
    /// mean(M), `[N, D]`, if there is a motion stream.
    pub motion: Option<Tensor>,
    /// The class of each clip.
    pub classes: &'a [i64],
    /// The class texts, `[K, D]`.
    pub text: Tensor,
    /// 1 / τ.
    pub scale: f64,
}

impl States<'_> {
    /// The residual chosen on held-out clips; `None` if some class has a single clip, so that
    /// none can be held out.
    pub(crate) fn solve(&self) -> Result<Option<(WarmStart, Residual)>> {
        let Some(folds) = folds(self.classes, self.count()) else {
            return Ok(None);
        };
        let emphases = match self.motion {
            Some(_) => &EMPHASES[..],
            None => &EMPHASES[..1],
        };
        // Motion is used if it improves the loss by more than its standard error.
        let mut motion = 0.0;
        let mut losses = self.held_out(&folds, motion)?;
        for &other in emphases.iter().skip(1) {
            let tried = self.held_out(&folds, other)?;
            if gain(best_of(&losses), best_of(&tried)) > 1.0 {
                (motion, losses) = (other, tried);
            }
        }
        // Of the lengths within the error of the best the longest: it relies most on the clips and
        // least on the texts. None only if none is best.
        let best = best_of(&losses);
        let chosen = match gain(&losses[0], best) > 0.0 {
            true => losses.iter().rposition(|other| gain(other, best) <= 1.0),
            false => None,
        };
        let chosen = chosen.unwrap_or(0);
        let choice = WarmStart {
            residual_length: LENGTHS[chosen],
            motion_emphasis: motion,
            held_out_loss: [mean(&losses[chosen]), mean(&losses[0])],
        };
        Ok(Some((choice, self.residual(&choice)?)))
    }

    /// For every length, the cross-entropy of each clip while it is held out, at the best
    /// temperature of that length: `[N]` each.
    fn held_out(&self, folds: &[Vec<i64>], motion: f64) -> Result<Vec<Tensor>> {
        let mut losses: Vec<Vec<Tensor>> = LENGTHS.map(|_| Vec::new()).into();
        for held in folds {
            let known: Vec<i64> = (0..self.classes.len() as i64)
                .filter(|clip| !held.contains(clip))
                .collect();
            let known = self.of(&known)?;
            let fitted = known.regression(motion)?;
            let own = known.shift(&fitted)?;
            let held = self.of(held)?;
            let shift = held.shift(&fitted)?;
            for (losses, length) in losses.iter_mut().zip(LENGTHS) {
                losses.push(held.losses(&(&shift * known.factor(&own, length)))?);
            }
        }
        let best = |parts: Vec<Tensor>| {
            let all = Tensor::f_cat(&parts, 1)?; // (multiplier, N)
            let at = all.mean_dim(1, false, Kind::Double).argmin(0, false);
            Ok(all.f_select(0, at.int64_value(&[]))?)
        };
        losses.into_iter().map(best).collect()
    }

    /// K
    fn count(&self) -> usize {
        usize::try_from(self.text.size().first().copied().unwrap_or(0)).unwrap_or(0)
    }

    /// The clips at `positions` only.
    fn of(&self, positions: &[i64]) -> Result<OfClips> {
        let at = Tensor::from_slice(positions).to_device(self.video.device());
        let part = |x: &Tensor| x.f_index_select(0, &at);
        let classes = positions
            .iter()
            .filter_map(|&clip| self.classes.get(usize::try_from(clip).ok()?).copied());
        Ok(OfClips {
            video: part(&self.video)?.to_kind(Kind::Double),
            spatial: part(&self.spatial)?.to_kind(Kind::Double),
            motion: self.motion.as_ref().map(part).transpose()?,
            classes: classes.collect(),
            text: unit(&self.text.to_kind(Kind::Double)),
            scale: self.scale,
        })
    }

    /// The residual of a choice, solved over all clips.
    fn residual(&self, choice: &WarmStart) -> Result<Residual> {
        let all: Vec<i64> = (0..self.classes.len() as i64).collect();
        let all = self.of(&all)?;
        let fitted = all.regression(choice.motion_emphasis)?;
        let factor = all.factor(&all.shift(&fitted)?, choice.residual_length);
        let carry = carry(&all.text)? * factor; // (D, K)
        let width = self.spatial.size2()?.1;
        let map = |from: i64| {
            let weights = fitted.weights.narrow(0, from, width); // (D, K)
            carry.matmul(&weights.tr()).to_kind(Kind::Float)
        };
        let has_motion = fitted.weights.size2()?.0 > width;
        Ok(Residual {
            spatial: map(0),
            bias: carry.mv(&fitted.bias).to_kind(Kind::Float),
            motion: has_motion.then(|| map(width)),
        })
    }
}

/// Some of the clips, in double precision, the texts of length 1.
struct OfClips {
    video: Tensor,
    spatial: Tensor,
    motion: Option<Tensor>,
    classes: Vec<i64>,
    text: Tensor,
    scale: f64,
}

impl OfClips {
    /// `[N, D]`, or `[N, 2 D]` with motion.
    fn rows(&self) -> Result<Tensor> {
        Ok(match &self.motion {
            Some(motion) => Tensor::f_cat(&[&self.spatial, &motion.to_kind(Kind::Double)], 1)?,
            None => self.spatial.shallow_clone(),
        })
    }

    fn regression(&self, motion: f64) -> Result<LogisticRegression> {
        let one = self.spatial.narrow(0, 0, 1).squeeze_dim(0).ones_like(); // (D)
        let emphasis = match self.motion {
            Some(_) => Tensor::f_cat(&[&one, &(&one * motion)], 0)?,
            None => one,
        };
        let count = usize::try_from(self.text.size2()?.0).unwrap_or(0);
        LogisticRegression::fit(&self.rows()?, &self.classes, count, Some(&emphasis))
    }

    /// A regression's scores mapped to the span of the texts: `[N, D]`.
    fn shift(&self, fitted: &LogisticRegression) -> Result<Tensor> {
        Ok(fitted
            .logits(&self.rows()?)?
            .matmul(&carry(&self.text)?.tr()))
    }

    /// The factor that makes shifts of these clips `length` times as long as mean(I), on average.
    fn factor(&self, shift: &Tensor, length: f64) -> f64 {
        let norm = |x: &Tensor| {
            let norms = x.norm_scalaropt_dim(2, [-1], false);
            norms.mean(Kind::Double).double_value(&[])
        };
        match norm(shift) {
            own if own > 0.0 => length * norm(&self.video) / own,
            _ => 0.0,
        }
    }

    /// Cross-entropy of each clip under Eq. 3, with each of the factors of 1 / τ:
    /// `[TEMPERATURE_MULTIPLIERS, N]`.
    fn losses(&self, shift: &Tensor) -> Result<Tensor> {
        let cosines = unit(&(&self.video + shift)).f_matmul(&self.text.tr())?; // (N, K)
        let own = Tensor::from_slice(&self.classes).to_device(cosines.device());
        let of = |sure: f64| {
            let log = (&cosines * (self.scale * sure)).log_softmax(-1, Kind::Double);
            Ok(-log
                .f_gather(1, &own.f_unsqueeze(1)?, false)?
                .f_squeeze_dim(1)?)
        };
        let rows = TEMPERATURE_MULTIPLIERS
            .into_iter()
            .map(of)
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_stack(&rows, 0)?)
    }
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

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

/// The losses with the smallest mean.
fn best_of(losses: &[Tensor]) -> &Tensor {
    let (first, rest) = (&losses[0], &losses[1..]);
    rest.iter()
        .fold(first, |best, one| match mean(one) < mean(best) {
            true => one,
            false => best,
        })
}

/// By how many standard errors the mean of `new` is below that of `old`, over paired clips.
fn gain(old: &Tensor, new: &Tensor) -> f64 {
    let less = old - new;
    let error = less.std(true).double_value(&[]) / (less.numel() as f64).sqrt();
    mean(&less) / error.max(f64::MIN_POSITIVE)
}

/// Positions of the clips of each fold, every class in each; `None` if that is impossible.
fn folds(classes: &[i64], count: usize) -> Option<Vec<Vec<i64>>> {
    let mut seen = vec![0usize; count];
    for class in classes {
        *seen.get_mut(usize::try_from(*class).ok()?)? += 1;
    }
    let fewest = seen.iter().copied().filter(|&clips| clips > 0).min()?;
    let parts = fewest.min(FOLDS);
    if parts < 2 {
        return None;
    }
    let mut folds = vec![Vec::new(); parts];
    seen.fill(0);
    for (clip, class) in classes.iter().enumerate() {
        let so_far = seen.get_mut(usize::try_from(*class).ok()?)?;
        folds.get_mut(*so_far % parts)?.push(clip as i64);
        *so_far += 1;
    }
    Some(folds)
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

    /// `shots` clips per class; the class shows in the frames, in the motion, or in neither.
    fn states(classes: &[i64], in_frames: f64, in_motion: f64) -> States<'_> {
        tch::manual_seed(4);
        let place = Tensor::from_slice(classes)
            .one_hot(WIDTH)
            .to_kind(Kind::Float);
        let spatial = noise(classes.len()) + &place * in_frames;
        States {
            video: spatial.shallow_clone(),
            spatial,
            motion: Some(noise(classes.len()) + place * in_motion),
            classes,
            text: noise(CLASSES),
            scale: 100.0,
        }
    }

    fn classes(shots: usize) -> Vec<i64> {
        (0..CLASSES * shots)
            .map(|clip| (clip % CLASSES) as i64)
            .collect()
    }

    /// Fraction of clips whose class has the largest cosine with mean(I) plus the residual.
    fn right(states: &States<'_>, residual: &Residual) -> f64 {
        let mut video = &states.video + states.spatial.matmul(&residual.spatial.tr());
        video += &residual.bias;
        if let (Some(motion), Some(weights)) = (&states.motion, &residual.motion) {
            video += motion.matmul(&weights.tr());
        }
        let nearest = unit(&video)
            .matmul(&unit(&states.text).tr())
            .argmax(1, false);
        let right = nearest.eq_tensor(&Tensor::from_slice(states.classes));
        right
            .to_kind(Kind::Float)
            .mean(Kind::Float)
            .double_value(&[])
    }

    #[test]
    fn what_the_frames_tell_is_solved_without_motion() {
        let classes = classes(8);
        let states = states(&classes, 4.0, 0.0);
        let (chosen, residual) = states.solve().unwrap().unwrap();
        assert!(chosen.residual_length > 0.0);
        assert!(chosen.held_out_loss[0] < chosen.held_out_loss[1]);
        assert_eq!(chosen.motion_emphasis, 0.0);
        let motion = residual.motion.as_ref().unwrap();
        assert_eq!(motion.abs().max().double_value(&[]), 0.0);
        assert_eq!(right(&states, &residual), 1.0);
    }

    #[test]
    fn what_motion_alone_tells_is_taken_from_motion() {
        let classes = classes(8);
        let states = states(&classes, 0.0, 4.0);
        let (chosen, residual) = states.solve().unwrap().unwrap();
        assert!(chosen.motion_emphasis > 0.0, "{chosen:?}");
        assert!(right(&states, &residual) > 0.9);
    }

    #[test]
    fn what_the_texts_tell_is_left_to_them() {
        let classes = classes(4);
        let mut states = states(&classes, 0.0, 0.0);
        let own = states.text.index_select(0, &Tensor::from_slice(&classes));
        states.video = own * 3.0 + noise(classes.len()) * 0.1;
        let (chosen, residual) = states.solve().unwrap().unwrap();
        assert_eq!(chosen.residual_length, 0.0, "{chosen:?}");
        for part in [&residual.spatial, &residual.bias] {
            assert_eq!(part.abs().max().double_value(&[]), 0.0);
        }
        assert_eq!(right(&states, &residual), 1.0);
    }

    #[test]
    fn the_residual_is_as_long_as_was_chosen() {
        let classes = classes(4);
        let states = states(&classes, 4.0, 0.0);
        let choice = WarmStart {
            residual_length: 2.0,
            motion_emphasis: 0.5,
            held_out_loss: [0.0, 0.0],
        };
        let residual = states.residual(&choice).unwrap();
        let motion = states.motion.as_ref().unwrap();
        let shift = states.spatial.matmul(&residual.spatial.tr())
            + &residual.bias
            + motion.matmul(&residual.motion.unwrap().tr());
        let norm = |x: &Tensor| mean(&x.norm_scalaropt_dim(2, [-1], false));
        let length = norm(&shift) / norm(&states.video);
        assert!((length - 2.0).abs() < 1e-4, "{length}");
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

    #[test]
    fn a_single_clip_of_a_class_leaves_nothing_to_hold_out() {
        let mut classes = classes(2);
        assert_eq!(
            folds(&classes, CLASSES).unwrap(),
            [vec![0, 1, 2], vec![3, 4, 5]]
        );
        classes.pop();
        assert!(folds(&classes, CLASSES).is_none());
        assert!(states(&classes, 4.0, 0.0).solve().unwrap().is_none());
    }
}
