//! The information in a backbone's features, measured on unseen stills.

use std::fmt;
use std::path::Path;

use clip_backbone::{Checkpoint, ClipModel, Preprocess, Usage};
use tch::{Device, Kind, Tensor};

use super::motion::Quantity;
use super::stills::Stills;
use crate::Result;

/// Stills for fitting a linear probe, and stills for testing it.
const FITTED: usize = 1024;
const TESTED: usize = 512;
/// Strength of the probes' L2 penalty on standardised features.
const PENALTY: f64 = 1.0;
/// Groups of look-alikes for caption retrieval.
const BUNCHES: usize = 16;
/// Look-alikes per group.
const BUNCH: usize = 32;

/// The measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// R² of a linear probe for each of [`Quantity::ALL`], from frame features of objects of
    /// all looks: 1 if the features encode it linearly, 0 if they are no better than its mean.
    pub r2: [f64; 5],
    /// Fraction of stills whose own caption has the highest score among those of 32
    /// stills of the same object; chance is 1 in 32.
    pub retrieval: f64,
}

/// Measures the checkpoint in `folder` on stills of `seed`, which training never draws.
///
/// # Errors
/// Any error of opening the checkpoint.
pub fn measure(folder: &Path, seed: u64) -> Result<Quality> {
    let _guard = tch::no_grad_guard();
    let checkpoint = Checkpoint::open(folder)?;
    let clip = checkpoint.load(Usage::Frozen, Device::Cpu, Kind::Float)?;
    let (preprocess, tokenizer) = (checkpoint.preprocess(), checkpoint.tokenizer()?);
    let stills = Stills::of_any_look(seed, "probe", FITTED + TESTED);
    let features = frame_features(&clip, preprocess, &stills)?;
    let mut right = 0.0;
    for number in 0..BUNCHES {
        let stills = Stills::of_one_look(seed, &format!("retrieval {number}"), BUNCH);
        let seen = unit(&frame_features(&clip, preprocess, &stills)?);
        let told = unit(
            &clip
                .text
                .forward(&tokenizer.encode_batch(&stills.captions))?,
        );
        let nearest = seen.matmul(&told.tr()).argmax(1, false);
        let own = Tensor::arange(BUNCH as i64, (Kind::Int64, seen.device()));
        right += nearest.eq_tensor(&own).sum(Kind::Double).double_value(&[]);
    }
    Ok(Quality {
        r2: probe(&features, &stills)?,
        retrieval: right / (BUNCHES * BUNCH) as f64,
    })
}

/// `[N, D]`
fn frame_features(clip: &ClipModel, preprocess: &Preprocess, stills: &Stills) -> Result<Tensor> {
    let parts = stills
        .pictures()?
        .split(128, 0)
        .iter()
        .map(|part| Ok(clip.vision.forward(&preprocess.normalise(part)?)?))
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::f_cat(&parts, 0)?)
}

/// Ridge regression of every quantity, fitted to the first stills and tested on the last.
fn probe(features: &Tensor, stills: &Stills) -> Result<[f64; 5]> {
    let features = features.to_kind(Kind::Double);
    let (fitted, tested) = (FITTED as i64, TESTED as i64);
    let known = features.narrow(0, 0, fitted);
    let mean = known.mean_dim(0, true, Kind::Double);
    let x = (&features - &mean) / known.std_dim(0, false, true).clamp_min(1e-12);
    let states: Vec<f64> = stills.states.iter().flat_map(|state| state.0).collect();
    let y = Tensor::from_slice(&states).f_view([fitted + tested, 5])?;
    let offset = y.narrow(0, 0, fitted).mean_dim(0, true, Kind::Double);
    let (a, b) = (x.narrow(0, 0, fitted), y.narrow(0, 0, fitted) - &offset);
    let penalty = Tensor::eye(a.size()[1], (Kind::Double, a.device())) * PENALTY;
    let weights = Tensor::f_linalg_solve(&(a.tr().matmul(&a) + penalty), &a.tr().matmul(&b), true)?; // (D, 5)
    let truth = y.narrow(0, fitted, tested);
    let guess: Tensor = x.narrow(0, fitted, tested).matmul(&weights) + offset;
    let missed = (guess - &truth).square();
    let spread = (&truth - truth.mean_dim(0, true, Kind::Double)).square();
    let total = |squares: &Tensor| squares.sum_dim_intlist(0i64, false, Kind::Double);
    let r2: Tensor = 1.0 - total(&missed) / total(&spread); // (5)
    Ok(std::array::from_fn(|place| {
        r2.double_value(&[place as i64])
    }))
}

pub(super) fn unit(features: &Tensor) -> Tensor {
    features / features.norm_scalaropt_dim(2.0, [-1], true)
}

impl fmt::Display for Quality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "R² of a linear probe on frame features:")?;
        for (quantity, r2) in Quantity::ALL.into_iter().zip(self.r2) {
            writeln!(formatter, "  {:<10}{r2:6.3}", quantity.name())?;
        }
        write!(
            formatter,
            "own caption nearest among {} of the same object: {:.1} % (chance {:.1} %)",
            BUNCH,
            100.0 * self.retrieval,
            100.0 / BUNCH as f64
        )
    }
}
