//! Class suffixes of different lengths, packed into bins of equal height.

use std::cmp::Reverse;

/// Bins of `rows` rows, each holding whole suffixes one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bins {
    pub(super) rows: usize,
    /// The classes of each bin, from its top.
    pub(super) bins: Vec<Vec<usize>>,
}

impl Bins {
    /// A separate bin for every class, as high as the longest suffix.
    pub(super) fn single(lengths: &[usize]) -> Self {
        Self {
            rows: longest(lengths),
            bins: (0..lengths.len()).map(|class| vec![class]).collect(),
        }
    }

    /// The cheapest packing: bins high enough to fill well, and low enough that a row's
    /// attention over its whole bin stays a small part of its cost.
    pub(super) fn packed(lengths: &[usize], prefix: usize, width: usize) -> Self {
        let longest = longest(lengths);
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&class| Reverse(lengths[class]));
        let mut best = first_fit(lengths, &order, longest);
        for rows in longest + 1..=longest.max(HIGHEST) {
            let candidate = first_fit(lengths, &order, rows);
            if candidate.cost(prefix, width) < best.cost(prefix, width) {
                best = candidate;
            }
        }
        best
    }

    /// In multiplications by one weight: a block has 12 W² weights, and a pair of query and
    /// key costs 2 W, at an eighth of the speed of the large products.
    fn cost(&self, prefix: usize, width: usize) -> usize {
        self.bins.len() * self.rows * (12 * width + 16 * (prefix + self.rows))
    }
}

/// Bins no longer suffix needs are at most this high.
const HIGHEST: usize = 64;

fn longest(lengths: &[usize]) -> usize {
    lengths.iter().copied().max().unwrap_or(1)
}

/// Each suffix, in `order`, into the first bin with room.
fn first_fit(lengths: &[usize], order: &[usize], rows: usize) -> Bins {
    let mut bins: Vec<Vec<usize>> = Vec::new();
    let mut room: Vec<usize> = Vec::new();
    for &class in order {
        let length = lengths[class];
        match room.iter().position(|&room| room >= length) {
            Some(bin) => {
                room[bin] -= length;
                bins[bin].push(class);
            }
            None => {
                room.push(rows - length);
                bins.push(vec![class]);
            }
        }
    }
    Bins { rows, bins }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_suffix_lies_whole_in_exactly_one_bin(
            lengths in proptest::collection::vec(3usize..75, 1..60),
        ) {
            let packed = Bins::packed(&lengths, 6, 512);
            let mut seen: Vec<usize> = packed.bins.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for bin in &packed.bins {
                let filled: usize = bin.iter().map(|&class| lengths[class]).sum();
                prop_assert!(filled <= packed.rows);
            }
        }
    }

    #[test]
    fn short_suffixes_waste_little() {
        let lengths: Vec<usize> = (0..400).map(|class| 3 + class % 5).collect();
        let packed = Bins::packed(&lengths, 6, 512);
        let rows = packed.rows * packed.bins.len();
        let wanted: usize = lengths.iter().sum();
        assert!(
            rows * 100 <= wanted * 103,
            "{rows} rows for {wanted} tokens"
        );
    }
}
