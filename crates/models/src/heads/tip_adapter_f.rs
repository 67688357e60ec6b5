//! Tip-Adapter-F: Tip-Adapter whose keys are trained.
//!
//! The cross-entropy at α = 1, β = 5.5 is minimised over the keys, from the clips' features, by the
//! paper's 20 epochs of AdamW (rate 1e-3, ε = 1e-4, cosine); then α and β are chosen for the trained
//! keys. The paper keeps the epoch that is best on the validation set; here it is the last. Batches
//! of at most 256 clips take every n-th clip, in the same order each epoch.

use tch::Tensor;

use super::scorer::affinity;
use super::shots::cross_entropy_gradient;
use super::{Method, Scorer, Shots, tip_adapter};
use crate::Result;

const EPOCHS: usize = 20;
const BATCH: usize = 256;
const RATE: f64 = 1e-3;
const DECAY: f64 = 0.01;
const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-4;

pub(super) struct TipAdapterF;

impl Method for TipAdapterF {
    /// α and β
    type Setting = (f64, f64);

    fn settings() -> Vec<(f64, f64)> {
        tip_adapter::settings()
    }

    fn fit(shots: &Shots, settings: &[(f64, f64)]) -> Result<Vec<Scorer>> {
        Ok(tip_adapter::scorers(shots, &trained(shots), settings))
    }
}

/// The trained keys, `[N, D]`.
fn trained(shots: &Shots) -> Tensor {
    let count = shots.classes.len();
    let batches: Vec<Shots> = match count.div_ceil(BATCH) {
        0 | 1 => vec![shots.part(&(0..count).collect::<Vec<_>>())],
        several => (0..several)
            .map(|first| shots.part(&(first..count).step_by(several).collect::<Vec<_>>()))
            .collect(),
    };
    let values = shots.one_hot();
    let mut keys = shots.features.copy();
    let (mut first, mut second) = (keys.zeros_like(), keys.zeros_like());
    let steps = EPOCHS * batches.len();
    for (step, batch) in batches.iter().cycle().take(steps).enumerate() {
        let gradient = gradient(batch, &keys, &values);
        first = first * BETAS.0 + &gradient * (1.0 - BETAS.0);
        second = second * BETAS.1 + gradient.square() * (1.0 - BETAS.1);
        let power = step as i32 + 1;
        let mean = &first / (1.0 - BETAS.0.powi(power));
        let size = (&second / (1.0 - BETAS.1.powi(power))).sqrt() + EPSILON;
        let done = step as f64 / steps as f64;
        let rate = RATE * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        keys = keys * (1.0 - rate * DECAY) - mean / size * rate;
    }
    keys
}

/// Gradient of the batch's cross-entropy with respect to the keys: `[N, D]`.
fn gradient(batch: &Shots, keys: &Tensor, values: &Tensor) -> Tensor {
    let (alpha, beta) = tip_adapter::START;
    let x = &batch.features;
    let affinity = affinity(x, keys, beta); // (B, N)
    let logits = x.matmul(&batch.zero_shot()) + affinity.matmul(values) * alpha;
    let of_logits = cross_entropy_gradient(&logits, &batch.one_hot());
    let of_affinity = of_logits.matmul(&values.tr()) * (alpha * beta) * affinity; // (B, N)
    of_affinity.tr().matmul(x)
}
