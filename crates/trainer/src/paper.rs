//! The papers' tables as grids of runs, each cell with the published number beside it.
//!
//! The rows of the ablation and their few-shot numbers are [`models::Row::ALL`]; every other row
//! of the papers is one line of `paper/lines.rs`.

mod lines;
mod published;

use std::path::Path;

use clap::ValueEnum;
use clips::{Precision, PrecisionChoice};
use data::formats::Format;
use models::{Parts, Preset};

use crate::config::{Change, Checked, Config, ProtocolKind, System};
use crate::{Error, Result};
use lines::{Line, Model, Way};

pub use cli::{Reported, Table};
pub use published::Published;

/// The two protocols for testing on another data set than the training set. Their deviations
/// differ much: lists have all classes, halves easy or hard ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Each official test list; for a training split only its own list.
    Lists,
    /// Ten draws of half of the classes.
    Halves,
}

/// One cell: a run and its published number.
#[derive(Clone)]
pub struct Cell {
    /// The row's name.
    pub row: String,
    /// The column's name.
    pub column: String,
    /// The paper's top-1 in per cent (mAP on Charades), if published.
    pub paper: Option<f64>,
    /// The paper's text beside it, such as the deviation.
    pub more: &'static str,
    line: Line,
    /// The test data set.
    dataset: Reported,
    way: Way,
}

/// The cells of `table` for a data set, column by column.
pub fn cells(table: Table, dataset: Reported) -> Vec<Cell> {
    let lines = lines::all().filter(|line| line.table == table && line.is_for(dataset));
    let mut columns: Vec<String> = Vec::new();
    let mut cells: Vec<Cell> = Vec::new();
    for line in lines {
        let published = line.published(dataset);
        for (at, (column, way)) in line.columns().into_iter().enumerate() {
            if !columns.contains(&column) {
                columns.push(column.clone());
            }
            cells.push(Cell {
                row: line.name.clone(),
                column,
                paper: published.and_then(|numbers| numbers.1.get(at).copied()),
                more: published.map_or("", |numbers| numbers.2),
                line: line.clone(),
                dataset,
                way,
            });
        }
    }
    cells.sort_by_key(|cell| columns.iter().position(|column| *column == cell.column));
    cells
}

impl Cell {
    /// Every cell with a published number, and every cell for other data sets.
    pub fn all() -> impl Iterator<Item = Self> {
        let tables = Table::value_variants().iter();
        let all = tables.flat_map(|table| {
            let datasets = Reported::value_variants().iter();
            datasets.flat_map(|dataset| cells(*table, *dataset))
        });
        all.filter(|cell| cell.paper.is_some() || cell.dataset == Reported::Other)
    }

    /// The cell with this [`name`](Self::name).
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is none.
    pub fn named(name: &str) -> Result<Self> {
        let mut parts = name.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        let (table, dataset, folder) = (part(), part(), part());
        let found = Table::from_str(table, false).and_then(|table| {
            let dataset = Reported::from_str(dataset, false)?;
            let mut cells = cells(table, dataset).into_iter();
            Ok(cells.find(|cell| cell.folder() == folder))
        });
        found.ok().flatten().ok_or_else(|| {
            let expected =
                "TABLE/DATASET/ROW, as `trainer config` lists them, or a row of model.row";
            Error::mismatch("--row", expected, name)
        })
    }

    /// `TABLE/DATASET/FOLDER`, such as `table5/ucf101/k-16-mmb-map-mcb`.
    pub fn name(&self) -> String {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let (table, dataset) = (
            self.line.table.to_possible_value(),
            self.dataset.to_possible_value(),
        );
        format!("{}/{}/{}", name(table), name(dataset), self.folder())
    }

    /// The folder name of the cell's training, shared by both transfer protocols.
    pub fn folder(&self) -> String {
        let column = match self.way {
            Way::Transfer(_) => "transfer",
            _ => &self.column,
        };
        slug(&format!("{column}-{}", self.row))
    }

    /// The transfer protocol, if the test data set is not the training set.
    pub fn transfer(&self) -> Option<Transfer> {
        match self.way {
            Way::Transfer(way) => Some(way),
            _ => None,
        }
    }

    /// Whether it is a mean over the official splits, if there are several.
    pub fn every_split(&self) -> bool {
        !matches!(self.way, Way::FewShot(_))
    }

    /// The cell's configuration with `preset`: overrides `file`, overridden by `settings`.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn configure(
        &self,
        preset: Preset,
        file: Option<&Path>,
        settings: &[String],
    ) -> Result<Checked> {
        let system = match self.line.model {
            Model::Row(_) => System::SeeingInFlowing,
            Model::ActionClip => System::ActionClip,
        };
        let apply = |config: &mut Config| {
            self.apply(config);
            if let (None, Some(layout)) = (file, layout(self.trained_on())) {
                config.data.layout = layout;
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
        config.backbone.precision = PrecisionChoice::Fixed(Precision::Fp32);
        let (protocol, train) = (&mut config.protocol, &mut config.train);
        match self.way {
            Way::FewShot(shots) => {
                (protocol.name, protocol.shots) = (ProtocolKind::FewShot, shots);
            }
            Way::ClosedSet | Way::Transfer(_) => {
                (protocol.name, protocol.seeds) = (ProtocolKind::ClosedSet, vec![0]);
            }
        }
        if let Model::Row(row) = self.line.model {
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
        (self.line.change)(config);
    }

    fn trained_on(&self) -> Reported {
        match (self.line.table, self.dataset) {
            (Table::Table6 | Table::ActionClipZeroShot, _) => Reported::Kinetics400,
            (Table::Table7, Reported::Hmdb51) => Reported::Ucf101,
            (Table::Table7, Reported::Ucf101) => Reported::Hmdb51,
            (_, dataset) => dataset,
        }
    }
}

/// The layout of a data set with published numbers in the registry of data sets.
fn layout(dataset: Reported) -> Option<&'static Format> {
    Format::named(dataset.to_possible_value()?.get_name()).ok()
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

    use data::Views;
    use models::Row;
    use models::action_clip::VisualPrompt;

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
            let error = Cell::named(name).err().unwrap().to_string();
            assert!(error.contains("trainer config"), "{error}");
        }
    }

    #[test]
    fn the_documents_name_rows_that_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut count = 0;
        for file in [
            "README.md",
            "docs/reproduction.md",
            "docs/tutorial-tables.md",
        ] {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            for after in text.split("--row ").skip(1) {
                let name = after.split_whitespace().next().unwrap();
                if name.contains('/') {
                    Cell::named(name).unwrap();
                    count += 1;
                }
            }
        }
        assert!(count >= 2, "{count}");
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
        assert_eq!(k400.data.layout.name, "kinetics400");
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
