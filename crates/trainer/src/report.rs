//! One self-contained HTML page about finished runs: accuracy, curves, confusion matrix,
//! classes, the most confident correct and wrong predictions, configuration. It opens without a
//! network and has a light and a dark theme.

mod curves;
mod film;
mod page;

use std::path::{Path, PathBuf};

use crate::evaluate::ClipScore;
use crate::json::read_record;
use crate::log::{StepRecord, read_steps};
use crate::run::{Outcome, TrialResult};
use crate::{Error, Result};

pub use film::FilmStrips;

/// Clips shown per kind.
const CLIPS: usize = 6;

/// A finished run, read from its folder.
#[derive(Debug)]
pub struct FinishedRun {
    /// The run's folder.
    pub folder: PathBuf,
    /// Its resolved configuration, TOML.
    pub config: String,
    /// Its trials, in the order of their seeds.
    pub trials: Vec<FinishedTrial>,
}

/// One trial of a run.
#[derive(Debug)]
pub struct FinishedTrial {
    /// Its result.
    pub result: TrialResult,
    /// Its training steps; empty if nothing was trained.
    pub steps: Vec<StepRecord>,
}

impl FinishedRun {
    /// Reads `folder/config.toml` and every `folder/*/result.json`.
    ///
    /// # Errors
    /// [`Error::Disk`] if a file cannot be read; [`Error::NoResult`] if no trial has
    /// finished.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = folder.join("config.toml");
        let config =
            std::fs::read_to_string(&config).map_err(Error::file("cannot read", &config))?;
        let mut trials = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(Error::file("cannot read", folder))? {
            let place = entry.map_err(Error::file("cannot read", folder))?.path();
            let path = place.join("result.json");
            if !disk::is_file(&path)? {
                continue;
            }
            let result = read_record(&path)?;
            let steps = read_steps(&place.join("log.jsonl"))?;
            trials.push(FinishedTrial { result, steps });
        }
        if trials.is_empty() {
            return Err(Error::NoResult {
                path: folder.to_path_buf(),
                reason: "no trial has finished; expected a folder with result.json".into(),
            });
        }
        trials.sort_by_key(|trial| trial.result.seed);
        Ok(Self {
            folder: folder.to_path_buf(),
            config,
            trials,
        })
    }

    /// The most confident predictions of the first trial's last test.
    fn remarkable(&self) -> Option<Remarkable<'_>> {
        let test = self.trials.first()?.result.tests.last()?;
        let most_confident = |clips: &mut Vec<&ClipScore>| {
            clips.sort_by(|a, b| certainty(b).total_cmp(&certainty(a)));
            clips.truncate(CLIPS);
        };
        let (mut right, mut wrong): (Vec<_>, Vec<_>) = test
            .clips
            .iter()
            .partition(|clip| guess(clip) == Some(clip.label));
        most_confident(&mut right);
        most_confident(&mut wrong);
        Some(Remarkable { test, right, wrong })
    }
}

/// Clips of one test: the most confident correct and wrong predictions.
struct Remarkable<'a> {
    test: &'a Outcome,
    right: Vec<&'a ClipScore>,
    wrong: Vec<&'a ClipScore>,
}

fn guess(clip: &ClipScore) -> Option<usize> {
    clip.top.first().map(|(class, _)| *class)
}

fn certainty(clip: &ClipScore) -> f32 {
    clip.top.first().map_or(0.0, |(_, score)| *score)
}

/// Writes a page to `path` atomically.
///
/// # Errors
/// [`Error::Disk`].
pub fn write(path: &Path, page: &str) -> Result<()> {
    Ok(disk::write(path, page.as_bytes())?)
}

/// The page about `runs`, with film strips if `strips` finds the videos.
///
/// # Errors
/// [`Error::Picture`] if a curve cannot be drawn.
pub fn html(runs: &[FinishedRun], strips: &[Option<FilmStrips>]) -> Result<String> {
    page::html("", runs, strips)
}

/// As [`html`], after `intro`: HTML about all runs.
///
/// # Errors
/// [`Error::Picture`] if a curve cannot be drawn.
pub fn html_below(
    intro: &str,
    runs: &[FinishedRun],
    strips: &[Option<FilmStrips>],
) -> Result<String> {
    page::html(intro, runs, strips)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A run of one seed over two classes: two clips right, one wrong.
    fn run(folder: &Path) {
        let seed = folder.join("seed-0");
        std::fs::create_dir(&seed).unwrap();
        std::fs::write(folder.join("config.toml"), "name = \"a <b> run\"\n").unwrap();
        let clip = |id: &str, label: usize, top: &[(usize, f32)]| serde_json::json!({ "id": id, "label": label, "top": top });
        let result = serde_json::json!({
            "name": "a <b> run", "protocol": "few-shot, 1x1", "seed": 0, "train_clips": 4,
            "checkpoint": null, "backbone": "0".repeat(64), "revision": "unknown",
            "seconds": 1.0, "skipped": [["run/3.avi", "the file is <empty>"]],
            "tests": [{
                "test": "test", "labels": ["walk", "run"],
                "accuracy": {
                    "clips": 3, "top1": 2.0 / 3.0, "top5": 1.0, "per_class": [1.0, 0.5],
                    "mean_class": 0.75, "confusion": [[1, 0], [1, 1]],
                },
                "clips": [
                    clip("walk/1.avi", 0, &[(0, 0.9), (1, 0.1)]),
                    clip("run/1.avi", 1, &[(1, 0.6), (0, 0.4)]),
                    clip("run/2.avi", 1, &[(0, 0.8), (1, 0.2)]),
                ],
            }],
        });
        let result = disk::seal(&result.to_string());
        std::fs::write(seed.join("result.json"), result).unwrap();
        let step = |step: u64, loss: f64| {
            let record = StepRecord {
                step,
                epoch: 0,
                loss,
                learning_rate: 0.1,
                gradient_norm: 1.0,
                top1: 0.5,
                skipped: Vec::new(),
            };
            crate::log::line(&record).unwrap()
        };
        std::fs::write(seed.join("log.jsonl"), step(1, 2.0) + &step(2, 1.0)).unwrap();
    }

    #[test]
    fn a_page_says_what_the_run_gave_and_needs_no_network() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path());
        let finished = FinishedRun::read(folder.path()).unwrap();
        let page = html(&[finished], &[None]).unwrap();
        for said in [
            "a &lt;b&gt; run",
            "<td>66.7</td>",
            "run/2.avi",
            "<svg",
            "Most confident wrong predictions",
            "<li>run/3.avi <span class=\"dim\">the file is &lt;empty&gt;",
        ] {
            assert!(page.contains(said), "{said} is missing");
        }
        assert!(!page.contains("<b> run"), "a name is not escaped");
        // What a browser would fetch.
        for link in ["src=\"http", "href=", "url(", "@import"] {
            assert!(!page.contains(link), "{link} reaches out");
        }
    }

    #[test]
    fn the_surest_wrong_answer_is_the_wrong_one() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path());
        let finished = FinishedRun::read(folder.path()).unwrap();
        let remarkable = finished.remarkable().unwrap();
        let ids = |clips: &[&ClipScore]| clips.iter().map(|c| c.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&remarkable.right), ["walk/1.avi", "run/1.avi"]);
        assert_eq!(ids(&remarkable.wrong), ["run/2.avi"]);
    }

    #[test]
    fn a_folder_without_a_result_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            FinishedRun::read(folder.path()),
            Err(Error::Disk(_))
        ));
        std::fs::write(folder.path().join("config.toml"), "").unwrap();
        assert!(matches!(
            FinishedRun::read(folder.path()),
            Err(Error::NoResult { .. })
        ));
    }
}
