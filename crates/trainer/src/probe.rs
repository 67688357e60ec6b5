//! The linear probe: what the frozen features say without any of the method.

use models::LogisticRegression;
use tch::{Kind, Tensor};

use crate::evaluate::Scored;
use crate::{Error, Result};

/// Multinomial logistic regression on the standardised mean of the frame features.
#[derive(Debug)]
pub struct Probe(LogisticRegression);

impl Probe {
    /// Fits to features `[N, V, T, D]` (the first view) of clips of `classes`, `[N]`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where features and classes do not fit.
    pub fn fit(features: &Tensor, classes: &[i64], count: usize) -> Result<Self> {
        let rows = means(features)?.f_select(1, 0)?; // (N, D)
        Ok(Self(LogisticRegression::fit(&rows, classes, count, None)?))
    }

    /// Scores features `[N, V, T, D]`, the mean of the views' probabilities.
    ///
    /// # Errors
    /// [`Error::Model`] where the width is another than the fitted one.
    pub fn score(&self, features: &Tensor, labels: Vec<usize>) -> Result<Scored> {
        let _guard = tch::no_grad_guard();
        let logits = self.0.logits(&means(features)?)?; // (N, V, K)
        let scores = logits
            .softmax(-1, Kind::Double)
            .mean_dim(1, false, Kind::Double);
        Ok(Scored {
            classes: usize::try_from(scores.size2()?.1).unwrap_or(0),
            probabilities: Vec::<f32>::try_from(scores.to_kind(Kind::Float).contiguous().view(-1))?,
            labels,
        })
    }
}

/// `[N, V, T, D]` to `[N, V, D]` in double precision.
fn means(features: &Tensor) -> Result<Tensor> {
    if features.dim() != 4 {
        return Err(Error::mismatch(
            "probe features",
            "[N, V, T, D]",
            format!("{:?}", features.size()),
        ));
    }
    Ok(features.mean_dim(2, false, Kind::Double))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn clips(values: &[[f64; 2]]) -> Tensor {
        let flat: Vec<f64> = values.iter().flatten().copied().collect();
        Tensor::from_slice(&flat).view([values.len() as i64, 1, 1, 2])
    }

    #[test]
    fn separable_classes_are_told_apart() {
        let x = clips(&[[5.0, 0.0], [5.1, 0.2], [0.0, 5.0], [0.3, 5.2]]);
        let probe = Probe::fit(&x, &[0, 0, 1, 1], 2).unwrap();
        let scored = probe.score(&x, vec![0, 0, 1, 1]).unwrap();
        assert_eq!(scored.accuracy().unwrap().top1, 1.0);
        assert!(
            probe
                .score(&clips(&[[1.0, 1.0]]).narrow(3, 0, 1), vec![0])
                .is_err()
        );
    }
}
