//! The table of the paper's rows: their names, their blocks and the numbers published for them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Ablation, HeadConfig, HeadMethod, ModelConfig, SifConfig, ZeroShotConfig};

/// A row of the ablation (Tables 4 and 5, Figure 3 (a)), or one compared with it: other heads on the
/// same frozen features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Its name in configurations.
    pub key: &'static str,
    /// Its name in tables.
    pub name: &'static str,
    /// Its model.
    pub parts: Parts,
    /// Top-1 on Kinetics-400 with 5 shots in per cent (Table 4); empty where none is published.
    pub kinetics400: &'static [f64],
    /// Top-1 on HMDB-51 with 2, 4, 8 and 16 shots (Table 5).
    pub hmdb51: &'static [f64],
    /// Top-1 on UCF-101 with 2, 4, 8 and 16 shots (Table 5).
    pub ucf101: &'static [f64],
}

/// The model of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Frozen CLIP with a hand-crafted prompt; nothing is trained.
    Clip,
    /// Logistic regression on the mean of the frame features.
    Probe,
    /// The same with a penalty by cross-validation.
    ValidatedProbe,
    /// A published few-shot head on the mean of the frame features.
    Head(HeadMethod),
    /// "Seeing in Flowing" with some of its blocks.
    Blocks(Ablation),
}

/// One line per row, each also an associated constant of [`Row`].
macro_rules! rows {
    ($(#[$doc:meta])* $all:ident; $($id:ident: $key:literal, $name:literal, $parts:expr, $kinetics400:expr, $hmdb51:expr, $ucf101:expr;)*) => {
        impl Row {
            $(
                #[doc = concat!("\"", $name, "\"")]
                pub const $id: Self = Self {
                    key: $key,
                    name: $name,
                    parts: $parts,
                    kinetics400: &$kinetics400,
                    hmdb51: &$hmdb51,
                    ucf101: &$ucf101,
                };
            )*

            $(#[$doc])*
            pub const $all: &'static [Self] = &[$(Self::$id),*];
        }
    };
}

rows! {
    /// Every row of the paper's tables, in their order.
    ALL;
    // constant    key             name in tables       MMB, MAP, MCB                      K400    HMDB-51, k = 2, 4, 8, 16  UCF-101
    CLIP:          "clip",         "CLIP, frozen",      Parts::Clip,                       [],     [],                       [];
    PROBE:         "probe",        "probe on the mean", Parts::Probe,                      [],     [],                       [];
    PROBE_CV:      "probe-cv",     "probe, CV penalty", Parts::ValidatedProbe,              [],     [],                       [];
    BASELINE:      "baseline",     "Baseline",          Parts::Blocks(Ablation::BASELINE), [54.8], [35.7, 39.0, 42.1, 55.8], [64.0, 73.3, 78.2, 80.6];
    BASELINE_MCB:  "baseline-mcb", "Baseline + MCB",    blocks(false, false, true),        [58.4], [49.4, 53.8, 57.4, 59.4], [72.3, 77.0, 81.1, 84.4];
    MMB:           "mmb",          "MMB",               blocks(true, false, false),        [57.9], [53.1, 55.4, 58.4, 60.4], [77.0, 77.7, 81.5, 83.9];
    MMB_MAP:       "mmb-map",      "MMB + MAP",         blocks(true, true, false),         [60.3], [54.2, 57.4, 62.1, 62.9], [78.4, 81.0, 85.6, 87.8];
    FULL:          "full",         "MMB + MAP + MCB",   blocks(true, true, true),          [61.5], [55.3, 58.7, 64.0, 64.6], [82.4, 85.8, 89.1, 91.6];
}

rows! {
    /// The published heads, which are compared on the same features. Their papers have images only.
    HEADS;
    LP_PLUS_PLUS:  "lp-plus-plus",  "LP++",          Parts::Head(HeadMethod::LpPlusPlus), [], [], [];
    GDA:           "gda",           "GDA",           Parts::Head(HeadMethod::Gda),        [], [], [];
    TIP_ADAPTER:   "tip-adapter",   "Tip-Adapter",   Parts::Head(HeadMethod::TipAdapter), [], [], [];
    TIP_ADAPTER_F: "tip-adapter-f", "Tip-Adapter-F", Parts::Head(HeadMethod::TipAdapterF), [], [], [];
    CLAP:          "clap",          "CLAP",          Parts::Head(HeadMethod::Clap),       [], [], [];
    PROKER:        "proker",        "ProKeR",        Parts::Head(HeadMethod::Proker),     [], [], [];
}

const fn blocks(mmb: bool, map: bool, mcb: bool) -> Parts {
    Parts::Blocks(Ablation { mmb, map, mcb })
}

impl Row {
    /// The row with this name in configurations.
    pub fn named(key: &str) -> Option<Self> {
        Self::every().find(|row| row.key == key)
    }

    /// The rows of the paper's tables, then the published heads.
    fn every() -> impl Iterator<Item = Self> {
        Self::ALL.iter().chain(Self::HEADS).copied()
    }

    /// The model of this row, with the options of `sif` for the blocks that it has.
    pub fn model(&self, sif: &SifConfig) -> ModelConfig {
        match self.parts {
            Parts::Clip => ModelConfig::Clip(ZeroShotConfig {
                templates: vec![sif.prompts.template.clone()],
            }),
            Parts::Head(method) => ModelConfig::Head(HeadConfig {
                method,
                templates: vec![sif.prompts.template.clone()],
            }),
            Parts::Probe => ModelConfig::LinearProbe,
            Parts::ValidatedProbe => ModelConfig::ValidatedProbe,
            Parts::Blocks(ablation) => ModelConfig::SeeingInFlowing(sif.clone().ablated(ablation)),
        }
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        Self::named(&key).ok_or_else(|| {
            let known: Vec<&str> = Self::every().map(|row| row.key).collect();
            de::Error::custom(format!("one of {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_differ_in_key_name_and_parts_and_read_back_from_their_key() {
        let every: Vec<Row> = Row::every().collect();
        let distinct = |of: fn(&Row) -> String| every.iter().map(of).collect::<BTreeSet<_>>();
        for all in [
            distinct(|row| row.key.into()),
            distinct(|row| row.name.into()),
            distinct(|row| format!("{:?}", row.parts)),
        ] {
            assert_eq!(all.len(), every.len(), "{all:?}");
        }
        for row in &every {
            let text = serde_json::to_string(row).unwrap();
            assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), *row);
        }
        let error = serde_json::from_str::<Row>("\"fuller\"").unwrap_err();
        assert!(error.to_string().contains("mmb-map, full"), "{error}");
    }

    #[test]
    fn each_published_row_beats_those_with_fewer_blocks_on_every_k() {
        let published = Row::ALL.iter().filter(|row| !row.hmdb51.is_empty());
        let published: Vec<&Row> = published.collect();
        assert_eq!(published.len(), 5, "Figure 3 (a) has five bars");
        for row in &published {
            assert_eq!(
                [row.kinetics400.len(), row.hmdb51.len(), row.ucf101.len()],
                [1, 4, 4]
            );
            let below = |ours: &[f64], whole: &[f64]| ours.iter().zip(whole).all(|(a, b)| a <= b);
            assert!(below(row.hmdb51, Row::FULL.hmdb51) && below(row.ucf101, Row::FULL.ucf101));
            assert!(
                below(row.kinetics400, Row::FULL.kinetics400),
                "{}",
                row.name
            );
        }
    }
}
