//! Gaussian discriminant analysis.
//!
//! Classes are Gaussians with means μ_k and one covariance Σ, and are equally likely, so that
//!
//! ```text
//! logits = x Tᵀ / τ + α (x Σ⁻¹ μᵀ + b),   b_k = ln(1 / K) - μ_k Σ⁻¹ μ_kᵀ / 2.
//! ```
//!
//! Σ⁻¹ is shrunk as Kubokawa and Srivastava do, D ((N - 1) Σ̂ + tr(Σ̂) I)⁻¹, with the pooled
//! covariance Σ̂ within classes. The paper estimates it from ten augmented copies of each clip.

use tch::{Kind, Tensor};

use super::{Method, Scorer, Shots};
use crate::Result;

/// Candidates of α: the paper's.
const ALPHAS: [f64; 7] = [1.0, 1e-4, 1e-3, 1e-2, 0.1, 10.0, 100.0];
/// Trace below which there is no scatter within classes.
const NONE: f64 = 1e-12;

pub(super) struct Gda;

impl Method for Gda {
    /// α
    type Setting = f64;

    fn settings() -> Vec<f64> {
        ALPHAS.to_vec()
    }

    fn fit(shots: &Shots, settings: &[f64]) -> Result<Vec<Scorer>> {
        let means = shots.class_means(); // (K, D)
        let classes = means.size()[0] as f64;
        let discriminant = precision_times(shots, &means)?; // (D, K)
        let squares = (means.tr() * &discriminant).sum_dim_intlist(0, false, Kind::Double);
        let bias = squares * -0.5 - classes.ln(); // (K)
        let scorer = |alpha: &f64| Scorer {
            weights: shots.zero_shot() + &discriminant * *alpha,
            bias: Some(&bias * *alpha),
            cache: None,
        };
        Ok(settings.iter().map(scorer).collect())
    }
}

/// Σ⁻¹ μᵀ, `[D, K]`.
///
/// With one clip of each class nothing is known of the scatter within them; that about the common
/// mean takes its place, the same in every direction.
fn precision_times(shots: &Shots, means: &Tensor) -> Result<Tensor> {
    let x = &shots.features;
    let (width, freedom) = (x.size()[1], (shots.count() - 1) as f64);
    let within = x - means.index_select(0, &shots.truth()); // (N, D)
    let trace = within.square().sum(Kind::Double).double_value(&[]);
    if trace < NONE {
        let about = x - x.mean_dim(0, true, Kind::Double);
        let total = about.square().sum(Kind::Double).double_value(&[]);
        let precision = match total < NONE {
            true => 1.0,
            false => width as f64 * freedom / total,
        };
        return Ok(means.tr() * precision);
    }
    let identity = Tensor::eye(width, (Kind::Double, x.device()));
    let shrunk = within.tr().matmul(&within) + identity * (trace / freedom);
    Ok(Tensor::f_linalg_solve(&shrunk, &means.tr(), true)? * width as f64)
}
