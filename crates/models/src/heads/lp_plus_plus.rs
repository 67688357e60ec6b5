//! LP++: a linear probe whose weights are w_k + α_k t_k, with one multiplier of the text per class.
//!
//! The cross-entropy is descended in blocks by majorise-minimise steps, whose sizes follow from
//! Lipschitz constants of the gradient: λ_max(FᵀF) / 4N for w, max_k Σ_i (f_i·t_k)² / 4N for α,
//! which is updated at every tenth iteration. w_k starts as the sum of its class's features, every
//! α_k as 250 times the mean cosine of clips and their texts. As in the published code, the steps
//! of w have momentum 0.9. The paper keeps the iteration of 300 that is best on a validation set;
//! here their number is chosen by cross-validation.

use tch::{Kind, Tensor};

use super::shots::cross_entropy_gradient;
use super::{Method, Scorer, Shots};
use crate::Result;

const ITERATIONS: [usize; 5] = [300, 3, 10, 30, 100];
const FIRST_ALPHA: f64 = 250.0;
const ALPHA_EVERY: usize = 10;
const MOMENTUM: f64 = 0.9;

pub(super) struct LpPlusPlus;

impl Method for LpPlusPlus {
    /// Iterations.
    type Setting = usize;

    fn settings() -> Vec<usize> {
        ITERATIONS.to_vec()
    }

    fn fit(shots: &Shots, settings: &[usize]) -> Result<Vec<Scorer>> {
        let (x, one_hot, count) = (&shots.features, shots.one_hot(), shots.count() as f64);
        let cosines = x.matmul(&shots.text.tr()); // (N, K)
        let greatest = x.tr().matmul(x).linalg_eigvalsh("L").max();
        let step = 4.0 * count / greatest.double_value(&[]);
        let squares = cosines.square().sum_dim_intlist(0, false, Kind::Double);
        let alpha_step = 4.0 * count / squares.max().double_value(&[]);

        let clips = one_hot.sum_dim_intlist(0, false, Kind::Double); // (K)
        let own = (&cosines * &one_hot).sum_dim_intlist(0, false, Kind::Double) / clips;
        let mut alpha = own.ones_like() * own.mean(Kind::Double) * FIRST_ALPHA; // (K)
        let mut weights = shots.class_sums().tr(); // (D, K)
        let mut velocity = weights.zeros_like();
        let mut kept: Vec<Option<Tensor>> = settings.iter().map(|_| None).collect();
        for iteration in 1..=settings.iter().copied().max().unwrap_or(0) {
            let logits = x.matmul(&weights) + &cosines * &alpha;
            let gradient = cross_entropy_gradient(&logits, &one_hot);
            velocity = velocity * MOMENTUM + x.tr().matmul(&gradient);
            weights -= &velocity * step;
            if iteration % ALPHA_EVERY == 0 {
                let of_alpha = (&gradient * &cosines).sum_dim_intlist(0, false, Kind::Double);
                alpha -= of_alpha * alpha_step;
            }
            for (kept, setting) in kept.iter_mut().zip(settings) {
                if *setting == iteration {
                    *kept = Some(&weights + shots.text.tr() * &alpha);
                }
            }
        }
        let scorer = |weights| Scorer {
            weights,
            bias: None,
            cache: None,
        };
        Ok(kept.into_iter().flatten().map(scorer).collect())
    }
}
