//! The stream of a training step, keyed by purpose, epoch and step, independent of earlier
//! draws: a resumed run gets the same numbers.

use std::ops::{Deref, DerefMut};

use sha2::{Digest as _, Sha256};

use crate::bits::Bits;

/// The purpose of a stream of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Initial values of the trained parameters.
    Initialise,
    /// The order of the clips in an epoch.
    Shuffle,
    /// The cached view of a clip used in a step.
    View,
    /// The class used in a step for a clip with several classes.
    Class,
    /// Mixup of two clips.
    Mix,
    /// libtorch's own generator during a step (dropout).
    Step,
    /// The order of labels shuffled away from their clips.
    Labels,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Initialise => "initialise",
            Self::Shuffle => "shuffle",
            Self::View => "view",
            Self::Class => "class",
            Self::Mix => "mix",
            Self::Step => "step",
            Self::Labels => "labels",
        }
    }
}

/// A stream of pseudo-random numbers keyed by seed, purpose, epoch and step.
#[derive(Debug, Clone)]
pub struct StepStream(Bits);

impl StepStream {
    /// The stream of `purpose` at (`epoch`, `step`) of a run with `seed`.
    pub fn new(seed: u64, purpose: Purpose, epoch: u64, step: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(purpose.name());
        for part in [seed, epoch, step] {
            hash.update(part.to_le_bytes());
        }
        let digest = hash.finalize();
        let key = digest
            .iter()
            .take(8)
            .fold(0, |key, byte| key << 8 | u64::from(*byte));
        Self(Bits::under(key))
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Shuffles `items` in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

impl Deref for StepStream {
    type Target = Bits;

    fn deref(&self) -> &Bits {
        &self.0
    }
}

impl DerefMut for StepStream {
    fn deref_mut(&mut self) -> &mut Bits {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_is_the_same_everywhere_and_for_ever() {
        let mut stream = StepStream::new(0, Purpose::Shuffle, 1, 2);
        let drawn: Vec<_> = (0..3).map(|_| stream.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                3178647942181335126,
                1636917757536805018,
                14747230281509294209
            ],
            "runs recorded earlier would no longer resume"
        );
    }

    #[test]
    fn streams_differ_by_each_part_of_their_key() {
        let first =
            |seed, purpose, epoch, step| StepStream::new(seed, purpose, epoch, step).next_u64();
        let all = [
            first(0, Purpose::Shuffle, 0, 0),
            first(1, Purpose::Shuffle, 0, 0),
            first(0, Purpose::Mix, 0, 0),
            first(0, Purpose::Shuffle, 1, 0),
            first(0, Purpose::Shuffle, 0, 1),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b));
        }
    }

    #[test]
    fn normal_and_beta_have_their_moments() {
        let mut stream = StepStream::new(7, Purpose::Mix, 0, 0);
        let n = 20_000;
        let normals: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05);
        for alpha in [0.4, 2.0] {
            let draws: Vec<f64> = (0..n).map(|_| stream.beta(alpha)).collect();
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
            assert!((mean - 0.5).abs() < 0.02);
            assert!((variance - 0.25 / (2.0 * alpha + 1.0)).abs() < 0.01);
        }
    }

    proptest! {
        #[test]
        fn a_shuffle_keeps_every_item(count in 0usize..200, seed: u64) {
            let mut items: Vec<_> = (0..count).collect();
            StepStream::new(seed, Purpose::Shuffle, 0, 0).shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn below_stays_below(bound in 1usize..1000, seed: u64) {
            prop_assert!(StepStream::new(seed, Purpose::View, 0, 0).below(bound) < bound);
        }
    }
}
