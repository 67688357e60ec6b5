//! The tables of the papers, and the data sets in them.

use clap::ValueEnum;

/// A table or figure of a paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Table {
    /// Hand-crafted prompts, and learned ones of 3, 4 and 5 vectors.
    Table1,
    /// The words that learned prompts are initialised from.
    Table2,
    /// 5 shots per class on Kinetics-400.
    Table4,
    /// Few-shot HMDB-51 and UCF-101.
    Table5,
    /// Kinetics-400 to HMDB-51 and UCF-101 without training there.
    Table6,
    /// HMDB-51 to UCF-101 and back.
    Table7,
    /// Closed-set.
    Table8,
    /// Ablations: blocks, frames, prompt length, temporal step.
    Fig3,
    /// The published rows of ActionCLIP; on another data set each of its heads and Seeing in
    /// Flowing.
    #[value(name = "actionclip")]
    ActionClip,
    /// ActionCLIP from Kinetics-400 to HMDB-51 and UCF-101 without training there.
    #[value(name = "actionclip-zero-shot")]
    ActionClipZeroShot,
    /// Not of the paper: published few-shot heads (LP++, GDA, Tip-Adapter, CLAP, ProKeR) beside the
    /// probes, on the same frozen features.
    Heads,
    /// Not of a paper: the estimates of `fit` from 5 and 8 clips of each class (cross-validation,
    /// calibration, strangers, planted mistakes) against the test recordings, by preset best.
    FewClips,
}

/// The data sets with published numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reported {
    /// HMDB-51.
    Hmdb51,
    /// UCF-101.
    Ucf101,
    /// Kinetics-400.
    Kinetics400,
    /// Charades.
    Charades,
    /// Any other, without published numbers.
    Other,
}
