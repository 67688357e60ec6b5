//! `trainer reproduce`: the grid of one table of the paper.

mod heads_table;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cli::reproduce::Arguments;
use clips::{Ended, Interrupt};
use dist::Share;
use models::{Parts, Preset};
use trainer::config::{Checked, Config, System};
use trainer::metrics::Spread;
use trainer::paper::{Cell, Published, Table, Transfer, cells};
use trainer::run::{self, FewClips, Record, Session, TrialResult};

use self::heads_table::HeadsTable;
use super::eval::seeds;
use super::exit;
use super::settings::{Configured as _, setting};

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    if arguments.settings.row.is_some() {
        bail!("reproduce runs every row of a table; for a single one: trainer train --row");
    }
    let share = match &arguments.share {
        Some(share) => Share::of(share, &std::env::vars().collect())?,
        None => Share { index: 0, of: 1 },
    };
    if arguments.table == Table::FewClips {
        if share.of > 1 {
            bail!("few-clips has no cells to share");
        }
        return few_clips(arguments);
    }
    let asked = |preset: &Preset| ["both", &preset.to_string()].contains(&&*arguments.preset);
    let presets: Vec<Preset> = Preset::ALL.into_iter().filter(asked).collect();
    let grid = cells(arguments.table, arguments.paper);
    if grid.iter().any(|cell| cell.transfer().is_some()) && arguments.test_root.is_none() {
        bail!("this table tests on another data set: give --test-root (and --test-lists)");
    }
    let mut runner = Runner {
        arguments,
        interrupt: super::install_interrupt()?,
        here: None,
        there: None,
    };
    let mut notes = Footnotes::default();
    let mut heads = HeadsTable::default();
    print_header(arguments.table)?;
    let mut number = 0;
    for cell in &grid {
        for &preset in &presets {
            // Presets apply to Seeing in Flowing only; without training they change nothing.
            let config = runner.config(cell, preset, 1)?;
            let indifferent = config.model.system == System::ActionClip
                || !matches!(config.model.row.parts, Parts::Blocks(_));
            if indifferent && presets.first() != Some(&preset) {
                continue;
            }
            number += 1;
            if (number - 1) % share.of != share.index {
                continue;
            }
            let Ended::Done(results) = runner.cell(cell, preset)? else {
                eprintln!("stopped; the same command resumes");
                return Ok(exit::INTERRUPTED);
            };
            let parts = config.model.row.parts;
            match arguments.table {
                Table::Heads => {
                    let probe = !matches!(parts, Parts::Clip | Parts::Head(_) | Parts::Blocks(_));
                    heads.add(&cell.row, &cell.column, probe, top1(&results));
                    if !arguments.settings.quiet {
                        eprintln!("{}, {}: done", cell.column, cell.row);
                    }
                }
                table => print_cell(table, cell, preset, &results)?,
            }
            notes.add(&cell.column, &results);
        }
    }
    if arguments.table == Table::Heads {
        say_part!("{heads}");
    }
    if let (Table::Table5 | Table::Heads, Some(published)) =
        (arguments.table, Published::of(arguments.paper))
    {
        say_part!("{published}");
    }
    say_part!("{}", notes.text());
    Ok(exit::DONE)
}

/// Compares the estimates of `fit` with the test recordings.
fn few_clips(arguments: &Arguments) -> Result<u8> {
    let mut keys = vec![
        setting("name", "few clips"),
        "model.preset=best".into(),
        // The folds judge the solved start.
        "train.epochs=1".into(),
        "train.min_steps=1".into(),
        setting(
            "data.cache",
            &arguments.out.join("features").display().to_string(),
        ),
        format!("protocol.seeds={:?}", (0..100).collect::<Vec<u64>>()),
    ];
    keys.extend(arguments.settings.overrides());
    let config = Config::read(arguments.settings.file(), &keys)?;
    let session = Session::open(
        config,
        super::install_interrupt()?,
        arguments.settings.quiet,
    )?;
    session.notes().for_each(|note| eprintln!("note: {note}"));
    let quiet = arguments.settings.quiet;
    let watch = |name: &'static str| {
        move |done: usize| {
            if !quiet && done.is_multiple_of(10) {
                eprintln!("{name}: {done} done");
            }
        }
    };
    let Ended::Done(study) = FewClips::new(&session)? else {
        return Ok(super::stopped());
    };
    say!("{}", session.protocol());
    for shots in FewClips::SHOTS {
        match study.draws(shots, watch("draws"))? {
            Ended::Done(found) => say_part!("{found}"),
            Ended::Stopped => return Ok(super::stopped()),
        }
    }
    for test in [false, true] {
        match study.strangers(test, watch("choices of known classes"))? {
            Ended::Done(found) => say_part!("{found}"),
            Ended::Stopped => return Ok(super::stopped()),
        }
    }
    for (classes, shots) in FewClips::PLANTED {
        match study.planted(classes, shots, watch("planted mistakes"))? {
            Ended::Done(found) => say_part!("{found}"),
            Ended::Stopped => return Ok(super::stopped()),
        }
    }
    Ok(exit::DONE)
}

/// Runs cells in sessions that are opened once.
struct Runner<'a> {
    arguments: &'a Arguments,
    interrupt: Interrupt,
    /// The data set trained on.
    here: Option<Session>,
    /// The test data set, if it is another.
    there: Option<Session>,
}

impl Runner<'_> {
    /// The cell's configuration on official split `split`, unless --set names another.
    fn config(&self, cell: &Cell, preset: Preset, split: usize) -> Result<Checked> {
        let mut keys = vec![
            setting("name", &format!("{} {preset}", cell.folder())),
            format!("protocol.split={split}"),
        ];
        let settings = &self.arguments.settings;
        keys.extend(settings.overrides());
        Ok(cell.configure(preset, settings.file(), &keys)?)
    }

    /// All results of a cell: over its seeds, and over its splits if it is a mean of them.
    fn cell(&mut self, cell: &Cell, preset: Preset) -> Result<Ended<Vec<TrialResult>>> {
        let config = self.config(cell, preset, 1)?;
        // --set protocol.split=N selects that one alone.
        let asked = self.config(cell, preset, 2)?.protocol.split == config.protocol.split;
        let free = cell.every_split() && !asked;
        let splits = self
            .open_here(config)?
            .dataset
            .manifest
            .splits()
            .len()
            .clamp(1, 3);
        let count = if free { splits } else { 1 };
        let mut results = Vec::new();
        for split in 1..=count {
            let config = self.config(cell, preset, split)?;
            let mut name = format!("{}-{preset}", cell.folder());
            if count > 1 {
                name = format!("{name}-split{}", config.protocol.split);
            }
            let folder = self.arguments.out.join(name);
            let finished = match cell.transfer() {
                None => run::run(self.open_here(config)?, &folder)?,
                Some(way) => self.transfer(way, config, &folder, free && count == 1)?,
            };
            match finished {
                Ended::Done(more) => results.extend(more),
                Ended::Stopped => return Ok(Ended::Stopped),
            }
        }
        Ok(Ended::Done(results))
    }

    /// Trains on one data set and tests on another: on every list if `every_list`, for a training
    /// set with a single split, else on the list with the split's number.
    fn transfer(
        &mut self,
        way: Transfer,
        config: Checked,
        folder: &Path,
        every_list: bool,
    ) -> Result<Ended<Vec<TrialResult>>> {
        let trains = config.model.row.parts != Parts::Clip;
        let toml = config.to_toml()?;
        let split = config.protocol.split;
        let here = self.open_here(config)?;
        if trains && matches!(run::run(here, folder)?, Ended::Stopped) {
            return Ok(Ended::Stopped);
        }
        let (name, below) = match way {
            Transfer::Lists => ("zero-shot", "lists"),
            Transfer::Halves => ("zero-shot-halves", "halves"),
        };
        let mut results = Vec::new();
        let mut list = split;
        loop {
            let mut keys = vec![
                format!("protocol.name={name}"),
                format!("protocol.split={list}"),
            ];
            if way == Transfer::Halves {
                keys.push("protocol.seeds=[0,1,2,3,4,5,6,7,8,9]".into());
            }
            let there = self.open_there(&toml, keys)?;
            let lists = there.dataset.manifest.splits().len();
            let place = |seed: &Path| seed.join(format!("{below}-{list}"));
            if trains {
                for seed in seeds(folder)? {
                    let loaded = recogniser::newest::<Record>(&seed)?
                        .with_context(|| format!("no checkpoint in {}", seed.display()))?;
                    match run::evaluate_what_is_left(there, &loaded, &place(&seed))? {
                        Ended::Done(more) => results.extend(more),
                        Ended::Stopped => return Ok(Ended::Stopped),
                    }
                }
            } else {
                match run::run(there, &place(folder))? {
                    Ended::Done(more) => results.extend(more),
                    Ended::Stopped => return Ok(Ended::Stopped),
                }
            }
            list += 1;
            if way == Transfer::Halves || !every_list || list > lists.min(3) {
                return Ok(Ended::Done(results));
            }
        }
    }

    fn open_here(&mut self, config: Checked) -> Result<&mut Session> {
        open(&mut self.here, config, &self.interrupt, self.arguments)
    }

    /// The session of the test data set: a cell's configuration with `keys`.
    fn open_there(&mut self, toml: &str, mut keys: Vec<String>) -> Result<&mut Session> {
        for (key, path) in [
            ("data.root", &self.arguments.test_root),
            ("data.lists", &self.arguments.test_lists),
        ] {
            if let Some(path) = path {
                keys.push(setting(key, &path.display().to_string()));
            }
        }
        if let Some(kind) = &self.arguments.test_dataset {
            keys.push(setting("data.layout", kind));
        }
        let mut config = Config::clone(&*Config::parse("cell", toml, &keys)?);
        config.train.start_from = None;
        if self.arguments.test_lists.is_none() {
            // The training set's lists do not apply here.
            config.data.lists = None;
        }
        let config = config.check()?;
        open(&mut self.there, config, &self.interrupt, self.arguments)
    }
}

/// Replaces `session` by one of `config` that shares its data set and backbone.
fn open<'a>(
    session: &'a mut Option<Session>,
    config: Checked,
    interrupt: &Interrupt,
    arguments: &Arguments,
) -> Result<&'a mut Session> {
    let opened = match session.take() {
        Some(session) => session.with(config)?,
        None => {
            let opened = Session::open(config, interrupt.clone(), arguments.settings.quiet)?;
            opened.notes().for_each(|note| eprintln!("note: {note}"));
            opened
        }
    };
    Ok(session.insert(opened))
}

/// The protocols of the numbers above, each once, with its seeds and columns.
#[derive(Default)]
struct Footnotes {
    notes: Vec<Footnote>,
    backbone: String,
}

struct Footnote {
    protocol: String,
    columns: Vec<String>,
    seeds: BTreeSet<u64>,
}

impl Footnotes {
    fn add(&mut self, column: &str, results: &[TrialResult]) {
        for result in results {
            self.backbone.clone_from(&result.backbone);
            let known = self
                .notes
                .iter_mut()
                .find(|note| note.protocol == result.protocol);
            let note = match known {
                Some(note) => note,
                None => {
                    self.notes.push(Footnote {
                        protocol: result.protocol.clone(),
                        columns: Vec::new(),
                        seeds: BTreeSet::new(),
                    });
                    let Some(note) = self.notes.last_mut() else {
                        continue;
                    };
                    note
                }
            };
            note.seeds.insert(result.seed);
            if !note.columns.iter().any(|other| other == column) {
                note.columns.push(column.to_owned());
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for note in &self.notes {
            let seeds: Vec<String> = note.seeds.iter().map(u64::to_string).collect();
            text.push_str(&format!(
                "{}\n    seeds {}; in {}\n",
                note.protocol,
                seeds.join(" "),
                note.columns.join(", ")
            ));
        }
        let backbone = self.backbone.get(..12).unwrap_or_default();
        text.push_str(&format!("backbone {backbone}\n"));
        text
    }
}

fn print_header(table: Table) -> Result<()> {
    if table == Table::Heads {
        return Ok(());
    }
    say_part!(
        "{:<28} {:<12} {:<6} {:>6} {:>6} {:>5} {:>4}",
        "row",
        "column",
        "preset",
        "paper",
        "ours",
        "±",
        "n"
    );
    match table {
        Table::ActionClip => say!(" {:>9} {:>7} {:>6}", "trained M", "s/step", "GiB"),
        _ => say!(),
    }
    Ok(())
}

/// Top-1, or mAP, of each result in per cent.
fn top1(results: &[TrialResult]) -> Vec<f64> {
    let figure = |result: &TrialResult| {
        let test = result.tests.first()?;
        Some(100.0 * test.mean_average_precision.unwrap_or(test.accuracy.top1))
    };
    results.iter().filter_map(figure).collect()
}

fn print_cell(table: Table, cell: &Cell, preset: Preset, results: &[TrialResult]) -> Result<()> {
    let Some(spread) = Spread::new(&top1(results)) else {
        return Ok(());
    };
    let paper = cell
        .paper
        .map_or_else(|| "-".into(), |paper| format!("{paper:.1}"));
    say_part!(
        "{:<28} {:<12} {:<6} {:>6} {:>6.1} {:>5.1} {:>4}",
        cell.row,
        cell.column,
        preset,
        paper,
        spread.mean,
        spread.deviation,
        spread.count
    );
    let cost = results.first().and_then(|result| result.cost.as_ref());
    if let (Table::ActionClip, Some(cost)) = (table, cost) {
        say_part!(
            " {:>9.3} {:>7.2} {:>6}",
            cost.trainable_parameters as f64 / 1e6,
            cost.seconds_per_step,
            cost.peak_memory_bytes.map_or_else(
                || "-".into(),
                |bytes| format!("{:.2}", bytes as f64 / f64::from(1 << 30))
            )
        );
    }
    say!();
    Ok(())
}
