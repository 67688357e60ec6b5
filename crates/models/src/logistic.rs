//! Multinomial logistic regression: a convex problem with one solution and no tuning.

use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Strength of the L2 penalty: the loss is the sum over rows plus half the squared weights,
/// scikit-learn's default (C = 1).
const PENALTY: f64 = 1.0;
const NEWTON_STEPS: usize = 50;
const CG_STEPS: usize = 200;
/// Fraction of the squared gradient at which conjugate gradients stop; the next step goes on.
const CLOSE_ENOUGH: f64 = 1e-4;
/// Standard deviation below which a feature counts as constant.
const STILL: f64 = 1e-12;

/// Numbers in the rows from which on one operation is worth several threads.
const LARGE: usize = 1 << 17;

/// Linear scores of K classes, fitted on standardised features.
#[derive(Debug)]
pub struct LogisticRegression {
    /// `[D, K]`, for the features before standardisation.
    pub weights: Tensor,
    /// `[K]`
    pub bias: Tensor,
}

impl LogisticRegression {
    /// Fits rows `[N, D]` of `classes`, `[N]`, each below `count`, in double precision.
    ///
    /// Every feature is standardised, then multiplied by its `emphasis`, `[D]`, if given: one
    /// below 1 is penalised more. The bias is not penalised. Newton's method, each step by
    /// conjugate gradients.
    ///
    /// # Errors
    /// [`Error::Shape`] if the rows do not fit the classes or there are none;
    /// [`Error::TargetClass`] for a class that is not below `count`.
    pub fn fit(
        rows: &Tensor,
        classes: &[i64],
        count: usize,
        emphasis: Option<&Tensor>,
    ) -> Result<Self> {
        let solve = || tch::no_grad(|| Self::solve(rows, classes, count, emphasis));
        match rows.numel() < LARGE {
            true => solve(),
            false => parallel::whole(rows.device(), solve),
        }
    }

    fn solve(
        rows: &Tensor,
        classes: &[i64],
        count: usize,
        emphasis: Option<&Tensor>,
    ) -> Result<Self> {
        let size = rows.size();
        if size.len() != 2 || size[0] != classes.len() as i64 || classes.is_empty() {
            return Err(Error::Shape {
                op: "logistic regression",
                expected: format!("[{}, D], at least one row", classes.len()),
                got: size,
            });
        }
        let most = count as i64 - 1;
        if let Some(&got) = classes.iter().find(|class| !(0..=most).contains(*class)) {
            return Err(Error::TargetClass { most, got });
        }
        let rows = &rows.to_kind(Kind::Double);
        let mean = rows.mean_dim(0, true, Kind::Double);
        let spread = rows.std_dim(0, false, true);
        // A constant feature carries no information; it is left unscaled.
        let spread = spread.where_self(&spread.gt(STILL), &spread.ones_like());
        let scale = match emphasis {
            Some(emphasis) => emphasis.to_kind(Kind::Double) / spread,
            None => spread.reciprocal(),
        }; // (1, D)
        let ones = Tensor::ones([size[0], 1], (Kind::Double, rows.device()));
        let x = Tensor::f_cat(&[(rows - &mean) * &scale, ones], 1)?; // (N, D + 1)
        let truth = Tensor::from_slice(classes)
            .f_one_hot(count as i64)?
            .to_device(rows.device())
            .to_kind(Kind::Double);
        let penalty = Tensor::full([size[1] + 1, 1], PENALTY, (Kind::Double, x.device()));
        let _ = penalty.narrow(0, size[1], 1).fill_(0.0);
        let fitted = newton(&x, &truth, &penalty); // (D + 1, K)
        let weights = fitted.narrow(0, 0, size[1]) * scale.tr();
        let bias = fitted.select(0, size[1]) - mean.matmul(&weights).squeeze_dim(0);
        Ok(Self { weights, bias })
    }

    /// Scores of rows `[.., D]` before softmax: `[.., K]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width is not the fitted one.
    pub fn logits(&self, rows: &Tensor) -> Result<Tensor> {
        let size = rows.size();
        if size.last() != self.weights.size().first() {
            return Err(Error::Shape {
                op: "logistic regression",
                expected: format!("[.., {}]", self.weights.size()[0]),
                got: size,
            });
        }
        let rows = rows.to_kind(Kind::Double);
        Ok(rows.f_matmul(&self.weights)?.f_add(&self.bias)?)
    }
}

/// The weights `[D + 1, K]` that minimise the penalised loss of `x`, `[N, D + 1]`.
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
        // The Hessian times v, without forming the Hessian. A small multiple of v is added, because
        // adding a constant to all biases changes nothing.
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
    let enough = squares * CLOSE_ENOUGH;
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

    fn rows(values: &[[f64; 2]]) -> Tensor {
        let flat: Vec<f64> = values.iter().flatten().copied().collect();
        Tensor::from_slice(&flat).view([values.len() as i64, 2])
    }

    #[test]
    fn at_the_optimum_the_gradient_is_zero() {
        let x = rows(&[[0.0, 1.0], [1.0, 0.5], [2.0, -1.0], [-1.0, 0.2], [0.4, 2.0]]);
        for emphasis in [None, Some(Tensor::from_slice(&[1.0, 0.3]))] {
            let classes = [0i64, 1, 2, 0, 1];
            let fitted = LogisticRegression::fit(&x, &classes, 3, emphasis.as_ref()).unwrap();
            let p = fitted.logits(&x).unwrap().softmax(-1, Kind::Double);
            let miss = p - Tensor::from_slice(&classes).one_hot(3);
            // In the standardised features, where the penalty is on the weights.
            let spread = x.std_dim(0, false, true);
            let scale = match &emphasis {
                Some(emphasis) => emphasis / &spread,
                None => spread.reciprocal(),
            };
            let z = (&x - x.mean_dim(0, true, Kind::Double)) * &scale;
            let gradient = z.tr().matmul(&miss) + &fitted.weights / scale.tr();
            assert!(gradient.abs().max().double_value(&[]) < 1e-6);
            let bias = miss.sum_dim_intlist(0, false, Kind::Double);
            assert!(bias.abs().max().double_value(&[]) < 1e-6);
        }
    }

    #[test]
    fn it_agrees_with_the_closed_form_of_one_feature_on_two_symmetric_rows() {
        // x = +-1 after standardising, bias 0, w = (a, -a): minimise 2 ln(1 + e^(-2a)) + a^2,
        // so 2a = 4 e^(-2a) / (1 + e^(-2a)).
        let x = rows(&[[3.0, 7.0], [-3.0, 7.0]]);
        let fitted = LogisticRegression::fit(&x, &[0, 1], 2, None).unwrap();
        let a = 3.0 * fitted.weights.double_value(&[0, 0]);
        let e = (-2.0 * a).exp();
        assert!((2.0 * a - 4.0 * e / (1.0 + e)).abs() < 1e-6, "{a}");
        assert!((3.0 * fitted.weights.double_value(&[0, 1]) + a).abs() < 1e-8);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let x = rows(&[[3.0, 7.0], [-3.0, 7.0]]);
        let fit = |classes: &[i64]| LogisticRegression::fit(&x, classes, 2, None);
        assert!(matches!(fit(&[0]), Err(Error::Shape { .. })));
        assert!(matches!(
            fit(&[0, 2]),
            Err(Error::TargetClass { got: 2, .. })
        ));
        let fitted = fit(&[0, 1]).unwrap();
        assert!(fitted.logits(&x.narrow(1, 0, 1)).is_err());
    }
}
