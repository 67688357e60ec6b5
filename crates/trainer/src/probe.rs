//! The linear probe: what the frozen features say without any of the method.

use tch::{Kind, Tensor};

use crate::evaluate::Scored;
use crate::{Error, Result};

/// Strength of the L2 penalty: the loss is the sum over clips plus half the squared weights,
/// scikit-learn's default (C = 1).
const PENALTY: f64 = 1.0;
const NEWTON_STEPS: usize = 50;
const CG_STEPS: usize = 200;

/// Multinomial logistic regression on the standardised mean of the frame features.
#[derive(Debug)]
pub struct Probe {
    mean: Tensor,
    deviation: Tensor,
    /// `[D + 1, K]`; the last row is the bias, which is not penalised.
    weights: Tensor,
}

impl Probe {
    /// Fits to features `[N, V, T, D]` (the first view) of clips of `classes`, `[N]`.
    ///
    /// Newton's method on a convex loss, each step by conjugate gradients: there is one
    /// answer and nothing to tune.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where features and classes do not fit.
    pub fn fit(features: &Tensor, classes: &[i64], count: usize) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        let x = means(features)?.select(1, 0); // (N, D)
        let (n, _) = x.size2()?;
        if n != classes.len() as i64 || n == 0 {
            return Err(Error::mismatch("probe features", classes.len(), n));
        }
        let mean = x.mean_dim(0, true, Kind::Double);
        let deviation = x.std_dim(0, false, true);
        // A feature that never changes says nothing; it is left as it is.
        let deviation = deviation.where_self(&deviation.gt(1e-12), &deviation.ones_like());
        let x = with_bias(&((&x - &mean) / &deviation));
        let truth = Tensor::from_slice(classes)
            .f_one_hot(count as i64)?
            .to_kind(Kind::Double);
        let penalty = Tensor::full([x.size()[1], 1], PENALTY, (Kind::Double, x.device()));
        let _ = penalty.narrow(0, x.size()[1] - 1, 1).fill_(0.0);
        let weights = newton(&x, &truth, &penalty);
        Ok(Self {
            mean,
            deviation,
            weights,
        })
    }

    /// Scores features `[N, V, T, D]`, the mean of the views' probabilities.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the width is another than the fitted one.
    pub fn score(&self, features: &Tensor, labels: Vec<usize>) -> Result<Scored> {
        let _guard = tch::no_grad_guard();
        let x = means(features)?; // (N, V, D)
        if x.size().last() != self.mean.size().last() {
            return Err(Error::mismatch(
                "probe features",
                format!("{:?}", self.mean.size()),
                format!("{:?}", x.size()),
            ));
        }
        let x = with_bias(&((x - &self.mean) / &self.deviation));
        let logits = x.f_matmul(&self.weights)?; // (N, V, K)
        let scores = logits
            .softmax(-1, Kind::Double)
            .mean_dim(1, false, Kind::Double);
        Ok(Scored {
            probabilities: Vec::<f32>::try_from(scores.to_kind(Kind::Float).contiguous().view(-1))?,
            labels,
            classes: usize::try_from(self.weights.size()[1]).unwrap_or(0),
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

/// A column of ones behind the others.
fn with_bias(x: &Tensor) -> Tensor {
    let mut size = x.size();
    if let Some(last) = size.last_mut() {
        *last = 1;
    }
    Tensor::cat(
        &[
            x.shallow_clone(),
            Tensor::ones(size, (Kind::Double, x.device())),
        ],
        -1,
    )
}

fn newton(x: &Tensor, truth: &Tensor, penalty: &Tensor) -> Tensor {
    let loss = |w: &Tensor| {
        let fit = -(x.matmul(w).log_softmax(-1, Kind::Double) * truth).sum(Kind::Double);
        (fit + (penalty * w.square()).sum(Kind::Double) * 0.5).double_value(&[])
    };
    let mut w = Tensor::zeros([x.size()[1], truth.size()[1]], (Kind::Double, x.device()));
    let mut last = loss(&w);
    for _ in 0..NEWTON_STEPS {
        let p = x.matmul(&w).softmax(-1, Kind::Double); // (N, K)
        let gradient = x.tr().matmul(&(&p - truth)) + penalty * &w;
        if gradient.abs().max().double_value(&[]) < 1e-8 {
            break;
        }
        // The Hessian times v, without the Hessian. A little is added, for a shift of all
        // biases at once changes nothing.
        let curve = |v: &Tensor| {
            let u = x.matmul(v); // (N, K)
            let inner = &p * (&u - (&p * &u).sum_dim_intlist(-1i64, true, Kind::Double));
            x.tr().matmul(&inner) + penalty * v + v * 1e-9
        };
        let step = conjugate_gradients(&curve, &gradient);
        let mut size = 1.0;
        loop {
            let next = &w - &step * size;
            let reached = loss(&next);
            if reached <= last || size < 1e-6 {
                w = next;
                last = reached;
                break;
            }
            size *= 0.5;
        }
    }
    w
}

/// Solves `curve(x) = b`.
fn conjugate_gradients(curve: &dyn Fn(&Tensor) -> Tensor, b: &Tensor) -> Tensor {
    let dot = |a: &Tensor, b: &Tensor| (a * b).sum(Kind::Double).double_value(&[]);
    let mut x = b.zeros_like();
    let mut rest = b.copy();
    let mut direction = b.copy();
    let mut squares = dot(&rest, &rest);
    let enough = squares * 1e-16;
    for _ in 0..CG_STEPS {
        if squares <= enough {
            break;
        }
        let bent = curve(&direction);
        let along = squares / dot(&direction, &bent);
        x += &direction * along;
        rest -= bent * along;
        let next = dot(&rest, &rest);
        direction = &rest + direction * (next / squares);
        squares = next;
    }
    x
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
    fn at_the_optimum_the_gradient_is_zero() {
        let x = clips(&[[0.0, 1.0], [1.0, 0.5], [2.0, -1.0], [-1.0, 0.2], [0.4, 2.0]]);
        let probe = Probe::fit(&x, &[0, 1, 2, 0, 1], 3).unwrap();
        let z = with_bias(&((means(&x).unwrap().select(1, 0) - &probe.mean) / &probe.deviation));
        let p = z.matmul(&probe.weights).softmax(-1, Kind::Double);
        let truth = Tensor::from_slice(&[0i64, 1, 2, 0, 1]).one_hot(3);
        let mut gradient = z.tr().matmul(&(p - truth));
        let weights = probe.weights.narrow(0, 0, 2);
        let _ = gradient.narrow(0, 0, 2).g_add_(&weights);
        assert!(gradient.abs_().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn it_agrees_with_the_closed_form_of_one_feature_on_two_symmetric_clips() {
        // x = +-1 after standardising, bias 0, w = (a, -a): minimise 2 ln(1 + e^(-2a)) + a^2,
        // so 2a = 4 e^(-2a) / (1 + e^(-2a)).
        let x = clips(&[[3.0, 7.0], [-3.0, 7.0]]);
        let probe = Probe::fit(&x, &[0, 1], 2).unwrap();
        let a = probe.weights.double_value(&[0, 0]);
        let e = (-2.0 * a).exp();
        assert!((2.0 * a - 4.0 * e / (1.0 + e)).abs() < 1e-6, "{a}");
        assert!((probe.weights.double_value(&[0, 1]) + a).abs() < 1e-8);
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
