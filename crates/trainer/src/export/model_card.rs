//! The model card: `README.md` with the metadata that hubs read.

use std::fmt::{Display, Formatter, Result};

use models::ModelConfig;
use recogniser::printable;

use crate::run::{Outcome, Record, TrialResult};

const PROJECT: &str = "https://github.com/seeing-in-flowing/seeing-in-flowing";
/// Classes listed by name.
const LISTED: usize = 1000;

/// The card of a run.
pub(super) struct ModelCard<'a> {
    pub(super) record: &'a Record,
    pub(super) result: Option<&'a TrialResult>,
    pub(super) license: &'a str,
}

impl Display for ModelCard<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.metadata(f)?;
        let card = &self.record.card;
        let system = match card.model {
            ModelConfig::ActionClip(_) => "ActionCLIP: all of CLIP, fine-tuned",
            _ => "Seeing in Flowing: motion prompts on a frozen CLIP",
        };
        writeln!(f, "# {}\n", printable(&self.record.config.name))?;
        writeln!(
            f,
            "Recognises {} actions in video, from {} frames. {system}, with \
             [seeing-in-flowing]({PROJECT}).\n",
            card.labels.len(),
            card.frames
        )?;
        writeln!(
            f,
            "```sh\npip install seeing-in-flowing\nhf download OWNER/NAME --local-dir model\n\
             sif predict clip.mp4 --checkpoint model\n```\n"
        )?;
        if let Some(result) = self.result {
            evaluation(f, result)?;
        }
        writeln!(f, "## Labels\n")?;
        for label in self.record.classes.iter().take(LISTED) {
            writeln!(f, "- {}", printable(label))?;
        }
        if let Some(more @ 1..) = self.record.classes.len().checked_sub(LISTED) {
            writeln!(f, "- and {more} more")?;
        }
        writeln!(
            f,
            "\nScores depend on the set of labels. `model.safetensors` is CLIP, unchanged, in the \
             layout of transformers; `trained.safetensors` has the trained tensors, and \
             `seeing_in_flowing.json` labels, options and calibration."
        )
    }
}

impl ModelCard<'_> {
    /// In YAML, whose strings may be JSON's.
    fn metadata(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "---\nlicense: {}", quoted(self.license))?;
        writeln!(f, "library_name: seeing-in-flowing")?;
        writeln!(f, "pipeline_tag: video-classification")?;
        writeln!(f, "tags: [action-recognition, clip, video]")?;
        let backbone = &self.record.card.backbone.place;
        if backbone.is_relative() {
            writeln!(f, "base_model: {}", quoted(&backbone.to_string_lossy()))?;
        }
        if let Some(result) = self.result {
            let layout = self.record.config.data.layout.name;
            let dataset = result.protocol.split(' ').next().unwrap_or(layout);
            writeln!(f, "model-index:\n- name: {}", quoted(&result.name))?;
            writeln!(f, "  results:")?;
            for test in &result.tests {
                writeln!(f, "  - task: {{ type: video-classification }}")?;
                writeln!(
                    f,
                    "    dataset: {{ type: {}, name: {}, split: {}, args: {{ protocol: {} }} }}",
                    quoted(layout),
                    quoted(dataset),
                    quoted(&test.test),
                    quoted(&result.protocol),
                )?;
                writeln!(f, "    metrics:")?;
                for (kind, name, value) in metrics(test) {
                    writeln!(
                        f,
                        "    - {{ type: {kind}, name: {}, value: {value:.4} }}",
                        quoted(name)
                    )?;
                }
            }
        }
        writeln!(f, "---\n")
    }
}

/// The hub's type of each metric, its name and its value, 0 to 1.
fn metrics(test: &Outcome) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
    let accuracy = &test.accuracy;
    let shares = [
        ("accuracy", "top-1 accuracy", accuracy.top1),
        ("accuracy", "top-5 accuracy", accuracy.top5),
        (
            "accuracy",
            "mean accuracy of the classes",
            accuracy.mean_class,
        ),
    ];
    let mean = test.mean_average_precision;
    let mean = mean.map(|mean| ("mean_average_precision", "mean average precision", mean));
    shares.into_iter().chain(mean)
}

fn evaluation(f: &mut Formatter<'_>, result: &TrialResult) -> Result {
    writeln!(f, "## Evaluation\n")?;
    writeln!(
        f,
        "Protocol: {}. Seed {}, {} training clips.\n",
        printable(&result.protocol),
        result.seed,
        result.train_clips
    )?;
    writeln!(f, "| test | clips | metric | value |\n|---|---:|---|---:|")?;
    for test in &result.tests {
        for (_, name, value) in metrics(test) {
            let (test, clips) = (&test.test, test.accuracy.clips);
            writeln!(f, "| {test} | {clips} | {name} | {:.1} % |", 100.0 * value)?;
        }
    }
    if let Some(judged) = &result.cross_validation {
        let [low, high] = judged.interval.map(|end| 100.0 * end);
        writeln!(
            f,
            "\nHeld out in {} folds by recording; 95 % interval of the accuracy on new recordings: \
             {low:.1} to {high:.1} %. The model itself is trained on all {} clips.",
            judged.folds, judged.all_clips
        )?;
    }
    writeln!(f)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
