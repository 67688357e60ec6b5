//! The rows of the papers' tables, each with its configuration and published numbers.

use std::rc::Rc;

use data::Views;
use models::action_clip::{Head, VisualPrompt};
use models::{Parts, Row, Template};
use pixels::RandAugment;

use super::{Reported, Table, Transfer};
use clips::{Precision, PrecisionChoice};

use crate::config::Config;

/// One row of a table.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) table: Table,
    /// The column's name; few-shot and transfer columns are named by the protocol.
    column: &'static str,
    pub(super) name: String,
    pub(super) model: Model,
    /// Changes the defaults of its model.
    pub(super) change: Rc<dyn Fn(&mut Config)>,
    /// Training clips per class, one column each; empty: the closed set.
    shots: &'static [usize],
    published: Vec<Published>,
}

/// The model of a row.
#[derive(Clone, Copy)]
pub(super) enum Model {
    Row(Row),
    ActionClip,
}

/// Top-1 in per cent (mAP on Charades) for each column, and the text beside it.
#[derive(Clone, Copy)]
pub(super) struct Published(Reported, pub(super) &'static [f64], pub(super) &'static str);

/// Columns of the few-shot tables.
const SHOTS: &[usize] = &[2, 4, 8, 16];

/// Every line.
pub(super) fn all() -> impl Iterator<Item = Line> {
    ablation_lines()
        .chain(lines())
        .chain(action_clip_lines())
        .chain(frozen_head_lines())
}

/// Every line except those of the ablation's rows and of ActionCLIP's heads.
#[rustfmt::skip]
fn lines() -> Vec<Line> {
    use Published as P;
    use Reported::{Charades, Hmdb51, Kinetics400, Ucf101};
    use Table::{ActionClip, ActionClipZeroShot, Fig3, Table1, Table2, Table6, Table7, Table8};
    const CLIP: Model = Model::Row(Row::CLIP);
    const MAP: Model = Model::Row(Row::MMB_MAP);
    const FULL: Model = Model::Row(Row::FULL);
    let closed = "closed-set";
    vec![
        line(Table1, closed, "CLIP, prompt A", CLIP, |c| c.model.sif.prompts.template = Template::a(), &[P(Hmdb51, &[40.9], ""), P(Ucf101, &[62.2], "")]),
        line(Table1, closed, "CLIP, prompt B", CLIP, |c| c.model.sif.prompts.template = Template::b(), &[P(Hmdb51, &[40.6], ""), P(Ucf101, &[63.5], "")]),
        line(Table1, closed, "CLIP, prompt C", CLIP, |c| c.model.sif.prompts.template = Template::c(), &[P(Hmdb51, &[41.7], ""), P(Ucf101, &[63.1], "")]),
        line(Table1, closed, "MMB + MAP, H = 3", MAP, |c| c.model.sif.prompts.vectors = Some(3), &[P(Hmdb51, &[68.5], ""), P(Ucf101, &[91.5], "")]),
        line(Table1, closed, "MMB + MAP, H = 4", MAP, |c| c.model.sif.prompts.vectors = Some(4), &[P(Hmdb51, &[66.0], ""), P(Ucf101, &[92.3], "")]),
        line(Table1, closed, "MMB + MAP, H = 5", MAP, |c| c.model.sif.prompts.vectors = Some(5), &[P(Hmdb51, &[66.9], ""), P(Ucf101, &[92.9], "")]),
        line(Table2, closed, "a common human action of", FULL, |c| init_words(c, "a common human action of"), &[P(Hmdb51, &[71.5], ""), P(Ucf101, &[93.9], "")]),
        line(Table2, closed, "the common human action of", FULL, |c| init_words(c, "the common human action of"), &[P(Hmdb51, &[71.4], ""), P(Ucf101, &[93.7], "")]),
        line(Table2, closed, "a popular human action of", FULL, |c| init_words(c, "a popular human action of"), &[P(Hmdb51, &[71.5], ""), P(Ucf101, &[93.8], "")]),
        // The paper does not say which of the two protocols its deviation is for.
        line(Table6, "", Row::CLIP.name, CLIP, |_| {}, &[]),
        line(Table6, "", Row::FULL.name, FULL, |_| {}, &[P(Hmdb51, &[50.1; 2], "± 5.4"), P(Ucf101, &[76.4; 2], "± 2.5")]),
        line(Table7, "", Row::CLIP.name, CLIP, |_| {}, &[]),
        line(Table7, "", Row::BASELINE.name, Model::Row(Row::BASELINE), |_| {}, &[P(Hmdb51, &[16.6], ""), P(Ucf101, &[33.8], "")]),
        line(Table7, "", Row::FULL.name, FULL, |_| {}, &[P(Hmdb51, &[38.4], ""), P(Ucf101, &[62.7], "")]),
        line(Table8, closed, Row::CLIP.name, CLIP, views_4x3, &[]),
        line(Table8, closed, Row::PROBE.name, Model::Row(Row::PROBE), views_4x3, &[]),
        line(Table8, closed, Row::FULL.name, FULL, views_4x3, &[P(Hmdb51, &[72.9], "top-5 93.2"), P(Ucf101, &[96.3], "top-5 99.3"), P(Kinetics400, &[77.4], "top-5 93.6")]),
        // Figure 3 is a plot without exact numbers. Four frames have temporal steps of at most
        // three.
        line(Fig3, "(b) frames", "T = 4", FULL, |c| (c.data.frames, c.model.sif.motion.max_step) = (4, 3), &[]),
        line(Fig3, "(b) frames", "T = 8", FULL, |c| c.data.frames = 8, &[]),
        line(Fig3, "(b) frames", "T = 16", FULL, |c| c.data.frames = 16, &[]),
        line(Fig3, "(b) frames", "T = 32", FULL, |c| c.data.frames = 32, &[]),
        line(Fig3, "(c) vectors", "H = 3", FULL, |c| c.model.sif.prompts.vectors = Some(3), &[]),
        line(Fig3, "(c) vectors", "H = 4", FULL, |c| c.model.sif.prompts.vectors = Some(4), &[]),
        line(Fig3, "(c) vectors", "H = 5", FULL, |c| c.model.sif.prompts.vectors = Some(5), &[]),
        line(Fig3, "(d) step", "s = 1", FULL, |c| c.model.sif.motion.max_step = 1, &[]),
        line(Fig3, "(d) step", "s = 2", FULL, |c| c.model.sif.motion.max_step = 2, &[]),
        line(Fig3, "(d) step", "s = 3", FULL, |c| c.model.sif.motion.max_step = 3, &[]),
        line(Fig3, "(d) step", "s = 4", FULL, |c| c.model.sif.motion.max_step = 4, &[]),
        line(Fig3, "(d) step", "s = 5", FULL, |c| c.model.sif.motion.max_step = 5, &[]),
        // The few-shot and closed-set rows of HMDB-51 and UCF-101 start from the Kinetics-400
        // checkpoint: train.start_from.
        few_shot("ActionCLIP", Model::ActionClip, |c| bf16_batch(c, 64, 8), &[P(Hmdb51, &[47.5, 57.9, 57.3, 59.1], "")]),
        few_shot("ActionCLIP", Model::ActionClip, |c| bf16_batch(c, 32, 4), &[P(Ucf101, &[70.6, 71.5, 73.0, 91.4], "")]),
        line(ActionClip, closed, "ActionCLIP", Model::ActionClip, |c| bf16_batch(c, 64, 8), &[P(Hmdb51, &[76.2], "")]),
        line(ActionClip, closed, "ActionCLIP", Model::ActionClip, |c| bf16_batch(c, 32, 4), &[P(Ucf101, &[97.1], "")]),
        line(ActionClip, closed, "ViT-B/16, T = 8", Model::ActionClip, |c| kinetics(c, 8, 64), &[P(Kinetics400, &[81.09], "top-5 95.49; ViT-B/32 78.36, top-5 94.25")]),
        line(ActionClip, closed, "ViT-B/16, T = 16", Model::ActionClip, |c| kinetics(c, 16, 128), &[P(Kinetics400, &[81.68], "top-5 95.87")]),
        line(ActionClip, closed, "ViT-B/16, T = 32", Model::ActionClip, |c| kinetics(c, 32, 128), &[P(Kinetics400, &[82.32], "top-5 96.20; views 10x3 83.8, top-5 97.1")]),
        line(ActionClip, "mAP", "ViT-B/16, T = 32", Model::ActionClip, |c| { c.data.frames = 32; bf16_batch(c, 64, 64) }, &[P(Charades, &[44.3], "")]),
        line(ActionClipZeroShot, "", "ActionCLIP", Model::ActionClip, |c| kinetics(c, 8, 64), &[P(Hmdb51, &[40.8], "± 5.4"), P(Ucf101, &[58.3], "± 3.4")]),
    ]
}

fn init_words(config: &mut Config, words: &str) {
    config.model.sif.prompts.init_words = Some(words.into());
}

fn views_4x3(config: &mut Config) {
    config.protocol.views = Views::FOUR_BY_THREE;
}

/// A batch of ActionCLIP in bf16, computed in `parts` to save memory.
fn bf16_batch(config: &mut Config, size: usize, parts: usize) {
    config.backbone.precision = PrecisionChoice::Fixed(Precision::Bf16);
    (config.train.batch_size, config.train.micro_batches) = (size, parts);
}

/// ActionCLIP's training on Kinetics-400.
fn kinetics(config: &mut Config, frames: usize, parts: usize) {
    let (ops, magnitude) = (2, 9);
    config.data.augment.rand_augment = Some(RandAugment { ops, magnitude });
    config.data.frames = frames;
    bf16_batch(config, 128, parts);
}

/// The ablation's rows, with their few-shot numbers.
fn ablation_lines() -> impl Iterator<Item = Line> {
    Row::ALL.iter().flat_map(|row| {
        let of = |table, column, published: &[Published]| {
            line(table, column, row.name, Model::Row(*row), |_| {}, published)
        };
        let k400 = Published(Reported::Kinetics400, row.kinetics400, "");
        let hmdb = Published(Reported::Hmdb51, row.hmdb51, "");
        let ucf = Published(Reported::Ucf101, row.ucf101, "");
        let mut table4 = of(Table::Table4, "", &[k400]);
        let mut table5 = of(Table::Table5, "", &[hmdb, ucf]);
        (table4.shots, table5.shots) = (&[5], SHOTS);
        let blocks = of(Table::Fig3, "(a) blocks", &[]);
        let blocks = (!matches!(row.parts, Parts::Probe | Parts::ValidatedProbe)).then_some(blocks);
        [table4, table5].into_iter().chain(blocks)
    })
}

/// Every head and visual prompt of ActionCLIP, and Seeing in Flowing on the same draws.
fn action_clip_lines() -> impl Iterator<Item = Line> {
    let heads = Head::ALL.map(|head| (head.to_string(), head, VisualPrompt::None));
    let shift = (
        "transformer, shift".into(),
        Head::Transformer,
        VisualPrompt::InNetwork,
    );
    let joint = ("mean, joint".into(), Head::Mean, VisualPrompt::PreNetwork);
    let heads = heads
        .into_iter()
        .chain([shift, joint])
        .map(|(name, head, prompt)| {
            let change = move |config: &mut Config| {
                let model = &mut config.model.action_clip;
                (model.head, model.visual_prompt) = (head, prompt);
            };
            few_shot(&name, Model::ActionClip, change, &[])
        });
    let ours = few_shot("Seeing in Flowing", Model::Row(Row::FULL), |_| {}, &[]);
    let fewest_and_most = |line| Line {
        shots: &[2, 16],
        ..line
    };
    [ours].into_iter().chain(heads).map(fewest_and_most)
}

/// The published heads, after whatever else is fitted to the mean of the frame features.
fn frozen_head_lines() -> impl Iterator<Item = Line> {
    let others = Row::ALL
        .iter()
        .filter(|row| !matches!(row.parts, Parts::Blocks(_)));
    others.chain(Row::HEADS).map(|row| Line {
        shots: SHOTS,
        ..line(Table::Heads, "", row.name, Model::Row(*row), |_| {}, &[])
    })
}

fn line(
    table: Table,
    column: &'static str,
    name: &str,
    model: Model,
    change: impl Fn(&mut Config) + 'static,
    published: &[Published],
) -> Line {
    Line {
        table,
        column,
        name: name.into(),
        model,
        change: Rc::new(change),
        shots: &[],
        published: published.into(),
    }
}

/// A few-shot row of ActionCLIP's table.
fn few_shot(
    name: &str,
    model: Model,
    change: impl Fn(&mut Config) + 'static,
    published: &[Published],
) -> Line {
    Line {
        shots: SHOTS,
        ..line(Table::ActionClip, "", name, model, change, published)
    }
}

/// The protocol of a cell.
#[derive(Clone, Copy)]
pub(super) enum Way {
    FewShot(usize),
    ClosedSet,
    Transfer(Transfer),
}

impl Line {
    /// Its columns, in the order of the published numbers.
    pub(super) fn columns(&self) -> Vec<(String, Way)> {
        let lists = ("test lists".into(), Way::Transfer(Transfer::Lists));
        let halves = ("10 halves".into(), Way::Transfer(Transfer::Halves));
        let few_shot = |k: &usize| (format!("k = {k}"), Way::FewShot(*k));
        match self.table {
            Table::Table6 => vec![lists, halves],
            Table::Table7 => vec![lists],
            Table::ActionClipZeroShot => vec![halves],
            _ if self.shots.is_empty() => vec![(self.column.into(), Way::ClosedSet)],
            _ => self.shots.iter().map(few_shot).collect(),
        }
    }

    pub(super) fn published(&self, dataset: Reported) -> Option<&Published> {
        self.published.iter().find(|numbers| numbers.0 == dataset)
    }

    /// Whether the table of `dataset` has it. Each row of ActionCLIP belongs to a single data
    /// set, since batches differ; its heads are compared on any other data set.
    pub(super) fn is_for(&self, dataset: Reported) -> bool {
        match (self.table, dataset) {
            (Table::ActionClip, Reported::Other) => self.published.is_empty(),
            (Table::ActionClip, _) => self.published(dataset).is_some(),
            _ => true,
        }
    }
}
