//! How much the other clips contradict a clip's class.
//!
//! Ridge regression of the classes on the clips' mean features, each clip predicted without its
//! recording, in closed form. The penalty is strong, so that no clip explains itself, and a few wrong
//! classes sway it little.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::Result;

/// The penalty, where the mean squared length of a clip's row is 1.
const PENALTY: f64 = 2.0;
/// Standard deviation below which a feature counts as constant.
const STILL: f64 = 1e-12;

/// What other recordings say of a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Contradiction {
    /// The class, other than its own, that the clip is most like.
    pub(super) other: usize,
    /// How much more it is like that class than like its own; negative if it is less.
    pub(super) strength: f64,
}

/// One for each of the clips with frame features `[N, T, F]` and `classes` below K = `count`, cut from
/// `recordings`.
pub(super) fn contradictions(
    features: &Tensor,
    classes: &[i64],
    count: usize,
    recordings: &[String],
) -> Result<Vec<Contradiction>> {
    let rows = rows(features)?; // (N, F + 1)
    let width = rows.size2()?.1;
    let eye = |n: i64| Tensor::eye(n, (Kind::Double, rows.device()));
    let penalised = rows.tr().f_matmul(&rows)? + eye(width) * PENALTY;
    let solved = Tensor::f_linalg_solve(&penalised, &rows.tr(), true)?; // (F + 1, N)
    let own = Tensor::from_slice(classes);
    let target = own.f_one_hot(count as i64)?.to_kind(Kind::Double) - 1.0 / count as f64;
    let rest = &target - rows.f_matmul(&solved.f_matmul(&target)?)?; // (N, K)
    let mut of_recording: BTreeMap<&String, Vec<i64>> = BTreeMap::new();
    for (clip, recording) in recordings.iter().enumerate() {
        of_recording.entry(recording).or_default().push(clip as i64);
    }
    let mut found = vec![None; classes.len()];
    for clips in of_recording.values() {
        let at = Tensor::from_slice(clips);
        let part = |all: &Tensor| all.f_index_select(0, &at);
        let weights = part(&rows)?.f_matmul(&solved.f_index_select(1, &at)?)?;
        let without = eye(clips.len() as i64) - weights;
        let predicted = part(&target)? - Tensor::f_linalg_solve(&without, &part(&rest)?, true)?; // (R, K)
        let predicted = Vec::<Vec<f64>>::try_from(predicted)?;
        for (clip, row) in clips.iter().zip(predicted) {
            let clip = *clip as usize;
            let own = classes.get(clip).map_or(0, |class| *class as usize);
            let others = row.iter().enumerate().filter(|(class, _)| *class != own);
            let best = others.max_by(|a, b| a.1.total_cmp(b.1));
            let score = row.get(own).copied().unwrap_or(0.0);
            if let (Some((other, best)), Some(place)) = (best, found.get_mut(clip)) {
                let strength = best - score;
                *place = Some(Contradiction { other, strength });
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// Standardised mean features, scaled, with a constant: `[N, T, F]` to `[N, F + 1]`.
fn rows(features: &Tensor) -> Result<Tensor> {
    let rows = features
        .to_device(tch::Device::Cpu)
        .mean_dim(1, false, Kind::Double);
    let deviation = rows.std_dim(0, false, false);
    let deviation = deviation.where_self(&deviation.gt(STILL), &deviation.ones_like());
    let rows = (&rows - rows.mean_dim(0, false, Kind::Double)) / deviation;
    let squares = rows.square().sum_dim_intlist(1, false, Kind::Double);
    let length = squares.mean(Kind::Double).clamp_min(STILL).sqrt();
    let rows = rows / length;
    let constant = rows.f_narrow(1, 0, 1)?.ones_like();
    Ok(Tensor::f_cat(&[rows, constant], 1)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Two frames of each clip, around corners in three features.
    fn features(clips: &[[f64; 3]]) -> Tensor {
        let rows = clips.iter().flat_map(|clip| [*clip, *clip].concat());
        Tensor::from_slice(&rows.collect::<Vec<_>>()).view([clips.len() as i64, 2, 3])
    }

    #[test]
    fn clips_in_the_wrong_class_are_contradicted_and_say_by_which() {
        let clip = |class: usize, number: usize| {
            let mut row = [0.1 * number as f64; 3];
            row[class] += 4.0 + 0.2 * number as f64;
            row
        };
        let shown: Vec<usize> = (0..15).map(|clip| clip / 5).collect();
        let all: Vec<[f64; 3]> = (0..15).map(|at| clip(shown[at], at % 5)).collect();
        let mut classes: Vec<i64> = shown.iter().map(|class| *class as i64).collect();
        classes.swap(2, 13);
        let alone: Vec<String> = (0..15).map(|clip| format!("r{clip}")).collect();
        let found = contradictions(&features(&all), &classes, 3, &alone).unwrap();
        for (clip, found) in found.iter().enumerate() {
            assert_eq!(
                found.strength > 0.0,
                [2, 13].contains(&clip),
                "{clip}: {found:?}"
            );
        }
        assert_eq!((found[2].other, found[13].other), (0, 2));
        // A recording does not speak for itself.
        let mut classes: Vec<i64> = shown.iter().map(|class| *class as i64).collect();
        classes[3..5].fill(1);
        let mut together = alone;
        together[3] = together[4].clone();
        let found = contradictions(&features(&all), &classes, 3, &together).unwrap();
        assert!(
            found[3].strength > 0.0 && found[4].strength > 0.0,
            "{found:?}"
        );
    }

    #[test]
    fn it_is_the_regression_without_the_clip() {
        let all = [
            [1.0, 2.0, 0.0],
            [0.5, 1.0, 3.0],
            [2.0, 0.0, 1.0],
            [0.0, 3.0, 2.0],
        ];
        let alone: Vec<String> = (0..4).map(|clip| format!("r{clip}")).collect();
        let found = contradictions(&features(&all), &[0, 1, 0, 1], 2, &alone).unwrap();
        let rows = rows(&features(&all)).unwrap();
        let kept = Tensor::from_slice(&[0_i64, 2, 3]);
        let left = rows.index_select(0, &kept);
        let target = Tensor::from_slice(&[0.5, -0.5, 0.5, -0.5, -0.5, 0.5]).view([3, 2]);
        let penalised =
            left.tr().matmul(&left) + Tensor::eye(4, (Kind::Double, left.device())) * PENALTY;
        let weights = Tensor::linalg_solve(&penalised, &left.tr().matmul(&target), true);
        let scores = rows.narrow(0, 1, 1).matmul(&weights);
        let expected = scores.double_value(&[0, 0]) - scores.double_value(&[0, 1]);
        assert!(
            (found[1].strength - expected).abs() < 1e-12,
            "{found:?} {expected}"
        );
    }
}
