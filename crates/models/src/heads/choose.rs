//! Hyper-parameters by cross-validation over the training clips.

use tch::{Kind, Tensor};

use super::{Method, Scorer, Shots};
use crate::Result;

/// Factors of the scores from 2^-6 to 2^8: settings are compared by how well they separate
/// held-out clips, not by the scale of their scores.
const TEMPERATURES: std::ops::RangeInclusive<i32> = -6..=8;

/// A fitted scorer and what was chosen for it.
#[derive(Debug)]
pub(super) struct Choice {
    /// Its scores are multiplied by the factor with the lowest held-out cross-entropy.
    pub scorer: Scorer,
    /// The setting, for the log.
    pub setting: String,
    /// Mean cross-entropy of held-out clips, if there was a choice.
    pub held_out_loss: Option<f64>,
}

/// Fits the setting with the lowest cross-entropy on the clips of each of the `folds`, held out, to all
/// of `shots`; the first of equal ones. A method with one setting is fitted as it is, and so is the
/// first setting without folds.
pub(super) fn choose<M: Method>(shots: &Shots, folds: Option<&[Vec<usize>]>) -> Result<Choice> {
    let settings = M::settings();
    let folds = folds.filter(|_| settings.len() > 1);
    let (mut setting, mut factor, mut loss) = (0, 1.0, None);
    if let Some(folds) = folds {
        let mut logits: Vec<Vec<Tensor>> = settings.iter().map(|_| Vec::new()).collect();
        let mut truth = Vec::new();
        for held in folds {
            let held_out = shots.part(held);
            let rest = (0..shots.classes.len()).filter(|clip| !held.contains(clip));
            let trained = M::fit(&shots.part(&rest.collect::<Vec<_>>()), &settings)?;
            for (scorer, all) in trained.iter().zip(&mut logits) {
                all.push(scorer.logits(&held_out.features));
            }
            truth.push(held_out.truth());
        }
        let truth = Tensor::f_cat(&truth, 0)?;
        let mut best = f64::INFINITY;
        for (candidate, logits) in logits.iter().enumerate() {
            let logits = Tensor::f_cat(logits, 0)?;
            for power in TEMPERATURES {
                let with = 2f64.powi(power);
                let mean = cross_entropy(&(&logits * with), &truth);
                if mean < best {
                    (setting, factor, best) = (candidate, with, mean);
                }
            }
        }
        loss = Some(best);
    }
    let chosen: Vec<M::Setting> = settings.into_iter().skip(setting).take(1).collect();
    let scorer = M::fit(shots, &chosen)?.into_iter().next();
    let scorer = scorer.ok_or(crate::Error::NotFinite {
        tensor: "held-out cross-entropy",
    })?;
    Ok(Choice {
        scorer: scorer.scaled(factor),
        setting: chosen
            .first()
            .map_or_else(String::new, |chosen| format!("{chosen:?}")),
        held_out_loss: loss,
    })
}

fn cross_entropy(logits: &Tensor, truth: &Tensor) -> f64 {
    let log = logits.log_softmax(-1, Kind::Double);
    -log.gather(1, &truth.unsqueeze(1), false)
        .mean(Kind::Double)
        .double_value(&[])
}
