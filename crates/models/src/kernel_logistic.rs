//! Multinomial logistic regression in the span of its rows: for many candidates over few clips.
//!
//! With z_i the rows and W = Σ_i z_i α_iᵀ, the loss Σ_i w_i CE(Wᵀ z_i + b, y_i) + λ/2 |W|² depends
//! on the rows through their products G = Z Zᵀ alone, whatever their width, and products of
//! concatenated blocks are sums. The bias is not penalised. Newton's method; each step by conjugate
//! gradients in the geometry of the weights, where one step takes one product with G.
//!
//! Thousands of regressions over tens of clips are too small for libtorch's operations, so these are
//! plain loops in double precision, each regression on one thread.

use ndarray::ArrayView2;

const NEWTON_STEPS: usize = 60;
const CG_STEPS: usize = 250;
/// Norm of the gradient, relative to that at zero, at which the minimum is reached.
const REACHED: f64 = 1e-7;
/// Squared norm of the rest, relative to the gradient's, at which conjugate gradients stop; the next
/// step of Newton's method goes on.
const CLOSE_ENOUGH: f64 = 1e-4;
/// Adding a constant to all biases changes nothing: a small multiple makes the curvature definite.
const DEFINITE: f64 = 1e-9;

/// The problem but for its penalty.
pub(crate) struct KernelLogistic<'a> {
    /// G, `[N, N]`.
    pub products: &'a [f64],
    /// The class of each row, below K.
    pub classes: &'a [usize],
    /// K
    pub count: usize,
    /// w, one for each row.
    pub weights: &'a [f64],
}

/// A solution, or where to start from, or a change of it.
#[derive(Debug, Clone)]
pub(crate) struct Solution {
    /// α, `[N, K]`.
    pub rows: Vec<f64>,
    /// b, `[K]`.
    pub bias: Vec<f64>,
    /// G α, `[N, K]`.
    scores: Vec<f64>,
}

impl Solution {
    /// The product in the geometry of the weights.
    fn dot(&self, other: &Self) -> f64 {
        dot(&self.scores, &other.rows) + dot(&self.bias, &other.bias)
    }

    /// Adds `factor` times `other`.
    fn add(&mut self, other: &Self, factor: f64) {
        add(&mut self.rows, &other.rows, factor);
        add(&mut self.bias, &other.bias, factor);
        add(&mut self.scores, &other.scores, factor);
    }

    /// Multiplies by `factor` and adds `other`.
    fn scale_and_add(&mut self, factor: f64, other: &Self) {
        for (own, other) in [
            (&mut self.rows, &other.rows),
            (&mut self.bias, &other.bias),
            (&mut self.scores, &other.scores),
        ] {
            for (own, other) in own.iter_mut().zip(other) {
                *own = *own * factor + other;
            }
        }
    }
}

impl KernelLogistic<'_> {
    /// α = 0, b = 0.
    pub(crate) fn zero(&self) -> Solution {
        let nothing = vec![0.0; self.classes.len() * self.count];
        Solution {
            rows: nothing.clone(),
            bias: vec![0.0; self.count],
            scores: nothing,
        }
    }

    /// The minimum under a penalty λ > 0, from `start`.
    pub(crate) fn fit(&self, penalty: f64, start: Solution) -> Solution {
        let zero = self.gradient(&self.zero(), penalty).1;
        let enough = zero.dot(&zero) * REACHED * REACHED;
        let mut at = start;
        let mut loss = self.loss(&at, penalty);
        for _ in 0..NEWTON_STEPS {
            let (shares, gradient) = self.gradient(&at, penalty);
            if gradient.dot(&gradient) <= enough {
                break;
            }
            let step = self.newton_step(&shares, gradient, penalty);
            let mut size = 1.0;
            loop {
                let mut next = at.clone();
                next.add(&step, -size);
                let reached = self.loss(&next, penalty);
                if reached <= loss || size < 1e-6 {
                    (at, loss) = (next, reached);
                    break;
                }
                size *= 0.5;
            }
        }
        at
    }

    /// The penalised loss.
    pub(crate) fn loss(&self, at: &Solution, penalty: f64) -> f64 {
        let mut logits = vec![0.0; self.count];
        let rows = at.scores.chunks_exact(self.count);
        let each = rows.zip(self.classes).zip(self.weights);
        let fit: f64 = each
            .map(|((scores, class), weight)| {
                sum(&mut logits, scores, &at.bias);
                let largest = logits.iter().copied().fold(f64::MIN, f64::max);
                let all: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
                weight * (largest + all.ln() - logits[*class])
            })
            .sum();
        fit + 0.5 * penalty * dot(&at.rows, &at.scores)
    }

    /// The probabilities, `[N, K]`, and the gradient.
    fn gradient(&self, at: &Solution, penalty: f64) -> (Vec<f64>, Solution) {
        let mut shares = at.scores.clone();
        let mut miss = Vec::with_capacity(shares.len());
        let each = shares.chunks_exact_mut(self.count).zip(self.classes);
        for ((row, class), weight) in each.zip(self.weights) {
            add(row, &at.bias, 1.0);
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            row.iter_mut().for_each(|x| *x = (*x - largest).exp());
            let all: f64 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= all);
            let start = miss.len();
            miss.extend(row.iter().map(|share| share * weight));
            miss[start + class] -= weight;
        }
        let mut rows = miss.clone();
        add(&mut rows, &at.rows, penalty);
        (shares, self.change(rows, &miss))
    }

    /// A change of the rows, and of the bias by a change of the logits.
    fn change(&self, rows: Vec<f64>, logits: &[f64]) -> Solution {
        let mut bias = vec![0.0; self.count];
        for row in logits.chunks_exact(self.count) {
            add(&mut bias, row, 1.0);
        }
        let scores = product(self.products, &rows, self.classes.len(), self.count);
        Solution { rows, bias, scores }
    }

    /// The Hessian's inverse times `gradient`.
    fn newton_step(&self, shares: &[f64], gradient: Solution, penalty: f64) -> Solution {
        let mut squares = gradient.dot(&gradient);
        let enough = squares * CLOSE_ENOUGH;
        let mut step = self.zero();
        let mut along = gradient.clone();
        let mut rest = gradient;
        for _ in 0..CG_STEPS {
            if squares <= enough {
                break;
            }
            let bent = self.curve(shares, &along, penalty);
            let size = squares / along.dot(&bent);
            step.add(&along, size);
            rest.add(&bent, -size);
            let next = rest.dot(&rest);
            along.scale_and_add(next / squares, &rest);
            squares = next;
        }
        step
    }

    /// The Hessian times `v`.
    fn curve(&self, shares: &[f64], v: &Solution, penalty: f64) -> Solution {
        let mut bent = v.scores.clone();
        let each = bent.chunks_exact_mut(self.count);
        let each = each.zip(shares.chunks_exact(self.count)).zip(self.weights);
        for ((row, shares), weight) in each {
            add(row, &v.bias, 1.0);
            let mean = dot(row, shares);
            for (x, share) in row.iter_mut().zip(shares) {
                *x = share * (*x - mean) * weight;
            }
        }
        let mut rows = bent.clone();
        add(&mut rows, &v.rows, penalty);
        let mut curved = self.change(rows, &bent);
        add(&mut curved.bias, &v.bias, DEFINITE);
        curved
    }
}

/// `[M, N]` times `[N, K]`, row-major.
pub(crate) fn product(left: &[f64], right: &[f64], n: usize, k: usize) -> Vec<f64> {
    let left = ArrayView2::from_shape((left.len() / n.max(1), n), left);
    match (left, ArrayView2::from_shape((n, k), right)) {
        (Ok(left), Ok(right)) => left.dot(&right).into_raw_vec_and_offset().0,
        _ => Vec::new(),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(crate) fn add(to: &mut [f64], other: &[f64], factor: f64) {
    for (to, other) in to.iter_mut().zip(other) {
        *to += other * factor;
    }
}

fn sum(out: &mut [f64], a: &[f64], b: &[f64]) {
    for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = a + b;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::LogisticRegression;

    #[test]
    fn it_agrees_with_the_regression_over_features() {
        tch::manual_seed(2);
        let rows = Tensor::randn([12, 30], (Kind::Double, Device::Cpu));
        let classes: Vec<usize> = (0..12).map(|row| row % 3).collect();
        let numbers: Vec<i64> = classes.iter().map(|class| *class as i64).collect();
        let plain = LogisticRegression::fit(&rows, &numbers, 3, None).unwrap();
        let spread = rows.std_dim(0, false, true);
        let z = (&rows - rows.mean_dim(0, true, Kind::Double)) / spread;
        let products = Vec::<f64>::try_from(z.matmul(&z.tr()).view(-1)).unwrap();
        let problem = KernelLogistic {
            products: &products,
            classes: &classes,
            count: 3,
            weights: &[1.0; 12],
        };
        let shares = |solved: &Solution| {
            let scores = Tensor::from_slice(&solved.scores).view([12, 3]);
            (scores + Tensor::from_slice(&solved.bias)).softmax(-1, Kind::Double)
        };
        let solved = problem.fit(1.0, problem.zero());
        let expected = plain.logits(&rows).unwrap().softmax(-1, Kind::Double);
        let off = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        assert!(off(&shares(&solved), &expected) < 1e-6);
        // From elsewhere to the same place.
        let again = problem.fit(1.0, problem.fit(30.0, problem.zero()));
        assert!(off(&shares(&again), &expected) < 1e-6);
    }
}
