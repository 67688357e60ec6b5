//! Half of the classes, for the zero-shot protocol that draws them.

use crate::manifest::Manifest;
use random::Stream;

/// Half of the classes (rounded down, at least one), drawn by a stream keyed by (`seed`,
/// data set), in label order.
#[must_use]
pub fn half_classes(manifest: &Manifest, seed: u64) -> Vec<usize> {
    // Shuffled by name, so that the order of labels does not matter.
    let mut classes: Vec<usize> = (0..manifest.classes().len()).collect();
    classes.sort_by_key(|class| manifest.classes().get(*class).map(|name| name.raw()));
    Stream::new(seed, &["half-classes", manifest.dataset()]).shuffle(&mut classes);
    classes.truncate((classes.len() / 2).max(1));
    classes.sort_unstable();
    classes
}
