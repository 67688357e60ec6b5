//! Tip-Adapter: a cache of the training clips beside the zero-shot classifier.
//!
//! ```text
//! logits = x Tᵀ / τ + α exp(-β (1 - x Fᵀ)) Y
//! ```
//!
//! with the clips' features F as keys and their one-hot classes Y as values.

use super::scorer::Cache;
use super::{Method, Scorer, Shots, pairs};
use crate::Result;

/// α and β where nothing can be chosen, and where the keys of Tip-Adapter-F are trained: the
/// paper's.
pub(super) const START: (f64, f64) = (1.0, 5.5);
const ALPHAS: [f64; 8] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
const BETAS: [f64; 6] = [1.0, 2.5, 5.5, 11.0, 22.0, 44.0];

pub(super) struct TipAdapter;

/// Every α with every β.
pub(super) fn settings() -> Vec<(f64, f64)> {
    pairs(START, ALPHAS, BETAS)
}

/// The scorers with the cache `keys`, `[N, D]`.
pub(super) fn scorers(shots: &Shots, keys: &tch::Tensor, settings: &[(f64, f64)]) -> Vec<Scorer> {
    let scorer = |&(alpha, beta): &(f64, f64)| Scorer {
        weights: shots.zero_shot(),
        bias: None,
        cache: Some(Cache {
            keys: keys.shallow_clone(),
            values: shots.one_hot() * alpha,
            sharpness: beta,
        }),
    };
    settings.iter().map(scorer).collect()
}

impl Method for TipAdapter {
    /// α and β
    type Setting = (f64, f64);

    fn settings() -> Vec<(f64, f64)> {
        settings()
    }

    fn fit(shots: &Shots, settings: &[(f64, f64)]) -> Result<Vec<Scorer>> {
        Ok(scorers(shots, &shots.features, settings))
    }
}
