//! The paper's tables as grids of runs, each cell with the paper's number beside it.

use clap::ValueEnum;
use models::action_clip::Head;

/// A table or figure of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Table {
    /// Hand-made prompts, and learned ones of 3, 4 and 5 vectors.
    Table1,
    /// The words that learned prompts start from.
    Table2,
    /// 5 shots a class on Kinetics-400.
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
    /// The published rows of ActionCLIP; for another data set each of its heads beside Seeing in
    /// Flowing.
    #[value(name = "actionclip")]
    ActionClip,
}

/// The data sets the paper reports.
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
    /// Another one: the grid is run, and there are no numbers beside it.
    Other,
}

/// One cell: a run, and what the paper says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The row's name.
    pub row: String,
    /// The column's name.
    pub column: String,
    /// The paper's top-1 in per cent (on Charades its mAP), where it has one.
    pub paper: Option<f64>,
    /// The configuration keys that make the cell.
    pub settings: Vec<String>,
    /// Whether it is a mean over the official splits, where there are several.
    pub every_split: bool,
    /// How another data set is tested than the one trained on, where one is.
    pub transfer: Option<Transfer>,
}

/// The two ways of testing on a data set that was not trained on. Their deviations differ
/// much: lists are of all classes, halves of easy and hard ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Each official test list; of a training split only its own list.
    Lists,
    /// Ten draws of half of the classes.
    Halves,
}

const ROWS: [(&str, &str); 5] = [
    ("Baseline", "baseline"),
    ("Baseline+MCB", "baseline-mcb"),
    ("MMB", "mmb"),
    ("MMB+MAP", "mmb-map"),
    ("MMB+MAP+MCB", "full"),
];
const CLOSED_SET: &str = "protocol.name=closed-set";
const SHOTS: [usize; 4] = [2, 4, 8, 16];
const TABLE5_HMDB: [[f64; 4]; 5] = [
    [35.7, 39.0, 42.1, 55.8],
    [49.4, 53.8, 57.4, 59.4],
    [53.1, 55.4, 58.4, 60.4],
    [54.2, 57.4, 62.1, 62.9],
    [55.3, 58.7, 64.0, 64.6],
];
const TABLE5_UCF: [[f64; 4]; 5] = [
    [64.0, 73.3, 78.2, 80.6],
    [72.3, 77.0, 81.1, 84.4],
    [77.0, 77.7, 81.5, 83.9],
    [78.4, 81.0, 85.6, 87.8],
    [82.4, 85.8, 89.1, 91.6],
];
const TABLE4: [f64; 5] = [54.8, 58.4, 57.9, 60.3, 61.5];
const PROMPTS: [(&str, &str); 3] = [
    ("A", "human action of {}."),
    ("B", "a human action of {}."),
    ("C", "a common human action of {}."),
];

/// The cells of `table` for a data set; none where the paper's table does not have it.
///
/// Trained cells use the preset that the caller sets; frozen CLIP is in every table.
pub fn cells(table: Table, dataset: Reported) -> Vec<Cell> {
    match table {
        Table::Table1 => table1(dataset),
        Table::Table2 => table2(dataset),
        Table::Table4 => {
            let few_shot = ["protocol.name=few-shot", "protocol.shots=5"];
            let mut cells = frozen_and_probe("5 shots", &few_shot);
            for ((name, row), paper) in ROWS.iter().zip(TABLE4) {
                let paper = (dataset == Reported::Kinetics400).then_some(paper);
                cells.push(cell(name, "5 shots", paper, &few_shot, &[&model(row)]));
            }
            cells
        }
        Table::Table5 => table5(dataset),
        Table::Table6 => {
            // (row, on HMDB-51, on UCF-101); the tested data set decides.
            let paper = match dataset {
                Reported::Hmdb51 => Some(50.1),
                Reported::Ucf101 => Some(76.4),
                _ => None,
            };
            let recipe = closed_set(256, 0.0012, 10);
            let rows = [("CLIP", "clip", None), ("MMB+MAP+MCB", "full", paper)];
            // The paper does not say which of the two its deviation is of.
            let mut cells = transfers(Transfer::Lists, &recipe, rows);
            cells.extend(transfers(Transfer::Halves, &recipe, rows));
            cells
        }
        Table::Table7 => {
            let (baseline, full) = match dataset {
                Reported::Ucf101 => (Some(33.8), Some(62.7)),
                Reported::Hmdb51 => (Some(16.6), Some(38.4)),
                _ => (None, None),
            };
            let recipe = closed_set(128, 0.0025, 50);
            let rows = [
                ("CLIP", "clip", None),
                ("Baseline", "baseline", baseline),
                ("MMB+MAP+MCB", "full", full),
            ];
            transfers(Transfer::Lists, &recipe, rows)
        }
        Table::Table8 => {
            let (paper, recipe) = match dataset {
                Reported::Hmdb51 => (Some(72.9), closed_set(128, 0.0025, 50)),
                Reported::Ucf101 => (Some(96.3), closed_set(128, 0.0025, 50)),
                Reported::Kinetics400 => (Some(77.4), closed_set(256, 0.0012, 10)),
                Reported::Charades | Reported::Other => (None, closed_set(128, 0.0025, 50)),
            };
            let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
            let mut cells = frozen_and_probe("closed-set", &recipe);
            cells.push(cell(
                "MMB+MAP+MCB",
                "closed-set",
                paper,
                &recipe,
                &[&model("full")],
            ));
            cells
        }
        Table::Fig3 => fig3(),
        Table::ActionClip => action_clip(dataset),
    }
}

fn table1(dataset: Reported) -> Vec<Cell> {
    let (hand_made, learned) = match dataset {
        Reported::Hmdb51 => (
            [Some(40.9), Some(40.6), Some(41.7)],
            [Some(68.5), Some(66.0), Some(66.9)],
        ),
        Reported::Ucf101 => (
            [Some(62.2), Some(63.5), Some(63.1)],
            [Some(91.5), Some(92.3), Some(92.9)],
        ),
        _ => ([None; 3], [None; 3]),
    };
    let mut cells = Vec::new();
    for ((name, prompt), paper) in PROMPTS.iter().zip(hand_made) {
        let template = format!("model.sif.prompts.template=\"{prompt}\"");
        let row = format!("CLIP, prompt {name}");
        cells.push(Cell {
            every_split: true,
            ..cell(
                &row,
                "test",
                paper,
                &["protocol.name=zero-shot", "protocol.seeds=[0]"],
                &[&model("clip"), &template],
            )
        });
    }
    let recipe = closed_set(128, 0.0025, 50);
    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
    for (length, paper) in [3, 4, 5].into_iter().zip(learned) {
        let vectors = format!("model.sif.prompts.vectors={length}");
        let row = format!("MMB+MAP, H = {length}");
        cells.push(cell(
            &row,
            "test",
            paper,
            &recipe,
            &[&model("mmb-map"), &vectors],
        ));
    }
    cells
}

fn table2(dataset: Reported) -> Vec<Cell> {
    let paper = match dataset {
        Reported::Hmdb51 => [Some(71.5), Some(71.4), Some(71.5)],
        Reported::Ucf101 => [Some(93.9), Some(93.7), Some(93.8)],
        _ => [None; 3],
    };
    let recipe = closed_set(128, 0.0025, 50);
    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
    let starts = [
        "a common human action of",
        "the common human action of",
        "a popular human action of",
    ];
    let cells = starts.into_iter().zip(paper).map(|(words, paper)| {
        let words_key = format!("model.sif.prompts.words=\"{words}\"");
        cell(
            words,
            "closed-set",
            paper,
            &recipe,
            &[&model("full"), &words_key],
        )
    });
    cells.collect()
}

fn table5(dataset: Reported) -> Vec<Cell> {
    let paper = |row: usize, column: usize| {
        let table = match dataset {
            Reported::Hmdb51 => TABLE5_HMDB,
            Reported::Ucf101 => TABLE5_UCF,
            _ => return None,
        };
        table.get(row)?.get(column).copied()
    };
    let mut cells = Vec::new();
    for (column, shots) in SHOTS.into_iter().enumerate() {
        let shots_key = format!("protocol.shots={shots}");
        let few_shot = ["protocol.name=few-shot", shots_key.as_str()];
        let name = format!("k = {shots}");
        cells.extend(frozen_and_probe(&name, &few_shot));
        for (place, (row, key)) in ROWS.iter().enumerate() {
            cells.push(cell(
                row,
                &name,
                paper(place, column),
                &few_shot,
                &[&model(key)],
            ));
        }
    }
    cells
}

/// Figure 3 is a plot: its numbers cannot be read off and none stand beside.
fn fig3() -> Vec<Cell> {
    let recipe = closed_set(128, 0.0025, 50);
    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
    let mut cells = Vec::new();
    for (name, row) in [("CLIP", "clip")].into_iter().chain(ROWS) {
        cells.push(cell(name, "(a) blocks", None, &recipe, &[&model(row)]));
    }
    let full = model("full");
    for frames in [4, 8, 16, 32] {
        let key = format!("data.frames={frames}");
        let row = format!("T = {frames}");
        // Four frames have differences of at most three.
        let step = format!("model.sif.motion.max_step={}", (frames - 1).min(4));
        cells.push(cell(
            &row,
            "(b) frames",
            None,
            &recipe,
            &[&full, &key, &step],
        ));
    }
    for length in [3, 4, 5] {
        let key = format!("model.sif.prompts.vectors={length}");
        let row = format!("H = {length}");
        cells.push(cell(&row, "(c) vectors", None, &recipe, &[&full, &key]));
    }
    for step in 1..=5 {
        let key = format!("model.sif.motion.max_step={step}");
        let row = format!("s = {step}");
        cells.push(cell(&row, "(d) step", None, &recipe, &[&full, &key]));
    }
    cells
}

/// ActionCLIP's published rows, ViT-B/16. The few-shot and closed-set rows of HMDB-51 and
/// UCF-101 start from its Kinetics-400 checkpoint: `train.start_from`.
fn action_clip(dataset: Reported) -> Vec<Cell> {
    let system = "model.system=action-clip";
    let closed = |batch: usize| {
        vec![
            CLOSED_SET.to_owned(),
            "protocol.seeds=[0]".into(),
            format!("train.batch={batch}"),
        ]
    };
    let (few_shot, closed_set) = match dataset {
        Reported::Hmdb51 => ([47.5, 57.9, 57.3, 59.1], (76.2, 64)),
        Reported::Ucf101 => ([70.6, 71.5, 73.0, 91.4], (97.1, 32)),
        Reported::Kinetics400 => {
            let rows = [(8, 81.09), (16, 81.68), (32, 82.32)];
            return rows
                .into_iter()
                .map(|(frames, paper)| {
                    let recipe = closed(128);
                    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
                    let frames_key = format!("data.frames={frames}");
                    let row = format!("ViT-B/16, T = {frames}");
                    let keys = [
                        system,
                        frames_key.as_str(),
                        "data.augment.rand_augment={ ops = 2, magnitude = 9 }",
                    ];
                    cell(&row, "closed-set", Some(paper), &recipe, &keys)
                })
                .collect();
        }
        Reported::Charades => {
            let recipe = closed(64);
            let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
            let keys = [system, "data.frames=32"];
            return vec![cell("ViT-B/16, T = 32", "mAP", Some(44.3), &recipe, &keys)];
        }
        Reported::Other => return heads(),
    };
    let mut cells = Vec::new();
    for (shots, paper) in SHOTS.into_iter().zip(few_shot) {
        let shots_key = format!("protocol.shots={shots}");
        let protocol = ["protocol.name=few-shot", shots_key.as_str()];
        let column = format!("k = {shots}");
        cells.push(cell(
            "ActionCLIP",
            &column,
            Some(paper),
            &protocol,
            &[system],
        ));
    }
    let (paper, batch) = closed_set;
    let recipe = closed(batch);
    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
    cells.push(cell(
        "ActionCLIP",
        "closed-set",
        Some(paper),
        &recipe,
        &[system],
    ));
    cells
}

/// Every head, what may act inside the network, and Seeing in Flowing on the same draws.
fn heads() -> Vec<Cell> {
    let system = "model.system=action-clip";
    let mut cells = Vec::new();
    for shots in [2, 16] {
        let shots_key = format!("protocol.shots={shots}");
        let protocol = ["protocol.name=few-shot", shots_key.as_str()];
        let column = format!("k = {shots}");
        cells.push(cell(
            "Seeing in Flowing",
            &column,
            None,
            &protocol,
            &[&model("full")],
        ));
        for head in Head::ALL {
            let key = format!("model.action_clip.head={head}");
            cells.push(cell(
                &head.to_string(),
                &column,
                None,
                &protocol,
                &[system, &key],
            ));
        }
        for (row, head, inside) in [
            ("transformer, shift", Head::Transformer, "shift"),
            ("mean, joint", Head::Mean, "joint"),
        ] {
            let head = format!("model.action_clip.head={head}");
            let inside = format!("model.action_clip.inside={inside}");
            cells.push(cell(
                row,
                &column,
                None,
                &protocol,
                &[system, &head, &inside],
            ));
        }
    }
    cells
}

/// Rows that stand beside the trained ones: frozen CLIP with prompt C, and the linear probe.
fn frozen_and_probe(column: &str, protocol: &[&str]) -> Vec<Cell> {
    let zero_shot = ["protocol.name=zero-shot", "protocol.seeds=[0]"];
    let probe = cell("linear probe", column, None, protocol, &[&model("probe")]);
    let clip = Cell {
        every_split: probe.every_split,
        ..cell("CLIP", column, None, &zero_shot, &[&model("clip")])
    };
    vec![clip, probe]
}

fn transfers<const N: usize>(
    transfer: Transfer,
    recipe: &[String],
    rows: [(&str, &str, Option<f64>); N],
) -> Vec<Cell> {
    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
    let column = match transfer {
        Transfer::Lists => "test lists",
        Transfer::Halves => "10 halves",
    };
    rows.into_iter()
        .map(|(name, row, paper)| Cell {
            transfer: Some(transfer),
            ..cell(name, column, paper, &recipe, &[&model(row)])
        })
        .collect()
}

/// The paper's closed-set recipe; its learning rate is SGD's, so the preset has to be `paper`
/// for it to apply.
fn closed_set(batch: usize, rate: f64, epochs: u64) -> Vec<String> {
    vec![
        CLOSED_SET.into(),
        "protocol.seeds=[0]".into(),
        format!("train.batch={batch}"),
        format!("train.epochs={epochs}"),
        "train.at_least=1".into(),
        format!("paper:train.rate={rate}"),
    ]
}

fn model(row: &str) -> String {
    format!("model.row={row}")
}

fn cell(row: &str, column: &str, paper: Option<f64>, protocol: &[&str], more: &[&str]) -> Cell {
    let settings: Vec<String> = protocol
        .iter()
        .chain(more)
        .map(|key| (*key).into())
        .collect();
    Cell {
        row: row.into(),
        column: column.into(),
        paper,
        every_split: settings.iter().any(|key| key == CLOSED_SET),
        settings,
        transfer: None,
    }
}

impl Cell {
    /// A name for the folder of the cell's training. Both ways of testing elsewhere share one.
    pub fn folder(&self) -> String {
        let column = match self.transfer {
            Some(_) => "transfer",
            None => &self.column,
        };
        let text = format!("{column}-{}", self.row).to_lowercase();
        let parts = text.split(|c: char| !c.is_alphanumeric());
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        parts.join("-")
    }

    /// The cell's keys under `preset`: those marked for another preset are left out.
    pub fn settings_for(&self, preset: &str) -> Vec<String> {
        let mark = format!("{preset}:");
        let mut keys = vec![format!("model.preset={preset}")];
        keys.extend(
            self.settings
                .iter()
                .filter_map(|key| match key.split_once(':') {
                    Some((name, _)) if name.chars().all(char::is_alphabetic) => {
                        key.strip_prefix(&mark).map(str::to_owned)
                    }
                    _ => Some(key.clone()),
                }),
        );
        keys
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;

    #[test]
    fn every_cell_of_every_table_is_a_configuration_of_its_own() {
        for table in Table::value_variants() {
            for dataset in Reported::value_variants() {
                let cells = cells(*table, *dataset);
                let folders: BTreeSet<(String, String)> = cells
                    .iter()
                    .map(|cell| (cell.folder(), cell.column.clone()))
                    .collect();
                assert_eq!(folders.len(), cells.len(), "{table:?}");
                for cell in cells {
                    for preset in ["paper", "best"] {
                        Config::read(None, &cell.settings_for(preset)).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn the_papers_numbers_stand_where_they_belong() {
        let find = |table, dataset, row: &str, column: &str| {
            let cells = cells(table, dataset);
            let found = cells
                .into_iter()
                .find(|c| c.row == row && c.column == column);
            found.unwrap().paper
        };
        let full = "MMB+MAP+MCB";
        assert_eq!(
            find(Table::Table5, Reported::Ucf101, full, "k = 16"),
            Some(91.6)
        );
        assert_eq!(
            find(Table::Table5, Reported::Hmdb51, "Baseline", "k = 2"),
            Some(35.7)
        );
        assert_eq!(find(Table::Table5, Reported::Other, full, "k = 2"), None);
        assert_eq!(
            find(Table::Table1, Reported::Hmdb51, "CLIP, prompt C", "test"),
            Some(41.7)
        );
        assert_eq!(
            find(Table::Table7, Reported::Hmdb51, full, "test lists"),
            Some(38.4)
        );
    }

    #[test]
    fn closed_set_cells_are_means_over_the_splits_and_few_shot_ones_are_not() {
        for (table, every_split) in [
            (Table::Table1, true),
            (Table::Table2, true),
            (Table::Table4, false),
            (Table::Table5, false),
            (Table::Table7, true),
            (Table::Table8, true),
            (Table::Fig3, true),
        ] {
            for cell in cells(table, Reported::Hmdb51) {
                assert_eq!(cell.every_split, every_split, "{table:?} {}", cell.row);
            }
        }
    }

    #[test]
    fn action_clips_published_rows_have_its_recipe() {
        let find = |dataset, row: &str, column: &str| {
            let mut cells = cells(Table::ActionClip, dataset).into_iter();
            let cell = cells.find(|cell| cell.row == row && cell.column == column);
            let cell = cell.unwrap();
            (
                cell.paper,
                Config::read(None, &cell.settings_for("paper")).unwrap(),
            )
        };
        let (paper, config) = find(Reported::Ucf101, "ActionCLIP", "k = 16");
        assert_eq!((paper, config.protocol.shots), (Some(91.4), 16));
        assert_eq!((config.train.rate, config.train.beta2), (5e-6, 0.98));
        let (paper, config) = find(Reported::Hmdb51, "ActionCLIP", "closed-set");
        assert_eq!((paper, config.train.batch), (Some(76.2), 64));
        let (paper, config) = find(Reported::Kinetics400, "ViT-B/16, T = 32", "closed-set");
        assert_eq!((paper, config.data.frames), (Some(82.32), 32));
        assert!(config.data.augment.rand_augment.is_some());
        assert_eq!(
            find(Reported::Charades, "ViT-B/16, T = 32", "mAP").0,
            Some(44.3)
        );
        let (_, config) = find(Reported::Other, "mean, joint", "k = 2");
        assert!(matches!(
            config.model.action_clip.inside,
            models::action_clip::Inside::Joint
        ));
    }

    #[test]
    fn the_papers_rate_is_not_given_to_best() {
        let cells = cells(Table::Table8, Reported::Hmdb51);
        let rate = |preset| {
            let keys = cells.last().unwrap().settings_for(preset);
            Config::read(None, &keys).unwrap().train.rate
        };
        assert_eq!(rate("paper"), 0.0025);
        assert!(rate("best") < 0.0025);
    }
}
