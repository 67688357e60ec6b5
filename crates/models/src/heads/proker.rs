//! ProKeR: kernel ridge regression that is pulled towards the zero-shot scores.
//!
//! Over the functions of the space H of the kernel k(x, y) = exp(-β (1 - x·y)),
//!
//! ```text
//! minimise  Σ_i |f(x_i) - y_i|² + λ |f - f₀|²_H,
//! solved by f(x) = f₀(x) + k(x, F) (k(F, F) + λ I)⁻¹ (Y - f₀(F)),
//! ```
//!
//! with the zero-shot cosines f₀(x) = x Tᵀ and one-hot classes Y.

use tch::{Kind, Tensor};

use super::scorer::{Cache, affinity};
use super::{Method, Scorer, Shots, pairs};
use crate::Result;

/// β and λ where nothing can be chosen.
const START: (f64, f64) = (5.0, 0.1);
const BETAS: [f64; 6] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0];
const LAMBDAS: [f64; 6] = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

pub(super) struct Proker;

impl Method for Proker {
    /// β and λ
    type Setting = (f64, f64);

    fn settings() -> Vec<(f64, f64)> {
        pairs(START, BETAS, LAMBDAS)
    }

    fn fit(shots: &Shots, settings: &[(f64, f64)]) -> Result<Vec<Scorer>> {
        let x = &shots.features;
        let residual = shots.one_hot() - x.matmul(&shots.text.tr()); // (N, K)
        let identity = Tensor::eye(shots.count(), (Kind::Double, x.device()));
        let scorer = |&(beta, lambda): &(f64, f64)| {
            let regularised = affinity(x, x, beta) + &identity * lambda;
            let factor = regularised.f_linalg_cholesky(false)?;
            Ok(Scorer {
                weights: shots.text.tr(),
                bias: None,
                cache: Some(Cache {
                    keys: x.shallow_clone(),
                    values: residual.f_cholesky_solve(&factor, false)?,
                    sharpness: beta,
                }),
            })
        };
        settings.iter().map(scorer).collect()
    }
}
