//! Folds in a fixed order.

/// A fold of numbered summands, in ascending order of their numbers, as a balanced binary tree over the
/// numbers: 2n and 2n + 1 are added first. Numbers may be missing: they add nothing. So processes that
/// share the numbers, each with a part as long as a power of two, first fold their own, and then each
/// other's by the processes' numbers, as one would fold all.
///
/// At most one summand for each level of the tree is held, and one for each number that is missing.
#[derive(Debug)]
pub struct Tree<T, F> {
    nodes: Vec<Node<T>>,
    add: F,
}

/// A sum below a node of the tree.
#[derive(Debug)]
struct Node<T> {
    level: u32,
    number: usize,
    sum: T,
}

impl<T> Node<T> {
    /// The level of the lowest node above both.
    fn meets(&self, other: &Self) -> u32 {
        let mut level = self.level.max(other.level);
        let at = |node: &Self, level: u32| node.number >> (level - node.level);
        while at(self, level) != at(other, level) {
            level += 1;
        }
        level
    }
}

impl<T, F: FnMut(T, T) -> T> Tree<T, F> {
    /// An empty one.
    pub fn new(add: F) -> Self {
        Self {
            nodes: Vec::new(),
            add,
        }
    }

    /// Adds the summand of a number above all earlier ones.
    pub fn push(&mut self, number: usize, summand: T) {
        let mut node = Node {
            level: 0,
            number,
            sum: summand,
        };
        while let Some(first) = self
            .nodes
            .pop_if(|last| last.level == node.level && last.number == node.number ^ 1)
        {
            node = Node {
                level: node.level + 1,
                number: node.number / 2,
                sum: (self.add)(first.sum, node.sum),
            };
        }
        self.nodes.push(node);
    }

    /// The sum; `None` of nothing.
    pub fn sum(mut self) -> Option<T> {
        while self.nodes.len() > 1 {
            let pairs = self.nodes.windows(2).enumerate();
            let levels = pairs.filter_map(|(place, pair)| match pair {
                [first, second] => Some((first.meets(second), place)),
                _ => None,
            });
            let (level, place) = levels.min()?;
            let second = self.nodes.remove(place + 1);
            let first = self.nodes.remove(place);
            let number = first.number >> (level - first.level);
            let sum = (self.add)(first.sum, second.sum);
            self.nodes.insert(place, Node { level, number, sum });
        }
        self.nodes.pop().map(|node| node.sum)
    }
}

/// Folds a list as a [`Tree`].
pub fn in_tree<T>(list: Vec<(usize, T)>, add: impl FnMut(T, T) -> T) -> Option<T> {
    let mut tree = Tree::new(add);
    for (number, summand) in list {
        tree.push(number, summand);
    }
    tree.sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// The tree as text: `((0 1) (2 3))`.
    fn written(numbers: &[usize]) -> String {
        let list = numbers.iter().map(|n| (*n, n.to_string())).collect();
        in_tree(list, |a, b| format!("({a} {b})")).unwrap_or_default()
    }

    #[test]
    fn the_tree_is_that_of_the_numbers() {
        assert_eq!(written(&[0, 1, 2, 3]), "((0 1) (2 3))");
        assert_eq!(written(&[1, 2, 3]), "(1 (2 3))");
        assert_eq!(written(&[0, 3, 4]), "((0 3) 4)");
        assert_eq!(written(&[6]), "6");
        assert_eq!(written(&[]), "");
    }

    proptest! {
        #[test]
        fn every_number_of_processes_adds_in_the_same_order(
            there in prop::collection::vec(any::<bool>(), 16),
        ) {
            let numbers: Vec<usize> = (0..16).filter(|n| there[*n]).collect();
            let whole = written(&numbers);
            for processes in [1usize, 2, 4, 8, 16] {
                let each = 16 / processes;
                let own = |rank: &usize| {
                    let range = rank * each..(rank + 1) * each;
                    let list = numbers.iter().filter(|n| range.contains(n));
                    let list = list.map(|n| (*n, n.to_string())).collect();
                    in_tree(list, |a, b| format!("({a} {b})")).map(|sum| (*rank, sum))
                };
                let ranks = (0..processes).filter_map(|rank| own(&rank)).collect();
                let sum = in_tree(ranks, |a: String, b| format!("({a} {b})"));
                prop_assert_eq!(sum.unwrap_or_default(), whole.clone());
            }
        }
    }
}
