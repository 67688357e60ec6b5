//! The difference set, Eq. 4.

use layers::tch::Tensor;

use crate::error::invalid;
use crate::{Error, Result};

/// The differences of T frames: all pairs at most s apart.
///
/// The order is gap-major: for every gap i = 1..s, for every start t = 0..T-1-i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DifferenceSet {
    frames: i64,
    max_step: i64,
}

impl DifferenceSet {
    /// The differences of `frames` frames (T) at most `max_step` (s) apart.
    ///
    /// # Errors
    /// [`Error::Config`] unless 1 <= s < T.
    pub fn new(frames: i64, max_step: i64) -> Result<Self> {
        if !(2..=1 << 20).contains(&frames) {
            return Err(invalid("frames", "at least 2", frames));
        }
        if !(1..frames).contains(&max_step) {
            let expected = format!("1 to {} for {frames} frames", frames - 1);
            return Err(invalid("max_step", expected, max_step));
        }
        Ok(Self { frames, max_step })
    }

    /// L, the number of differences: the sum over i = 1..s of T - i.
    pub fn count(self) -> i64 {
        self.max_step * self.frames - self.max_step * (self.max_step + 1) / 2
    }

    /// (start, gap) of each difference, in order.
    pub fn pairs(self) -> impl Iterator<Item = (i64, i64)> {
        (1..=self.max_step).flat_map(move |gap| (0..self.frames - gap).map(move |t| (t, gap)))
    }

    /// The differences themselves: frame features `[B, T, D]` to `[B, L, D]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `frames` is not `[B, T, D]`.
    pub fn forward(self, frames: &Tensor) -> Result<Tensor> {
        let size = frames.size();
        if size.len() != 3 || size[1] != self.frames {
            return Err(Error::Shape {
                op: "difference set",
                expected: format!("[B, {}, D]", self.frames),
                got: size,
            });
        }
        let gaps: Vec<Tensor> = (1..=self.max_step)
            .map(|gap| {
                let length = self.frames - gap;
                frames.narrow(1, gap, length) - frames.narrow(1, 0, length)
            })
            .collect();
        Ok(Tensor::f_cat(&gaps, 1)?)
    }
}
