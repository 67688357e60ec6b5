//! The papers' tables as grids of runs, each cell with the published number beside it.
//!
//! The rows of the ablation and their few-shot numbers are [`models::Row::ALL`]; everything else
//! that the papers print is one [`Line`] here.

use std::path::Path;

use clap::ValueEnum;
use data::Views;
use data::transform::RandAugment;
use models::action_clip::{Head, VisualPrompt};
use models::{Parts, Preset, Row, Template};

use crate::config::{Change, Checked, Config, DatasetKind, Precision, ProtocolKind, System};
use crate::{Error, Result};

/// A table or figure of a paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Table {
    /// Hand-crafted prompts, and learned ones of 3, 4 and 5 vectors.
    Table1,
    /// The words that learned prompts are initialised from.
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
    /// ActionCLIP from Kinetics-400 to HMDB-51 and UCF-101 without training there.
    #[value(name = "actionclip-zero-shot")]
    ActionClipZeroShot,
}

/// The data sets that the papers report.
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

/// The two ways of testing on a data set that was not trained on. Their deviations differ
/// much: lists are of all classes, halves of easy and hard ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Each official test list; of a training split only its own list.
    Lists,
    /// Ten draws of half of the classes.
    Halves,
}

/// One row of a table.
struct Line {
    table: Table,
    /// The column's name; those of few-shot and transfer columns follow from the protocol.
    column: &'static str,
    name: String,
    model: Model,
    changes: Vec<Changed>,
    /// Training clips a class, a column each; none: the closed set.
    shots: &'static [usize],
    published: Vec<Published>,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Model {
    Row(Row),
    ActionClip,
}

/// What a row changes in the defaults of its model.
#[derive(Debug, Clone, Copy)]
enum Changed {
    Frames(usize),
    MaxStep(i64),
    Vectors(i64),
    InitWords(&'static str),
    Prompt(fn() -> Template),
    Views(Views),
    Head(Head),
    VisualPrompt(VisualPrompt),
    RandAugment(RandAugment),
    Precision(Precision),
    /// Clips a step, and the parts that they are computed in.
    Batch(usize, usize),
}

/// Top-1 in per cent (on Charades mAP) for each column, and what else is printed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Published {
    dataset: Reported,
    figures: &'static [f64],
    more: &'static str,
}

const PROMPT_A: Changed = Changed::Prompt(Template::a);
const PROMPT_B: Changed = Changed::Prompt(Template::b);
const PROMPT_C: Changed = Changed::Prompt(Template::c);
const VIEWS_4X3: Changed = Changed::Views(Views::FOUR_BY_THREE);
const BF16: Changed = Changed::Precision(Precision::Bf16);
const RAND_AUGMENT: Changed = Changed::RandAugment(RandAugment {
    ops: 2,
    magnitude: 9,
});
/// Columns of the few-shot tables.
const SHOTS: &[usize] = &[2, 4, 8, 16];
/// Columns of the comparison of ActionCLIP's heads.
const FEWEST_AND_MOST: &[usize] = &[2, 16];

/// Every line but those of the ablation's rows and of ActionCLIP's heads.
#[rustfmt::skip]
fn lines() -> Vec<Line> {
    use Changed::{Batch, Frames, InitWords, MaxStep, Vectors};
    use Reported::{Charades, Hmdb51, Kinetics400, Ucf101};
    use Table::{ActionClip, ActionClipZeroShot, Fig3, Table1, Table2, Table6, Table7, Table8};
    const CLIP: Model = Model::Row(Row::CLIP);
    const MAP: Model = Model::Row(Row::MMB_MAP);
    const FULL: Model = Model::Row(Row::FULL);
    let closed = "closed-set";
    vec![
        line(Table1, closed, "CLIP, prompt A", CLIP, &[PROMPT_A], &[of(Hmdb51, &[40.9], ""), of(Ucf101, &[62.2], "")]),
        line(Table1, closed, "CLIP, prompt B", CLIP, &[PROMPT_B], &[of(Hmdb51, &[40.6], ""), of(Ucf101, &[63.5], "")]),
        line(Table1, closed, "CLIP, prompt C", CLIP, &[PROMPT_C], &[of(Hmdb51, &[41.7], ""), of(Ucf101, &[63.1], "")]),
        line(Table1, closed, "MMB + MAP, H = 3", MAP, &[Vectors(3)], &[of(Hmdb51, &[68.5], ""), of(Ucf101, &[91.5], "")]),
        line(Table1, closed, "MMB + MAP, H = 4", MAP, &[Vectors(4)], &[of(Hmdb51, &[66.0], ""), of(Ucf101, &[92.3], "")]),
        line(Table1, closed, "MMB + MAP, H = 5", MAP, &[Vectors(5)], &[of(Hmdb51, &[66.9], ""), of(Ucf101, &[92.9], "")]),
        line(Table2, closed, "a common human action of", FULL, &[InitWords("a common human action of")], &[of(Hmdb51, &[71.5], ""), of(Ucf101, &[93.9], "")]),
        line(Table2, closed, "the common human action of", FULL, &[InitWords("the common human action of")], &[of(Hmdb51, &[71.4], ""), of(Ucf101, &[93.7], "")]),
        line(Table2, closed, "a popular human action of", FULL, &[InitWords("a popular human action of")], &[of(Hmdb51, &[71.5], ""), of(Ucf101, &[93.8], "")]),
        // The paper does not say which of the two ways of testing its deviation is of.
        line(Table6, "", Row::CLIP.name, CLIP, &[], &[]),
        line(Table6, "", Row::FULL.name, FULL, &[], &[of(Hmdb51, &[50.1; 2], "± 5.4"), of(Ucf101, &[76.4; 2], "± 2.5")]),
        line(Table7, "", Row::CLIP.name, CLIP, &[], &[]),
        line(Table7, "", Row::BASELINE.name, Model::Row(Row::BASELINE), &[], &[of(Hmdb51, &[16.6], ""), of(Ucf101, &[33.8], "")]),
        line(Table7, "", Row::FULL.name, FULL, &[], &[of(Hmdb51, &[38.4], ""), of(Ucf101, &[62.7], "")]),
        line(Table8, closed, Row::CLIP.name, CLIP, &[VIEWS_4X3], &[]),
        line(Table8, closed, Row::PROBE.name, Model::Row(Row::PROBE), &[VIEWS_4X3], &[]),
        line(Table8, closed, Row::FULL.name, FULL, &[VIEWS_4X3], &[of(Hmdb51, &[72.9], "top-5 93.2"), of(Ucf101, &[96.3], "top-5 99.3"), of(Kinetics400, &[77.4], "top-5 93.6")]),
        // Four frames have differences of at most three.
        line(Fig3, "(b) frames", "T = 4", FULL, &[Frames(4), MaxStep(3)], &[]),
        line(Fig3, "(b) frames", "T = 8", FULL, &[Frames(8)], &[]),
        line(Fig3, "(b) frames", "T = 16", FULL, &[Frames(16)], &[]),
        line(Fig3, "(b) frames", "T = 32", FULL, &[Frames(32)], &[]),
        line(Fig3, "(c) vectors", "H = 3", FULL, &[Vectors(3)], &[]),
        line(Fig3, "(c) vectors", "H = 4", FULL, &[Vectors(4)], &[]),
        line(Fig3, "(c) vectors", "H = 5", FULL, &[Vectors(5)], &[]),
        line(Fig3, "(d) step", "s = 1", FULL, &[MaxStep(1)], &[]),
        line(Fig3, "(d) step", "s = 2", FULL, &[MaxStep(2)], &[]),
        line(Fig3, "(d) step", "s = 3", FULL, &[MaxStep(3)], &[]),
        line(Fig3, "(d) step", "s = 4", FULL, &[MaxStep(4)], &[]),
        line(Fig3, "(d) step", "s = 5", FULL, &[MaxStep(5)], &[]),
        // The few-shot and closed-set rows of HMDB-51 and UCF-101 start from the Kinetics-400
        // checkpoint: train.start_from.
        few_shot("ActionCLIP", Model::ActionClip, &[Batch(64, 8), BF16], &[of(Hmdb51, &[47.5, 57.9, 57.3, 59.1], "")]),
        few_shot("ActionCLIP", Model::ActionClip, &[Batch(32, 4), BF16], &[of(Ucf101, &[70.6, 71.5, 73.0, 91.4], "")]),
        line(ActionClip, closed, "ActionCLIP", Model::ActionClip, &[Batch(64, 8), BF16], &[of(Hmdb51, &[76.2], "")]),
        line(ActionClip, closed, "ActionCLIP", Model::ActionClip, &[Batch(32, 4), BF16], &[of(Ucf101, &[97.1], "")]),
        line(ActionClip, closed, "ViT-B/16, T = 8", Model::ActionClip, &[Frames(8), RAND_AUGMENT, Batch(128, 64), BF16], &[of(Kinetics400, &[81.09], "top-5 95.49; ViT-B/32 78.36, top-5 94.25")]),
        line(ActionClip, closed, "ViT-B/16, T = 16", Model::ActionClip, &[Frames(16), RAND_AUGMENT, Batch(128, 128), BF16], &[of(Kinetics400, &[81.68], "top-5 95.87")]),
        line(ActionClip, closed, "ViT-B/16, T = 32", Model::ActionClip, &[Frames(32), RAND_AUGMENT, Batch(128, 128), BF16], &[of(Kinetics400, &[82.32], "top-5 96.20; views 10x3 83.8, top-5 97.1")]),
        line(ActionClip, "mAP", "ViT-B/16, T = 32", Model::ActionClip, &[Frames(32), Batch(64, 64), BF16], &[of(Charades, &[44.3], "")]),
        line(ActionClipZeroShot, "", "ActionCLIP", Model::ActionClip, &[RAND_AUGMENT, Batch(128, 16), BF16], &[of(Hmdb51, &[40.8], "± 5.4"), of(Ucf101, &[58.3], "± 3.4")]),
    ]
}

/// The ablation's rows, with the few-shot numbers that stand beside them.
fn ablation_lines() -> impl Iterator<Item = Line> {
    use Reported::{Hmdb51, Kinetics400, Ucf101};
    Row::ALL.iter().flat_map(|row| {
        let few_shot = |table, shots, published| Line {
            shots,
            ..line(table, "", row.name, Model::Row(*row), &[], published)
        };
        let table4: &[Published] = &[of(Kinetics400, row.kinetics400, "")];
        let table5: &[Published] = &[of(Hmdb51, row.hmdb51, ""), of(Ucf101, row.ucf101, "")];
        // Figure 3 is a plot: its numbers cannot be read off.
        let blocks = line(
            Table::Fig3,
            "(a) blocks",
            row.name,
            Model::Row(*row),
            &[],
            &[],
        );
        [
            Some(few_shot(Table::Table4, &[5], table4)),
            Some(few_shot(Table::Table5, SHOTS, table5)),
            (row.parts != Parts::Probe).then_some(blocks),
        ]
        .into_iter()
        .flatten()
    })
}

/// Every head and every visual prompt of ActionCLIP, and Seeing in Flowing on the same draws.
fn head_lines() -> Vec<Line> {
    let compared = |name: &str, model, changes: &[Changed]| Line {
        shots: FEWEST_AND_MOST,
        ..few_shot(name, model, changes, &[])
    };
    let mut lines = vec![compared("Seeing in Flowing", Model::Row(Row::FULL), &[])];
    for head in Head::ALL {
        let name = head.to_string();
        lines.push(compared(&name, Model::ActionClip, &[Changed::Head(head)]));
    }
    for (name, head, prompt) in [
        (
            "transformer, shift",
            Head::Transformer,
            VisualPrompt::InNetwork,
        ),
        ("mean, joint", Head::Mean, VisualPrompt::PreNetwork),
    ] {
        let changes = [Changed::Head(head), Changed::VisualPrompt(prompt)];
        lines.push(compared(name, Model::ActionClip, &changes));
    }
    lines
}

fn line(
    table: Table,
    column: &'static str,
    name: &str,
    model: Model,
    changes: &[Changed],
    published: &[Published],
) -> Line {
    Line {
        table,
        column,
        name: name.into(),
        model,
        changes: changes.into(),
        shots: &[],
        published: published.into(),
    }
}

/// A few-shot row of ActionCLIP's table.
fn few_shot(name: &str, model: Model, changes: &[Changed], published: &[Published]) -> Line {
    Line {
        shots: SHOTS,
        ..line(Table::ActionClip, "", name, model, changes, published)
    }
}

fn of(dataset: Reported, figures: &'static [f64], more: &'static str) -> Published {
    Published {
        dataset,
        figures,
        more,
    }
}

/// What a cell is trained on and tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    FewShot(usize),
    ClosedSet,
    Transfer(Transfer),
}

impl Line {
    /// Its columns, in the order of the published figures.
    fn columns(&self) -> Vec<(String, Way)> {
        let transfers = match self.table {
            Table::Table6 => &[Transfer::Lists, Transfer::Halves][..],
            Table::Table7 => &[Transfer::Lists],
            Table::ActionClipZeroShot => &[Transfer::Halves],
            _ if self.shots.is_empty() => return vec![(self.column.into(), Way::ClosedSet)],
            _ => {
                let columns = self.shots.iter();
                return columns
                    .map(|k| (format!("k = {k}"), Way::FewShot(*k)))
                    .collect();
            }
        };
        let name = |way: &Transfer| match way {
            Transfer::Lists => "test lists",
            Transfer::Halves => "10 halves",
        };
        let columns = transfers.iter();
        columns
            .map(|way| (name(way).into(), Way::Transfer(*way)))
            .collect()
    }

    /// Whether the table of `dataset` has it. ActionCLIP's batches differ, so that each of its
    /// rows is one of a single data set; its heads are compared on any other.
    fn is_for(&self, dataset: Reported) -> bool {
        let published = self
            .published
            .iter()
            .any(|numbers| numbers.dataset == dataset);
        match (self.table, dataset) {
            (Table::ActionClip, Reported::Other) => self.published.is_empty(),
            (Table::ActionClip, _) => published,
            _ => true,
        }
    }
}

/// One cell: a run, and what the paper says of it.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The row's name.
    pub row: String,
    /// The column's name.
    pub column: String,
    /// The paper's top-1 in per cent (on Charades its mAP), where it has one.
    pub paper: Option<f64>,
    /// What the paper prints beside it.
    pub more: &'static str,
    table: Table,
    /// The data set tested on.
    dataset: Reported,
    way: Way,
    model: Model,
    changes: Vec<Changed>,
}

/// The cells of `table` for a data set, column by column.
pub fn cells(table: Table, dataset: Reported) -> Vec<Cell> {
    let all = ablation_lines().chain(lines()).chain(head_lines());
    let lines: Vec<Line> = all
        .filter(|line| line.table == table && line.is_for(dataset))
        .collect();
    let mut columns: Vec<String> = Vec::new();
    for (column, _) in lines.iter().flat_map(Line::columns) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let mut cells = Vec::new();
    for column in &columns {
        for line in &lines {
            let place = line.columns().into_iter().enumerate();
            for (at, (_, way)) in place.filter(|(_, (name, _))| name == column) {
                let mut published = line.published.iter();
                let published = published.find(|numbers| numbers.dataset == dataset);
                cells.push(Cell {
                    row: line.name.clone(),
                    column: column.clone(),
                    paper: published.and_then(|numbers| numbers.figures.get(at).copied()),
                    more: published.map_or("", |numbers| numbers.more),
                    table,
                    dataset,
                    way,
                    model: line.model,
                    changes: line.changes.clone(),
                });
            }
        }
    }
    cells
}

impl Cell {
    /// Every cell that has a published number, and every one for other data sets.
    pub fn all() -> impl Iterator<Item = Self> {
        let tables = Table::value_variants().iter();
        let all = tables.flat_map(|table| {
            let datasets = Reported::value_variants().iter();
            datasets.flat_map(|dataset| cells(*table, *dataset))
        });
        all.filter(|cell| cell.paper.is_some() || cell.dataset == Reported::Other)
    }

    /// The cell of that [`name`](Self::name).
    ///
    /// # Errors
    /// [`Error::Value`] where there is none.
    pub fn named(name: &str) -> Result<Self> {
        let mut parts = name.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        let (table, dataset, folder) = (part(), part(), part());
        let found = Table::from_str(table, false).and_then(|table| {
            let dataset = Reported::from_str(dataset, false)?;
            let mut cells = cells(table, dataset).into_iter();
            Ok(cells.find(|cell| cell.folder() == folder))
        });
        found.ok().flatten().ok_or_else(|| Error::Value {
            key: "row".into(),
            expected: "TABLE/DATASET/ROW, as `trainer config` lists them".into(),
            got: name.into(),
        })
    }

    /// `TABLE/DATASET/FOLDER`, such as `table5/ucf101/k-16-mmb-map-mcb`.
    pub fn name(&self) -> String {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let (table, dataset) = (
            self.table.to_possible_value(),
            self.dataset.to_possible_value(),
        );
        format!("{}/{}/{}", name(table), name(dataset), self.folder())
    }

    /// A name for the folder of the cell's training. Both ways of testing elsewhere share one.
    pub fn folder(&self) -> String {
        let column = match self.way {
            Way::Transfer(_) => "transfer",
            _ => &self.column,
        };
        slug(&format!("{column}-{}", self.row))
    }

    /// How another data set is tested than the one trained on, where one is.
    pub fn transfer(&self) -> Option<Transfer> {
        match self.way {
            Way::Transfer(way) => Some(way),
            _ => None,
        }
    }

    /// Whether it is a mean over the official splits, where there are several.
    pub fn every_split(&self) -> bool {
        !matches!(self.way, Way::FewShot(_))
    }

    /// The cell's configuration under `preset`: laid on top of `file`, `settings` on top of it.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn configure(
        &self,
        preset: Preset,
        file: Option<&Path>,
        settings: &[String],
    ) -> Result<Checked> {
        let system = match self.model {
            Model::Row(_) => System::SeeingInFlowing,
            Model::ActionClip => System::ActionClip,
        };
        let apply = |config: &mut Config| {
            self.apply(config);
            if let (None, Some(kind)) = (file, self.trained_on().kind()) {
                config.data.layout = kind;
            }
        };
        let change = Change {
            base: Some((system, preset)),
            apply: &apply,
        };
        Config::read_changed(file, change, settings)
    }

    fn apply(&self, config: &mut Config) {
        config.name = slug(&self.name());
        let (protocol, train) = (&mut config.protocol, &mut config.train);
        match self.way {
            Way::FewShot(shots) => {
                (protocol.name, protocol.shots) = (ProtocolKind::FewShot, shots);
            }
            Way::ClosedSet | Way::Transfer(_) => {
                (protocol.name, protocol.seeds) = (ProtocolKind::ClosedSet, vec![0]);
            }
        }
        if let Model::Row(row) = self.model {
            config.model.row = row;
            if row.parts == Parts::Clip {
                (protocol.name, protocol.seeds) = (ProtocolKind::ZeroShot, vec![0]);
            }
            if self.every_split() {
                // The paper's closed-set recipe.
                let rate;
                (train.batch_size, rate, train.epochs) = match self.trained_on() {
                    Reported::Kinetics400 => (256, 0.0012, 10),
                    _ => (128, 0.0025, 50),
                };
                train.min_steps = 1;
                if config.model.preset == Preset::Paper {
                    // SGD's.
                    train.learning_rate = rate;
                }
            }
        }
        let (sif, action_clip) = (&mut config.model.sif, &mut config.model.action_clip);
        for change in &self.changes {
            match *change {
                Changed::Frames(frames) => config.data.frames = frames,
                Changed::MaxStep(step) => sif.motion.max_step = step,
                Changed::Vectors(vectors) => sif.prompts.vectors = vectors,
                Changed::InitWords(words) => sif.prompts.init_words = Some(words.into()),
                Changed::Views(views) => protocol.views = views,
                Changed::Head(head) => action_clip.head = head,
                Changed::VisualPrompt(prompt) => action_clip.visual_prompt = prompt,
                Changed::RandAugment(augment) => config.data.augment.rand_augment = Some(augment),
                Changed::Precision(precision) => config.backbone.precision = precision,
                Changed::Batch(size, parts) => {
                    (train.batch_size, train.micro_batches) = (size, parts);
                }
                Changed::Prompt(template) => sif.prompts.template = template(),
            }
        }
    }

    fn trained_on(&self) -> Reported {
        match (self.table, self.dataset) {
            (Table::Table6 | Table::ActionClipZeroShot, _) => Reported::Kinetics400,
            (Table::Table7, Reported::Hmdb51) => Reported::Ucf101,
            (Table::Table7, Reported::Ucf101) => Reported::Hmdb51,
            (_, dataset) => dataset,
        }
    }
}

impl Reported {
    fn kind(self) -> Option<DatasetKind> {
        match self {
            Self::Hmdb51 => Some(DatasetKind::Hmdb51),
            Self::Ucf101 => Some(DatasetKind::Ucf101),
            Self::Kinetics400 => Some(DatasetKind::Kinetics400),
            Self::Charades => Some(DatasetKind::Charades),
            Self::Other => None,
        }
    }
}

/// Letters and digits in lower case, the rest as single hyphens.
fn slug(text: &str) -> String {
    let text = text.to_lowercase();
    let parts = text.split(|c: char| !c.is_alphanumeric());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeSet;

    use super::*;

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
                    for preset in Preset::ALL {
                        let config = cell.configure(preset, None, &[]).unwrap();
                        assert_eq!(config.model.preset, preset);
                        let text = config.to_toml().unwrap();
                        assert_eq!(Config::parse("again", &text, &[]).unwrap(), config);
                    }
                    let same = Cell::named(&cell.name()).unwrap();
                    assert_eq!(same.folder(), cell.folder());
                }
            }
        }
        for name in [
            "",
            "table5",
            "table5/ucf101",
            "table5/ucf101/k-3-mmb",
            "a/b/c",
        ] {
            let error = Cell::named(name).unwrap_err().to_string();
            assert!(error.contains("trainer config"), "{error}");
        }
    }

    fn find(table: Table, dataset: Reported, row: &str, column: &str) -> (Option<f64>, Checked) {
        let mut cells = cells(table, dataset).into_iter();
        let cell = cells.find(|cell| cell.row == row && cell.column == column);
        let cell = cell.unwrap();
        (
            cell.paper,
            cell.configure(Preset::Paper, None, &[]).unwrap(),
        )
    }

    #[test]
    fn the_papers_numbers_stand_where_they_belong() {
        let paper = |table, dataset, row, column| find(table, dataset, row, column).0;
        let full = "MMB + MAP + MCB";
        for (table, dataset, row, column, number) in [
            (Table::Table5, Reported::Ucf101, full, "k = 16", Some(91.6)),
            (
                Table::Table5,
                Reported::Hmdb51,
                "Baseline",
                "k = 2",
                Some(35.7),
            ),
            (Table::Table5, Reported::Other, full, "k = 2", None),
            (
                Table::Table4,
                Reported::Kinetics400,
                "MMB + MAP",
                "k = 5",
                Some(60.3),
            ),
            (
                Table::Table1,
                Reported::Hmdb51,
                "CLIP, prompt C",
                "closed-set",
                Some(41.7),
            ),
            (
                Table::Table6,
                Reported::Ucf101,
                full,
                "10 halves",
                Some(76.4),
            ),
            (
                Table::Table7,
                Reported::Hmdb51,
                full,
                "test lists",
                Some(38.4),
            ),
            (
                Table::Table8,
                Reported::Kinetics400,
                full,
                "closed-set",
                Some(77.4),
            ),
        ] {
            assert_eq!(
                paper(table, dataset, row, column),
                number,
                "{table:?} {row}"
            );
        }
        assert_eq!(Cell::all().filter(|cell| cell.paper.is_some()).count(), 90);
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
                assert_eq!(cell.every_split(), every_split, "{table:?} {}", cell.row);
            }
        }
    }

    #[test]
    fn rows_have_their_own_recipe_and_settings_win_over_it() {
        let train = |table, dataset| find(table, dataset, Row::FULL.name, "closed-set").1;
        let (ucf, k400) = (
            train(Table::Table8, Reported::Ucf101),
            train(Table::Table8, Reported::Kinetics400),
        );
        assert_eq!(
            (ucf.train.batch_size, ucf.train.learning_rate),
            (128, 0.0025)
        );
        assert_eq!(
            (k400.train.batch_size, k400.train.learning_rate),
            (256, 0.0012)
        );
        assert_eq!((k400.train.epochs, k400.train.min_steps), (10, 1));
        assert_eq!(k400.protocol.views, Views::FOUR_BY_THREE);
        assert_eq!(k400.data.layout, DatasetKind::Kinetics400);
        let cell = Cell::named("table8/ucf101/closed-set-mmb-map-mcb").unwrap();
        let with = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).into()).collect();
            cell.configure(Preset::Paper, None, &keys).unwrap()
        };
        // The rate is SGD's.
        let best = with(&["model.preset=best"]);
        assert!(best.train.learning_rate < 0.0025 && best.train.warm_start);
        assert_eq!(with(&["train.batch_size=4"]).train.batch_size, 4);
        let (_, short) = find(Table::Fig3, Reported::Hmdb51, "T = 4", "(b) frames");
        assert_eq!((short.data.frames, short.model.sif.motion.max_step), (4, 3));
    }

    #[test]
    fn action_clips_published_rows_have_its_recipe() {
        let find = |dataset, row, column| find(Table::ActionClip, dataset, row, column);
        let (paper, config) = find(Reported::Ucf101, "ActionCLIP", "k = 16");
        assert_eq!((paper, config.protocol.shots), (Some(91.4), 16));
        assert_eq!(
            (config.train.learning_rate, config.train.beta2),
            (5e-6, 0.98)
        );
        let (paper, config) = find(Reported::Hmdb51, "ActionCLIP", "closed-set");
        assert_eq!((paper, config.train.batch_size), (Some(76.2), 64));
        let (paper, config) = find(Reported::Kinetics400, "ViT-B/16, T = 32", "closed-set");
        assert_eq!((paper, config.data.frames), (Some(82.32), 32));
        assert!(config.data.augment.rand_augment.is_some());
        let (paper, _) = find(Reported::Charades, "ViT-B/16, T = 32", "mAP");
        assert_eq!(paper, Some(44.3));
        let (_, config) = find(Reported::Other, "mean, joint", "k = 2");
        let prompt = config.model.action_clip.visual_prompt;
        assert_eq!(prompt, VisualPrompt::PreNetwork);
    }
}
