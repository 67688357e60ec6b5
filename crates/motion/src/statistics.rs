//! Linear and second-order statistics of a clip over time.

use layers::tch::{Kind, Tensor};

/// The statistics of each feature over the frames of a clip, beside its mean: the first two
/// coefficients of the discrete cosine transform, Σ_t cos(π j (t + 1/2) / T) x_t, which see the order
/// of the frames (a drift, a bend), and the standard deviation, which sees how much they change.
#[derive(Debug)]
pub struct TimeStatistics {
    /// `[2, T]`
    cosines: Tensor,
}

impl TimeStatistics {
    /// Statistics of a feature.
    pub const COUNT: i64 = 3;

    /// Of clips of `frames` frames (T).
    pub fn new(frames: i64) -> Self {
        let angle = |j: i64, t: i64| {
            (std::f64::consts::PI * j as f64 * (t as f64 + 0.5) / frames as f64).cos()
        };
        let rows = (1..Self::COUNT).flat_map(|j| (0..frames).map(move |t| angle(j, t) as f32));
        Self {
            cosines: Tensor::from_slice(&rows.collect::<Vec<_>>()).view([2, frames]),
        }
    }

    /// `[B, T, D]` to the coefficients 1 and 2 and the deviation, `[B, 3, D]`, in fp32.
    pub fn forward(&self, frames: &Tensor) -> Tensor {
        let frames = frames.to_kind(Kind::Float);
        let cosines = self.cosines.to_device(frames.device());
        let deviation = frames.std_dim(&[1i64][..], false, true); // (B, 1, D)
        Tensor::cat(&[cosines.matmul(&frames), deviation], 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_a_bend_and_a_change_are_told_apart() {
        let frames = Tensor::from_slice(&[
            1f32, 2.0, 3.0, 4.0, // a drift
            1.0, 0.0, 0.0, 1.0, // a bend
            5.0, 5.0, 5.0, 5.0, // nothing
        ]);
        let seen = TimeStatistics::new(4).forward(&frames.view([3, 4, 1]));
        let at = |clip, statistic| seen.double_value(&[clip, statistic, 0]);
        assert!(at(0, 0) < -1.0 && at(0, 1).abs() < 1e-6);
        assert!(at(1, 0).abs() < 1e-6 && at(1, 1) > 1.0);
        assert!((at(0, 2) - 1.25f64.sqrt()).abs() < 1e-6 && (at(1, 2) - 0.5).abs() < 1e-6);
        assert!((0..3).all(|statistic| at(2, statistic).abs() < 1e-5));
    }
}
