//! Published few-shot heads on the mean of frozen frame features, with the class texts.
//!
//! All of them score a unit-length video feature x by a [`Scorer`]: a linear part, which holds the
//! zero-shot classifier, and for some of them a cache of training clips. The papers choose
//! hyper-parameters on a validation set of labelled clips, CLAP none; here they are chosen by
//! cross-validation over the training clips ([`choose`]). The papers' augmented copies of each clip
//! are not made: a clip is one feature.

mod choose;
mod clap;
mod gda;
mod lp_plus_plus;
mod model;
mod proker;
mod scorer;
mod shots;
mod tip_adapter;
mod tip_adapter_f;

#[cfg(test)]
mod golden;

use prompts::Template;
use serde::{Deserialize, Serialize};

use self::choose::{Choice, choose};
use self::scorer::Scorer;
use self::shots::Shots;
use crate::Result;

pub use model::Head;

/// A published head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadMethod {
    /// "LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP", CVPR 2024.
    LpPlusPlus,
    /// Gaussian discriminant analysis: "A Hard-to-Beat Baseline for Training-Free CLIP-Based
    /// Adaptation", ICLR 2024.
    Gda,
    /// "Tip-Adapter", ECCV 2022, training-free.
    TipAdapter,
    /// "Tip-Adapter-F": the same with trained keys.
    TipAdapterF,
    /// Class-adaptive linear probing: "A Closer Look at the Few-Shot Adaptation of Large
    /// Vision-Language Models", CVPR 2024.
    Clap,
    /// "ProKeR: A Kernel Perspective on Few-Shot Adaptation of Large Vision-Language Models",
    /// CVPR 2025.
    Proker,
}

/// A published head and the prompts of its class texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// The head.
    pub method: HeadMethod,
    /// Hand-crafted prompts, at least one; several are averaged.
    pub templates: Vec<Template>,
}

impl HeadMethod {
    /// Every head.
    pub const ALL: [Self; 6] = [
        Self::LpPlusPlus,
        Self::Gda,
        Self::TipAdapter,
        Self::TipAdapterF,
        Self::Clap,
        Self::Proker,
    ];

    /// The scorer fitted to `shots`, with hyper-parameters chosen by the clips of each fold.
    fn solve(self, shots: &Shots, folds: Option<&[Vec<usize>]>) -> Result<Choice> {
        match self {
            Self::LpPlusPlus => choose::<lp_plus_plus::LpPlusPlus>(shots, folds),
            Self::Gda => choose::<gda::Gda>(shots, folds),
            Self::TipAdapter => choose::<tip_adapter::TipAdapter>(shots, folds),
            Self::TipAdapterF => choose::<tip_adapter_f::TipAdapterF>(shots, folds),
            Self::Clap => choose::<clap::Clap>(shots, folds),
            Self::Proker => choose::<proker::Proker>(shots, folds),
        }
    }
}

/// A way to fit a [`Scorer`].
trait Method {
    /// Its hyper-parameters.
    type Setting: Copy + std::fmt::Debug;

    /// The candidates. The first is taken where no clip can be held out.
    fn settings() -> Vec<Self::Setting>;

    /// The scorer of each setting, fitted to `shots`.
    fn fit(shots: &Shots, settings: &[Self::Setting]) -> Result<Vec<Scorer>>;
}

/// The setting that a cache starts from, then every pair.
fn pairs<const N: usize, const M: usize>(
    first: (f64, f64),
    outer: [f64; N],
    inner: [f64; M],
) -> Vec<(f64, f64)> {
    let every = outer.iter().flat_map(|a| inner.iter().map(|b| (*a, *b)));
    std::iter::once(first).chain(every).collect()
}
