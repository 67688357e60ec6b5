//! `trainer reproduce`: the grid of one table of the paper.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use trainer::config::{Config, Row, System};
use trainer::engine::last_checkpoint;
use trainer::grid::{Cell, Reported, Table, cells};
use trainer::interrupt::Interrupt;
use trainer::metrics::Spread;
use trainer::run::{Evaluation, Finished, Record, Session, TrialResult};

use super::eval::seeds;
use super::exit;
use super::settings::{Settings, setting};

/// Run the grid of one table of the paper, and print its numbers beside the paper's.
///
/// Finished cells are not run again: the same command goes on where it stopped. --set changes
/// keys of every cell, such as protocol.seeds=[0,1,2].
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The table or figure.
    #[arg(value_enum)]
    table: Table,

    #[command(flatten)]
    settings: Settings,

    /// Whose numbers of the paper to print: the data set tested on.
    #[arg(long, value_enum, default_value_t = Reported::Other)]
    paper: Reported,

    /// paper, best, or both.
    #[arg(long, default_value = "paper", value_parser = ["paper", "best", "both"])]
    preset: String,

    /// Tables 6 and 7: the folder of videos tested on.
    #[arg(long, value_name = "DIR")]
    test_root: Option<PathBuf>,

    /// Tables 6 and 7: its lists.
    #[arg(long, value_name = "DIR")]
    test_lists: Option<PathBuf>,

    /// Tables 6 and 7: its kind.
    #[arg(long, value_name = "KIND")]
    test_dataset: Option<String>,

    /// Where the cells' folders go.
    #[arg(long, short, value_name = "DIR", default_value = "runs/reproduce")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let presets: &[&str] = match arguments.preset.as_str() {
        "paper" => &["paper"],
        "best" => &["best"],
        _ => &["paper", "best"],
    };
    let grid = cells(arguments.table, arguments.paper);
    if grid.iter().any(|cell| cell.transfer) && arguments.test_root.is_none() {
        bail!("this table tests on another data set: give --test-root (and --test-lists)");
    }
    let interrupt = Interrupt::install()?;
    let mut session: Option<Session> = None;
    let mut protocol = String::new();
    print!(
        "{:<28} {:<12} {:<6} {:>6} {:>6} {:>5} {:>4}",
        "row", "column", "preset", "paper", "ours", "±", "n"
    );
    match arguments.table {
        Table::ActionClip => println!(" {:>9} {:>7} {:>6}", "trained M", "s/step", "GiB"),
        _ => println!(),
    }
    for cell in &grid {
        for preset in presets {
            let mut keys = cell.settings_for(preset);
            keys.push(setting("name", &format!("{} {preset}", cell.folder())));
            keys.extend(arguments.settings.overrides());
            let config = Config::read(arguments.settings.file(), &keys)?;
            // Presets are Seeing in Flowing's; without training they change nothing.
            let indifferent = config.model.system == System::ActionClip
                || matches!(config.model.row, Row::Clip | Row::Probe);
            if indifferent && presets.first() != Some(preset) {
                continue;
            }
            let session = match &mut session {
                Some(session) => {
                    session.config = config;
                    session
                }
                None => {
                    let quiet = arguments.settings.quiet;
                    session.insert(Session::open(config, interrupt.clone(), quiet)?)
                }
            };
            let folder = arguments.out.join(format!("{}-{preset}", cell.folder()));
            let results = match cell.transfer {
                false => session.run(&folder)?,
                true => transfer(arguments, session, &folder, &interrupt)?,
            };
            let Finished::All(results) = results else {
                eprintln!("stopped; the same command goes on");
                return Ok(ExitCode::from(exit::INTERRUPTED));
            };
            print_cell(arguments.table, cell, preset, &results);
            if let Some(first) = results.first() {
                protocol.clone_from(&first.protocol);
            }
        }
    }
    println!("{protocol}");
    Ok(ExitCode::SUCCESS)
}

fn print_cell(table: Table, cell: &Cell, preset: &str, results: &[TrialResult]) {
    let figure = |result: &TrialResult| {
        let test = result.tests.first()?;
        Some(100.0 * test.mean_average_precision.unwrap_or(test.accuracy.top1))
    };
    let values: Vec<f64> = results.iter().filter_map(figure).collect();
    let Some(spread) = Spread::new(&values) else {
        return;
    };
    let paper = cell
        .paper
        .map_or_else(|| "-".into(), |paper| format!("{paper:.1}"));
    print!(
        "{:<28} {:<12} {:<6} {:>6} {:>6.1} {:>5.1} {:>4}",
        cell.row, cell.column, preset, paper, spread.mean, spread.deviation, spread.count
    );
    let cost = results.first().and_then(|result| result.cost.as_ref());
    if let (Table::ActionClip, Some(cost)) = (table, cost) {
        print!(
            " {:>9.3} {:>7.2} {:>6}",
            cost.parameters as f64 / 1e6,
            cost.step_seconds,
            cost.peak_memory.map_or_else(
                || "-".into(),
                |bytes| format!("{:.2}", bytes as f64 / f64::from(1 << 30))
            )
        );
    }
    println!();
}

/// Trains on one data set and tests on another.
fn transfer(
    arguments: &Arguments,
    session: &Session,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<Finished> {
    let mut keys = Vec::new();
    for (key, path) in [
        ("data.root", &arguments.test_root),
        ("data.lists", &arguments.test_lists),
    ] {
        if let Some(path) = path {
            keys.push(setting(key, &path.display().to_string()));
        }
    }
    if let Some(kind) = &arguments.test_dataset {
        keys.push(setting("data.layout", kind));
    }
    if session.config.model.row == Row::Clip {
        keys.push("protocol.name=zero-shot".into());
        let config = Config::parse("cell", &session.config.to_toml()?, &keys)?;
        let there = Session::open(config, interrupt.clone(), session.quiet)?;
        return Ok(there.run(folder)?);
    }
    if let Finished::Interrupted = session.run(folder)? {
        return Ok(Finished::Interrupted);
    }
    let config = Config::parse("cell", &session.config.to_toml()?, &keys)?;
    let there = Session::open(config, interrupt.clone(), session.quiet)?;
    let mut results = Vec::new();
    for seed in seeds(folder)? {
        let loaded = last_checkpoint::<Record>(&seed)?
            .with_context(|| format!("no checkpoint in {}", seed.display()))?;
        match there.evaluate(&loaded, &seed.join("transfer"))? {
            Evaluation::Done(more) => results.extend(more),
            Evaluation::Interrupted => return Ok(Finished::Interrupted),
        }
    }
    Ok(Finished::All(results))
}
