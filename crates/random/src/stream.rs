//! The stream of named fields: draws of clips, frames and transforms.

use std::ops::{Deref, DerefMut};

use crate::bits::{Bits, mix};

/// A stream of pseudo-random numbers keyed by a seed and named fields, such as (seed, data set,
/// class).
#[derive(Clone, Debug)]
pub struct Stream(Bits);

impl Stream {
    /// The stream of `seed` and `fields`.
    ///
    /// The key is FNV-1a (64 bit) over the seed's 8 little-endian bytes and, for each
    /// field, its length as 8 little-endian bytes and its bytes; then mixed once.
    #[must_use]
    pub fn new(seed: u64, fields: &[&str]) -> Self {
        let mut hash = Fnv::default();
        hash.add(&seed.to_le_bytes());
        for field in fields {
            hash.add(&(field.len() as u64).to_le_bytes());
            hash.add(field.as_bytes());
        }
        Self(Bits::under(mix(hash.0)))
    }

    /// Uniform in `0..bound`, without bias; 0 if `bound` is 0 or 1.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        if bound < 2 {
            return 0;
        }
        // Numbers above the last whole multiple of `bound` would favour small results.
        let limit = u64::MAX - (u64::MAX % bound + 1) % bound;
        loop {
            let number = self.next_u64();
            if number <= limit {
                return usize::try_from(number % bound).unwrap_or(0);
            }
        }
    }

    /// Fisher-Yates from the front: the first `k` items depend on `k` draws only, so that
    /// draws of different sizes are nested.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in 0..items.len() {
            let other = place + self.below(items.len() - place);
            items.swap(place, other);
        }
    }
}

impl Deref for Stream {
    type Target = Bits;

    fn deref(&self) -> &Bits {
        &self.0
    }
}

impl DerefMut for Stream {
    fn deref_mut(&mut self) -> &mut Bits {
        &mut self.0
    }
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::Stream;

    // Values of tests/reference/stream.py, an independent implementation of the same rule.
    include!("../tests/reference/random_golden.rs");

    #[test]
    fn the_numbers_are_the_references() {
        let mut plain = Stream::new(0, &[]);
        let mut keyed = Stream::new(7, &["ucf101", "Punch"]);
        assert_eq!(std::array::from_fn::<_, 4, _>(|_| plain.next_u64()), PLAIN);
        assert_eq!(std::array::from_fn::<_, 4, _>(|_| keyed.next_u64()), KEYED);
        let mut items: Vec<u32> = (0..10).collect();
        Stream::new(3, &["shuffle"]).shuffle(&mut items);
        assert_eq!(items, SHUFFLED);
    }

    #[test]
    fn fields_do_not_run_together() {
        assert_ne!(
            Stream::new(0, &["ab", "c"]).next_u64(),
            Stream::new(0, &["a", "bc"]).next_u64()
        );
    }

    #[test]
    fn every_place_below_a_bound_is_reached_about_equally() {
        let mut stream = Stream::new(1, &["below"]);
        let mut seen = [0_u32; 7];
        for _ in 0..70_000 {
            seen[stream.below(7)] += 1;
        }
        assert!(
            seen.iter().all(|count| (9_500..10_500).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn unit_stays_below_one() {
        let mut stream = Stream::new(2, &[]);
        let mean = (0..10_000)
            .map(|_| {
                let number = stream.unit();
                assert!((0.0..1.0).contains(&number));
                number
            })
            .sum::<f64>()
            / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
