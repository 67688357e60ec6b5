//! CLAP: a cosine classifier that starts as the texts and is held near them where they are right.
//!
//! ```text
//! minimise  CE(x ŵᵀ / τ) + mean_k λ_k |w_k - t_k|²,   λ_k = mean of p(k | x) over class k's clips,
//! ```
//!
//! where ŵ has unit length and p is the zero-shot classifier's: a class that the texts recognise is
//! bound to them, one that they do not is free. Nothing is chosen. 300 steps of gradient descent
//! with momentum 0.9 over all clips, at the paper's rate 0.1 with a cosine, without its weight decay.

use tch::Kind;

use super::shots::cross_entropy_gradient;
use super::{Method, Scorer, Shots};
use crate::Result;
use crate::scores::unit;

const STEPS: usize = 300;
const RATE: f64 = 0.1;
const MOMENTUM: f64 = 0.9;

pub(super) struct Clap;

impl Method for Clap {
    type Setting = ();

    fn settings() -> Vec<()> {
        vec![()]
    }

    fn fit(shots: &Shots, settings: &[()]) -> Result<Vec<Scorer>> {
        let (x, one_hot, text) = (&shots.features, shots.one_hot(), &shots.text);
        let zero_shot = x.matmul(&shots.zero_shot()).softmax(-1, Kind::Double);
        let clips = one_hot.sum_dim_intlist(0, false, Kind::Double);
        let own = (zero_shot * &one_hot).sum_dim_intlist(0, false, Kind::Double) / clips;
        let pull = own.unsqueeze(1) * (2.0 / text.size()[0] as f64); // (K, 1)

        let mut prototypes = text.copy(); // (K, D)
        let mut velocity = prototypes.zeros_like();
        for step in 0..STEPS {
            let length = prototypes.norm_scalaropt_dim(2, [-1], true); // (K, 1)
            let direction = &prototypes / &length;
            let logits = x.matmul(&direction.tr()) * shots.scale;
            let of_logits = cross_entropy_gradient(&logits, &one_hot);
            let of_direction = of_logits.tr().matmul(x) * shots.scale;
            let along = (&of_direction * &direction).sum_dim_intlist(-1, true, Kind::Double);
            let gradient = (of_direction - along * direction) / length;
            velocity = velocity * MOMENTUM + gradient + &pull * (&prototypes - text);
            let done = step as f64 / STEPS as f64;
            let rate = RATE * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            prototypes -= &velocity * rate;
        }
        let scorer = |_: &()| Scorer {
            weights: unit(&prototypes).tr() * shots.scale,
            bias: None,
            cache: None,
        };
        Ok(settings.iter().map(scorer).collect())
    }
}
