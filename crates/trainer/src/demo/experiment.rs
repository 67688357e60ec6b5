//! The table of the demo: every row of the ablation on the scenes, at several numbers of
//! training clips a class.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use models::Template;
use sha2::{Digest as _, Sha256};

use super::video_set::Recipe;
use crate::config::{Config, Preset, ProtocolKind, Row};
use crate::interrupt::Interrupt;
use crate::run::{Finished, Session, TrialResult};
use crate::{Error, Result};

/// The rows of the table, from nothing trained to everything.
const ROWS: [(&str, Preset, Row); 8] = [
    ("CLIP, frozen", Preset::Paper, Row::Clip),
    ("linear probe on the mean", Preset::Paper, Row::Probe),
    ("Baseline", Preset::Paper, Row::Baseline),
    ("Baseline + MCB", Preset::Paper, Row::BaselineMcb),
    ("MMB", Preset::Paper, Row::Mmb),
    ("MMB + MAP", Preset::Paper, Row::MmbMap),
    ("MMB + MAP + MCB (paper)", Preset::Paper, Row::Full),
    ("MMB + MAP + MCB (best)", Preset::Best, Row::Full),
];

/// What prompts start as: three words, each one token of the backbone's vocabulary.
const WORDS: &str = "action of a";

/// What the demo runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of videos; made where it is not there.
    pub videos: PathBuf,
    /// The backbone, made by [`super::pretrain`].
    pub backbone: PathBuf,
    /// The scenes.
    pub recipe: Recipe,
    /// Where results, features and the report go.
    pub out: PathBuf,
    /// Training clips a class, a column each.
    pub shots: Vec<usize>,
    /// Draws a cell is the mean of.
    pub seeds: u64,
    /// Updates a training.
    pub steps: u64,
    /// Threads of libtorch.
    pub threads: usize,
    /// Learning rate of the rows after the paper.
    pub paper_rate: f64,
    /// Learning rate of the last row.
    pub best_rate: f64,
}

/// What came out.
#[derive(Debug)]
pub struct Table {
    shots: Vec<usize>,
    /// Name, and top-1 a column, 0 to 1.
    rows: Vec<(&'static str, Vec<f64>)>,
    /// The folders of the runs with the most training clips, a row each.
    pub runs: Vec<PathBuf>,
}

/// How the demo ended.
#[derive(Debug)]
pub enum Ended {
    /// Every cell is there.
    Finished(Table),
    /// Stopped on request; the same command goes on.
    Interrupted,
}

/// Trains and tests every cell; those that are there already are read. `watch` hears of each
/// cell: its row, its shots, how many of how many are done.
///
/// The videos have to be there: see [`super::video_set::make`].
///
/// # Errors
/// Whatever a cell meets.
pub fn run(
    options: &Options,
    interrupt: &Interrupt,
    mut watch: impl FnMut(&str, usize, usize, usize),
) -> Result<Ended> {
    let folder = options.out.join(key(options)?);
    let mut table = Table {
        shots: options.shots.clone(),
        rows: Vec::new(),
        runs: Vec::new(),
    };
    let cells = ROWS.len() * options.shots.len();
    for (place, (name, preset, row)) in ROWS.into_iter().enumerate() {
        let mut accuracies = Vec::new();
        for (column, &shots) in options.shots.iter().enumerate() {
            watch(name, shots, place * options.shots.len() + column, cells);
            let config = config(options, &folder, preset, row, shots)?;
            // Nothing is trained, so the number of clips changes nothing.
            let repeated = row == Row::Clip && column > 0;
            let run = folder.join(&config.name);
            let accuracy = match (repeated, accuracies.first()) {
                (true, Some(first)) => *first,
                _ => match Session::open(config.check()?, interrupt.clone(), true)?.run(&run)? {
                    Finished::All(results) => mean(&results)?,
                    Finished::Interrupted => return Ok(Ended::Interrupted),
                },
            };
            accuracies.push(accuracy);
            if column + 1 == options.shots.len() && !repeated {
                table.runs.push(run);
            }
        }
        table.rows.push((name, accuracies));
    }
    Ok(Ended::Finished(table))
}

/// The configuration of one cell.
fn config(
    options: &Options,
    folder: &Path,
    preset: Preset,
    row: Row,
    shots: usize,
) -> Result<Config> {
    let mut config = Config::preset(preset);
    let word = |value: serde_json::Result<String>| value.unwrap_or_default().replace('"', "");
    config.name = format!(
        "{}-{}-{shots}-shot",
        word(serde_json::to_string(&preset)),
        word(serde_json::to_string(&row))
    );
    config.threads = options.threads;
    config.data.root = Some(options.videos.clone());
    config.data.cache = folder.join("features");
    config.backbone.weights = Some(options.backbone.clone());
    config.protocol.name = match row {
        Row::Clip => ProtocolKind::ZeroShot,
        _ => ProtocolKind::FewShot,
    };
    config.protocol.shots = shots;
    config.protocol.seeds = (0..options.seeds).collect();
    config.model.row = row;
    // The paper's words were never in a caption; these open every fifth of them.
    let prompts = &mut config.model.sif.prompts;
    prompts.vectors = 3;
    prompts.words = Some(WORDS.into());
    prompts.template = Template::new(format!("{WORDS} {{}}.")).map_err(models::Error::from)?;
    config.train.epochs = 1;
    config.train.at_least = options.steps;
    config.train.save_every = options.steps.max(1);
    config.train.keep = 1;
    config.train.rate = match preset {
        Preset::Paper => options.paper_rate,
        Preset::Best => options.best_rate,
    };
    Ok(config)
}

/// A folder name that no other options share: results of another backbone, other scenes or
/// other settings are never taken for these.
fn key(options: &Options) -> Result<String> {
    let recipe = serde_json::to_string(&options.recipe).map_err(|error| Error::Syntax {
        origin: "recipe of the demo".into(),
        reason: error.to_string(),
    })?;
    let mut hash = Sha256::new();
    let weights = options.backbone.join("model.safetensors");
    hash.update(std::fs::read(&weights).map_err(Error::file("cannot read", &weights))?);
    hash.update(format!(
        "{recipe} {:?} {} {} {} {} {} {}",
        options.videos,
        options.seeds,
        options.steps,
        options.threads,
        options.paper_rate,
        options.best_rate,
        crate::run::REVISION
    ));
    let digest = hash.finalize();
    Ok(digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Mean top-1 over the draws.
fn mean(results: &[TrialResult]) -> Result<f64> {
    let accuracies: Vec<f64> = results
        .iter()
        .flat_map(|result| &result.tests)
        .map(|test| test.accuracy.top1)
        .collect();
    match accuracies.len() {
        0 => Err(Error::mismatch("draws of the demo", "at least 1", 0)),
        count => Ok(accuracies.iter().sum::<f64>() / count as f64),
    }
}

impl std::fmt::Display for Table {
    /// At most 80 columns.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut line = format!("{:<26}", "top-1, %");
        for shots in &self.shots {
            let _ = write!(line, "{:>10}", format!("k = {shots}"));
        }
        writeln!(formatter, "{line}\n{}", "-".repeat(line.len()))?;
        for (name, accuracies) in &self.rows {
            write!(formatter, "{name:<26}")?;
            for accuracy in accuracies {
                write!(formatter, "{:>10.1}", 100.0 * accuracy)?;
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}
