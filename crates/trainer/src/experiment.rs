//! The table of the demo: every row of the ablation on the scenes, for several numbers of
//! training clips per class.

use std::path::{Path, PathBuf};

use models::{Parts, Preset, Row, Template};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, ProtocolKind};
use crate::run::{self, Session, TrialResult};
use crate::{Error, Result};
use clips::{Ended, Interrupt, Precision, PrecisionChoice};
use demo::video_set::Recipe;

/// Width of the rows' names.
const NAMES: usize = 18;

/// Label smoothing of `best`: without it the loss is near zero after 25 updates, and the larger
/// models lose accuracy by overfitting.
const SMOOTHING: f64 = 0.1;

/// Initial words of the prompts, each one token of the backbone's vocabulary.
const WORDS: &str = "action of a";

/// Options of the demo.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The folder of videos; created if missing.
    pub videos: PathBuf,
    /// The backbone, from [`demo::pretrain`].
    pub backbone: PathBuf,
    /// The scenes.
    pub recipe: Recipe,
    /// Folder for results, features and the report.
    pub out: PathBuf,
    /// Training clips per class, one column each.
    pub shots: Vec<usize>,
    /// Draws per cell.
    pub seeds: u64,
    /// Updates per training.
    pub steps: u64,
    /// libtorch threads.
    pub threads: usize,
    /// Learning rate of preset `paper`.
    pub paper_rate: f64,
    /// Learning rate of preset `best`.
    pub best_rate: f64,
}

/// The results.
#[derive(Debug)]
pub struct Table {
    shots: Vec<usize>,
    rows: Vec<TableRow>,
    /// The folders of the runs with the most training clips.
    pub runs: Vec<PathBuf>,
}

/// Top-1 for each number of shots, 0 to 1.
#[derive(Debug)]
struct TableRow {
    name: &'static str,
    paper: Vec<f64>,
    /// Empty if the presets do not differ.
    best: Vec<f64>,
}

/// Trains and tests every cell; finished cells are read. `watch` is called for each cell with its
/// row, its shots, the number of finished cells and of all cells.
///
/// The videos must exist: see [`demo::video_set::make`].
///
/// # Errors
/// The first error of a cell.
pub fn run(
    options: &Experiment,
    interrupt: &Interrupt,
    mut watch: impl FnMut(&str, usize, usize, usize),
) -> Result<Ended<Table>> {
    let folder = options.out.join(key(options)?);
    let mut table = Table {
        shots: options.shots.clone(),
        rows: Vec::new(),
        runs: Vec::new(),
    };
    let cells: usize = Row::ALL.iter().map(|row| columns(row, options).len()).sum();
    let mut done = 0;
    for row in Row::ALL {
        let (mut paper, mut best) = (Vec::new(), Vec::new());
        for (preset, shots) in columns(row, options) {
            watch(row.name, shots, done, cells);
            let config = config(options, &folder, preset, row, shots)?;
            let place = folder.join(&config.name);
            let session = Session::open(config.check()?, interrupt.clone(), true)?;
            let accuracy = match run::run(&session, &place)? {
                Ended::Done(results) => mean(&results)?,
                Ended::Stopped => return Ok(Ended::Stopped),
            };
            match preset {
                Preset::Paper => paper.push(accuracy),
                Preset::Best => best.push(accuracy),
            }
            if options.shots.iter().max() == Some(&shots) {
                table.runs.push(place);
            }
            done += 1;
        }
        let name = row.name;
        table.rows.push(TableRow { name, paper, best });
    }
    Ok(Ended::Done(table))
}

/// The cells of a row.
fn columns(row: &Row, options: &Experiment) -> Vec<(Preset, usize)> {
    let of = |preset| options.shots.iter().map(move |&shots| (preset, shots));
    match row.parts {
        // Nothing is trained, so the number of clips has no effect.
        Parts::Clip => options
            .shots
            .iter()
            .max()
            .map(|&most| (Preset::Paper, most))
            .into_iter()
            .collect(),
        Parts::Probe | Parts::ValidatedProbe | Parts::Head(_) => of(Preset::Paper).collect(),
        Parts::Blocks(_) => of(Preset::Paper).chain(of(Preset::Best)).collect(),
    }
}

/// The configuration of one cell.
fn config(
    options: &Experiment,
    folder: &Path,
    preset: Preset,
    row: &Row,
    shots: usize,
) -> Result<Config> {
    let mut config = Config::preset(preset);
    config.name = format!("{preset}-{}-{shots}-shot", row.key);
    config.threads = Some(options.threads);
    config.data.root = Some(options.videos.clone());
    config.data.cache = folder.join("features");
    config.backbone.weights = Some(options.backbone.clone());
    config.backbone.precision = PrecisionChoice::Fixed(Precision::Fp32);
    config.protocol.name = match row.parts {
        Parts::Clip => ProtocolKind::ZeroShot,
        _ => ProtocolKind::FewShot,
    };
    config.protocol.shots = shots;
    config.protocol.seeds = (0..options.seeds).collect();
    config.model.row = *row;
    // No caption has the paper's words; a fifth of them begin with these.
    let prompts = &mut config.model.sif.prompts;
    prompts.vectors = Some(3);
    prompts.init_words = Some(WORDS.into());
    prompts.template = Template::new(format!("{WORDS} {{}}.")).map_err(models::Error::from)?;
    config.train.epochs = 1;
    config.train.min_steps = options.steps;
    config.train.save_every = options.steps.max(1);
    config.train.keep_checkpoints = 1;
    // The table compares trainings.
    config.train.judge_steps = false;
    (config.train.learning_rate, config.train.label_smoothing) = match preset {
        Preset::Paper => (options.paper_rate, 0.0),
        Preset::Best => (options.best_rate, SMOOTHING),
    };
    Ok(config)
}

/// A folder name unique to these options, so that results of another backbone, other scenes or
/// other settings are not reused.
fn key(options: &Experiment) -> Result<String> {
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
        run::REVISION
    ));
    let digest = hash.finalize();
    Ok(disk::hex(
        digest.iter().take(4).copied().collect::<Vec<_>>(),
    ))
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
        let numbers: String = self.shots.iter().map(|k| format!("{k:>6}")).collect();
        let width = numbers.len();
        let heads = ["paper, k =", "best, k ="].map(|head| format!("  {head:>width$}"));
        writeln!(formatter, "{:<NAMES$}{}{}", "", heads[0], heads[1])?;
        writeln!(formatter, "{:<NAMES$}  {numbers}  {numbers}", "top-1, %")?;
        writeln!(formatter, "{}", "-".repeat(NAMES + 2 * (width + 2)))?;
        for row in &self.rows {
            let cells = |values: &[f64]| -> String {
                let shown = |value: &f64| format!("{:>6.1}", 100.0 * value);
                format!("  {:>width$}", values.iter().map(shown).collect::<String>())
            };
            let line = format!(
                "{:<NAMES$}{}{}",
                row.name,
                cells(&row.paper),
                cells(&row.best)
            );
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
