//! The result of a trial.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use models::WarmStart;
use recogniser::checkpoint::{Tensors, encode_tensors};
use serde::{Deserialize, Serialize};

use super::{CrossValidation, Gain, REVISION, Session};
use crate::Result;
use crate::evaluate::{ClipScore, Scored, Tested};
use crate::log::StepRecord;
use crate::metrics::{Accuracy, mean_average_precision};
use crate::trial::{Test, Trial, numbers};
use data::Dataset;

/// The result of one test of one trial.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// `test`, `base` or `novel`.
    pub test: String,
    /// The candidate classes, as words.
    pub labels: Vec<String>,
    /// Accuracy over all clips; for clips with several classes, on the first.
    pub accuracy: Accuracy,
    /// Mean average precision, 0 to 1, if clips show several classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// Every clip with its best classes.
    pub clips: Vec<ClipScore>,
}

/// The result of one trial: `result.json` in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrialResult {
    /// The run's name.
    pub name: String,
    /// Protocol, split, shots, views and name style in one line.
    pub protocol: String,
    /// Seed of the draw and of the training.
    pub seed: u64,
    /// Training clips.
    pub train_clips: usize,
    /// Hash of the checkpoint tested; none if nothing was trained.
    pub checkpoint: Option<String>,
    /// SHA-256 of the backbone's weights.
    pub backbone: String,
    /// The commit that computed it.
    pub revision: String,
    /// Seconds it took.
    pub seconds: f64,
    /// Clips that could not be decoded and were left out, with the reason.
    #[serde(default)]
    pub skipped: Vec<(String, String)>,
    /// The cost of the training, if there was one and it ran uninterrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<TrainingCost>,
    /// The choice of the warm start, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<WarmStart>,
    /// What steps brought after the solved start, on held-out clips, if that was judged; if it is not
    /// real, none were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
    /// The cross-validation, if there was one; its held-out clips are the first test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_validation: Option<CrossValidation>,
    /// Its tests.
    pub tests: Vec<Outcome>,
}

/// The cost of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingCost {
    /// Number of trainable parameters.
    pub trainable_parameters: u64,
    /// Steps.
    pub steps: u64,
    /// Mean seconds per step, including decoding and checkpoints.
    pub seconds_per_step: f64,
    /// The peak memory of the process during training, in bytes, if the system reports it.
    pub peak_memory_bytes: Option<u64>,
}

impl TrialResult {
    /// Lists the clips that a training from videos had to leave out of its batches.
    pub(super) fn leave_out_untrained(&mut self, steps: &[StepRecord]) {
        let ids = steps.iter().flat_map(|step| &step.skipped);
        for id in ids.collect::<BTreeSet<_>>() {
            if !self.skipped.iter().any(|(known, _)| known == id) {
                let reason = "cannot be decoded: left out in training";
                self.skipped.push((id.clone(), reason.into()));
            }
        }
    }

    /// The result of scored tests, their raw scores written below `folder`.
    ///
    /// # Errors
    /// A file cannot be written, or a probability is not finite.
    pub(super) fn of(
        session: &Session,
        trial: &Trial,
        scored: &[Tested],
        mut skipped: BTreeMap<usize, String>,
        folder: &Path,
        started: Instant,
    ) -> Result<Self> {
        let dataset = &session.dataset;
        let mut tests = Vec::with_capacity(scored.len());
        for (test, tested) in trial.tests.iter().zip(scored) {
            let scored = &tested.scored;
            if session.group.rank() == 0 {
                let name = format!("scores-{}.safetensors", test.name);
                save_scores(&folder.join(name), scored)?;
            }
            skipped.extend(tested.skipped.clone());
            tests.push(Outcome {
                test: test.name.clone(),
                labels: session.names(&test.classes),
                accuracy: scored.accuracy()?,
                mean_average_precision: mean_average_precision_of(dataset, test, tested)?,
                clips: scored.clips(tested.clips.iter().map(|clip| dataset.id(*clip))),
            });
        }
        Ok(Self {
            name: session.config.name.clone(),
            protocol: session.protocol(),
            seed: trial.seed,
            train_clips: trial.train.len(),
            checkpoint: None,
            backbone: session.backbone.identity.sha256.clone(),
            revision: REVISION.into(),
            seconds: started.elapsed().as_secs_f64(),
            skipped: skipped
                .into_iter()
                .map(|(clip, reason)| (dataset.id(clip).to_owned(), reason))
                .collect(),
            cost: None,
            warm_start: None,
            gain: None,
            cross_validation: None,
            tests,
        })
    }
}

fn mean_average_precision_of(
    dataset: &Dataset,
    test: &Test,
    tested: &Tested,
) -> Result<Option<f64>> {
    if !dataset.is_multi_label() {
        return Ok(None);
    }
    let shown = |clip: &usize| numbers(&test.classes, dataset.classes(*clip));
    let shown: Vec<Vec<i64>> = tested.clips.iter().map(shown).collect();
    let scored = &tested.scored;
    mean_average_precision(&scored.probabilities, &shown, scored.classes)
}

/// Raw scores: `probabilities` `[N, K]` and `labels` `[N]`.
fn save_scores(path: &Path, scored: &Scored) -> Result<()> {
    let labels: Vec<i64> = scored.labels.iter().map(|label| *label as i64).collect();
    let probabilities = tch::Tensor::from_slice(&scored.probabilities);
    let tensors = Tensors::from([
        (
            "probabilities".to_owned(),
            probabilities.f_view([labels.len() as i64, scored.classes as i64])?,
        ),
        ("labels".to_owned(), tch::Tensor::from_slice(&labels)),
    ]);
    Ok(disk::write(path, &encode_tensors(&tensors)?)?)
}
