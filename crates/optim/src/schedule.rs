//! The length of a run, and its learning rate.

use serde::{Deserialize, Serialize};

/// The steps of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Length {
    /// Steps per epoch; the last, incomplete batch is one of them.
    pub epoch_steps: u64,
    /// Whole epochs.
    pub epochs: u64,
}

impl Length {
    /// `epochs` over `clips` in batches of `batch`, and more epochs if that is fewer
    /// than `min_steps` steps (the few-shot rule: 50 epochs or 1,500 steps, whichever is more).
    ///
    /// Empty for no clips or no batch.
    pub fn new(clips: usize, batch: usize, epochs: u64, min_steps: u64) -> Self {
        let epoch_steps = if batch == 0 {
            0
        } else {
            clips.div_ceil(batch) as u64
        };
        let epochs = if epoch_steps == 0 {
            0
        } else {
            epochs.max(min_steps.div_ceil(epoch_steps))
        };
        Self {
            epoch_steps,
            epochs,
        }
    }

    /// The steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.epoch_steps * self.epochs
    }
}

/// The kind of warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarmUp {
    /// A small constant rate (the CoOp family's 1e-5 for one epoch).
    Constant,
    /// A linear rise to the full rate.
    Linear,
}

/// Cosine to zero after a warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The full learning rate.
    pub rate: f64,
    /// The kind of warm-up.
    pub warm_up: WarmUp,
    /// Its rate, if constant.
    pub warm_up_rate: f64,
    /// Its length in steps.
    pub warm_up_steps: u64,
    /// All steps, the warm-up included.
    pub steps: u64,
}

impl Schedule {
    /// The learning rate of `step`, counted from 0; 0 once the run is over.
    pub fn rate(&self, step: u64) -> f64 {
        if step >= self.steps {
            return 0.0;
        }
        // A run of nothing but warm-up would learn nothing: it follows the cosine instead.
        let warm_up = self.warm_up_steps.min(self.steps / 2);
        if step < warm_up {
            return match self.warm_up {
                WarmUp::Constant => self.warm_up_rate.min(self.rate),
                WarmUp::Linear => self.rate * (step + 1) as f64 / warm_up as f64,
            };
        }
        let done = (step - warm_up) as f64 / (self.steps - warm_up) as f64;
        self.rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_shot_hmdb_runs_its_1500_iterations() {
        // 102 clips at batch 32: 4 steps per epoch, the last of 6 clips.
        let length = Length::new(102, 32, 50, 1500);
        assert_eq!((length.epoch_steps, length.epochs), (4, 375));
        assert_eq!(length.steps(), 1500);
        // 16-shot: 26 steps per epoch; 50 epochs are 1,300, so 58 epochs.
        assert_eq!(Length::new(816, 32, 50, 1500).epochs, 58);
        // Closed-set: the epochs decide.
        assert_eq!(Length::new(3570, 128, 50, 1).epochs, 50);
    }

    #[test]
    fn nothing_to_train_on_is_no_steps() {
        assert_eq!(Length::new(0, 32, 50, 1500).steps(), 0);
        assert_eq!(Length::new(5, 0, 50, 1500).steps(), 0);
    }

    fn schedule(warm_up: WarmUp, warm_up_steps: u64, steps: u64) -> Schedule {
        Schedule {
            rate: 0.0015,
            warm_up,
            warm_up_rate: 1e-5,
            warm_up_steps,
            steps,
        }
    }

    #[test]
    fn cosine_follows_its_formula() {
        let s = schedule(WarmUp::Constant, 4, 104);
        assert_eq!(s.rate(0), 1e-5);
        assert_eq!(s.rate(3), 1e-5);
        assert_eq!(s.rate(4), 0.0015);
        assert!((s.rate(54) - 0.00075).abs() < 1e-12);
        assert!(s.rate(103) > 0.0 && s.rate(103) < 1e-6);
        assert_eq!(s.rate(104), 0.0);
        let s = schedule(WarmUp::Linear, 10, 110);
        assert!((s.rate(0) - 0.00015).abs() < 1e-12);
        assert_eq!(s.rate(9), 0.0015);
    }

    proptest! {
        #[test]
        fn the_rate_never_rises_after_warm_up(warm in 0u64..50, steps in 1u64..300) {
            let s = schedule(WarmUp::Linear, warm, steps);
            let start = warm.min(steps / 2);
            for step in start..steps {
                prop_assert!(s.rate(step + 1) <= s.rate(step));
                prop_assert!(s.rate(step) > 0.0 && s.rate(step) <= s.rate);
            }
        }
    }
}
