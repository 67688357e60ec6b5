//! The two halves of the base-to-novel protocol (ViFi-CLIP, CVPR 2023).

use super::Split;
use crate::manifest::Manifest;

/// Classes trained on, and classes met at test time only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseToNovel {
    /// The more frequent half, the larger one where the count is odd; in label order.
    pub base: Vec<usize>,
    /// The others, in label order.
    pub novel: Vec<usize>,
}

/// Halves the classes by their number of training clips in `split`: the more frequent
/// ones are base. Ties go by name, the later name first: the rule under which the
/// published halves of UCF-101 and HMDB-51 come out.
#[must_use]
pub fn base_to_novel(manifest: &Manifest, split: &Split) -> BaseToNovel {
    let counts: Vec<usize> = split
        .train_by_class(manifest)
        .iter()
        .map(Vec::len)
        .collect();
    let mut classes: Vec<usize> = (0..counts.len()).collect();
    classes.sort_by_key(|class| {
        (
            counts.get(*class).copied(),
            manifest.classes().get(*class).map(|name| name.raw()),
        )
    });
    let mut base = classes.split_off(classes.len() / 2);
    let mut novel = classes;
    base.sort_unstable();
    novel.sort_unstable();
    BaseToNovel { base, novel }
}
