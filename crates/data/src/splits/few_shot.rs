//! k training clips a class.

use super::Split;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use random::Stream;

/// Draws `k` training clips of every class from `split`; its test clips stay as they are.
///
/// For each class: sort by id, shuffle with a stream keyed by (`seed`, data set, class),
/// take the first `k`. So the draw of a smaller `k` is part of that of a larger one, and
/// neither the order of lists nor the platform nor the other classes matter.
///
/// # Errors
/// `k` is 0, or a class has fewer than `k` training clips.
pub fn few_shot(manifest: &Manifest, split: &Split, k: usize, seed: u64) -> Result<Split> {
    if k == 0 {
        return Err(Error::Option {
            name: "k",
            expected: "at least 1".into(),
            got: "0".into(),
        });
    }
    let mut train = Vec::with_capacity(k * manifest.classes().len());
    for (class, mut positions) in manifest
        .classes()
        .iter()
        .zip(split.train_by_class(manifest))
    {
        if positions.len() < k {
            return Err(Error::TooFewShots {
                split: split.name.clone(),
                class: class.raw().into(),
                has: positions.len(),
                k,
            });
        }
        Stream::new(seed, &["few-shot", manifest.dataset(), class.raw()]).shuffle(&mut positions);
        train.extend(positions.into_iter().take(k));
    }
    train.sort_unstable();
    // A clip of two classes may have been drawn for both.
    train.dedup();
    Ok(Split {
        name: format!("{}, {k} shots, seed {seed}", split.name),
        train,
        test: split.test.clone(),
    })
}
