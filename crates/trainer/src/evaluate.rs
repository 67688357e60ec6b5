//! Scores of test clips, and their metrics.

use std::collections::BTreeMap;

use clip_backbone::{ClipModel, FrameTokens};
use clips::FeatureSet;
use dist::Group;
use models::{Classifier, Clips};
use recogniser::{Belonging, Calibration};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::metrics::Accuracy;
use crate::ranks::dealt;
use crate::{Error, Result};

/// Clips scored at once.
const BATCH: usize = 32;

/// A run's model with the classes of a test.
pub struct Judge<'a> {
    /// The model.
    pub classifier: &'a dyn Classifier,
    /// The run's calibration if these are its classes, with the frozen towers, and the features of each
    /// frame that the run reads.
    pub calibration: Option<(&'a Calibration, ClipModel, FrameTokens)>,
}

impl Judge<'_> {
    /// For each clip K probabilities, the mean over its views, and if the run is calibrated its score of
    /// belonging; row-major.
    ///
    /// # Errors
    /// Any error of the model.
    pub fn rows(&self, views: &[Clips]) -> Result<Vec<f32>> {
        let rows = match &self.calibration {
            None => self.classifier.probabilities(views)?,
            Some((calibration, tower, tokens)) => {
                let judged = views.iter().map(|clips| -> Result<Tensor> {
                    let (row, belonging) =
                        calibration.judge(self.classifier, clips, tower, *tokens)?;
                    let scores: Vec<f64> = belonging.iter().map(|seen| seen.score).collect();
                    let scores = Tensor::from_slice(&scores).to_device(row.device());
                    Ok(Tensor::f_cat(&[row, scores.f_unsqueeze(1)?], 1)?) // (B, K + 1)
                });
                let judged = judged.collect::<Result<Vec<_>>>()?;
                Tensor::f_stack(&judged, 0)?.f_mean_dim(0, false, Kind::Double)?
            }
        };
        let rows = rows.to_kind(Kind::Float).to_device(tch::Device::Cpu);
        Ok(Vec::try_from(rows.contiguous().view(-1))?)
    }

    /// The scores in `rows` of clips whose true classes are `labels`.
    pub fn scored(&self, rows: &[f32], labels: Vec<usize>) -> Scored {
        let classes = self.classifier.labels().len();
        let width = classes + usize::from(self.calibration.is_some());
        let (mut probabilities, mut belonging) = (Vec::new(), Vec::new());
        for row in rows.chunks_exact(width.max(1)) {
            let (own, score) = row.split_at(classes);
            probabilities.extend(own);
            let score = score.first().copied().map(f64::from);
            let of = self.calibration.as_ref();
            belonging.push(score.zip(of).map(|(score, (of, ..))| of.of_score(score)));
        }
        Scored {
            probabilities,
            labels,
            classes,
            belonging,
        }
    }
}

/// Probabilities of every test clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// `[N * K]`, row-major, the mean over the views.
    pub probabilities: Vec<f32>,
    /// The true class of each clip, 0..K.
    pub labels: Vec<usize>,
    /// K
    pub classes: usize,
    /// Whether each clip belongs to one of the classes, if the run tells; may be empty if it does not.
    pub belonging: Vec<Option<Belonging>>,
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
    /// Whether it shows one of the classes: the keys `known`, `belonging`, `threshold`, if the run tells.
    #[serde(flatten)]
    pub belonging: Option<Belonging>,
}

impl Scored {
    /// Scores the clips of `features` at `positions`, whose true classes are `labels`, in windows that
    /// are dealt to the processes of `group`; each has all scores.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if labels and clips do not fit, and any error of the features or the
    /// model.
    pub fn new(
        judge: &Judge<'_>,
        features: &FeatureSet,
        positions: &[usize],
        labels: Vec<usize>,
        group: &dyn Group,
    ) -> Result<Self> {
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
            let rows = judge.rows(&looks)?;
            Ok(Some(
                rows.into_iter().map(f32::to_bits).collect::<Vec<u32>>(),
            ))
        })?;
        let bits = scored.into_iter().flatten().flatten();
        let rows: Vec<f32> = bits.map(f32::from_bits).collect();
        Ok(judge.scored(&rows, labels))
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
        let belonging = self
            .belonging
            .iter()
            .copied()
            .chain(std::iter::repeat(None));
        ids.zip(rows.zip(&self.labels))
            .zip(belonging)
            .map(|((id, (row, label)), belonging)| ClipScore {
                belonging,
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
