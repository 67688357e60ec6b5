//! Scores of test clips, and their metrics.

use std::collections::BTreeMap;

use clips::FeatureSet;
use dist::Group;
use models::{Classifier, Clips};
use serde::{Deserialize, Serialize};
use tch::Kind;

use crate::metrics::Accuracy;
use crate::ranks::dealt;
use crate::{Error, Result};

/// Clips scored at once.
const BATCH: usize = 32;

/// Probabilities of every test clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// `[N * K]`, row-major, the mean over the views.
    pub probabilities: Vec<f32>,
    /// The true class of each clip, 0..K.
    pub labels: Vec<usize>,
    /// K
    pub classes: usize,
}

/// The scores of a test, and the clips that could not be decoded.
pub struct Tested {
    /// The scores of the decoded clips.
    pub scored: Scored,
    /// Those clips, as positions in the manifest.
    pub clips: Vec<usize>,
    /// The others, each with the reason.
    pub skipped: BTreeMap<usize, String>,
}

/// One clip in a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipScore {
    /// The clip's id.
    pub id: String,
    /// Its class, 0..K.
    pub label: usize,
    /// Up to five classes with their probabilities, best first.
    pub top: Vec<(usize, f32)>,
}

impl Scored {
    /// Scores the clips of `features` at `positions`, whose true classes are `labels`, in windows that
    /// are dealt to the processes of `group`; each has all scores.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if labels and clips do not fit, and any error of the features or the
    /// model.
    pub fn new(
        classifier: &dyn Classifier,
        features: &FeatureSet,
        positions: &[usize],
        labels: Vec<usize>,
        group: &dyn Group,
    ) -> Result<Self> {
        let classes = classifier.labels().len();
        if positions.len() != labels.len() {
            let (clips, labels) = (positions.len(), labels.len());
            return Err(Error::mismatch("labels of the test clips", clips, labels));
        }
        let windows: Vec<&[usize]> = positions.chunks(BATCH).collect();
        let scored = dealt(group, windows.len(), |window| {
            let batch = windows.get(window).copied().unwrap_or_default();
            let looks = (0..features.views())
                .map(|view| {
                    let rows: Vec<_> = batch.iter().map(|clip| (features, *clip, view)).collect();
                    Ok(Clips::Features(FeatureSet::gather(&rows)?))
                })
                .collect::<Result<Vec<_>>>()?;
            let scores = classifier.probabilities(&looks)?;
            let scores = scores.to_kind(Kind::Float).to_device(tch::Device::Cpu);
            let numbers = Vec::<f32>::try_from(scores.contiguous().view(-1))?;
            Ok(Some(
                numbers.into_iter().map(f32::to_bits).collect::<Vec<u32>>(),
            ))
        })?;
        let bits = scored.into_iter().flatten().flatten();
        Ok(Self {
            probabilities: bits.map(f32::from_bits).collect(),
            labels,
            classes,
        })
    }

    /// Accuracy over all clips.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a probability that is not finite.
    pub fn accuracy(&self) -> Result<Accuracy> {
        Accuracy::new(&self.probabilities, &self.labels, self.classes)
    }

    /// Each clip with its best classes, in the order scored.
    pub fn clips<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<ClipScore> {
        let rows = self.probabilities.chunks_exact(self.classes.max(1));
        ids.zip(rows.zip(&self.labels))
            .map(|(id, (row, label))| ClipScore {
                id: id.to_owned(),
                label: *label,
                top: crate::metrics::order(row)
                    .into_iter()
                    .take(5)
                    .filter_map(|class| Some((class, row.get(class).copied()?)))
                    .collect(),
            })
            .collect()
    }
}
