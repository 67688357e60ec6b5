//! Published all-way few-shot results with CLIP ViT-B/16, beside the paper's.

use std::fmt;

use models::Row;

use super::Reported;

/// The weights that a system's few-shot training starts from. Systems with different starts are
/// not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Clip,
    Kinetics400,
}

/// One published system: top-1 in per cent with 2, 4, 8 and 16 clips per class of split 1.
struct System {
    name: &'static str,
    start: Start,
    trains: &'static str,
    hmdb51: [f64; 4],
    ucf101: [f64; 4],
}

const fn system(
    name: &'static str,
    start: Start,
    trains: &'static str,
    hmdb51: [f64; 4],
    ucf101: [f64; 4],
) -> System {
    System {
        name,
        start,
        trains,
        hmdb51,
        ucf101,
    }
}

#[rustfmt::skip]
static SYSTEMS: [System; 13] = [
    system("A6 (Ju et al.)",          Start::Clip,        "heads, frozen towers",                    [39.7, 50.7, 56.0, 62.4], [71.4, 79.9, 85.7, 89.9]),
    system("X-CLIP",                  Start::Clip,        "image tower; start by MoTE", [53.0, 57.3, 62.8, 64.0], [76.4, 83.4, 88.3, 91.4]),
    system("ActionCLIP, ViFi's run",  Start::Clip,        "all of CLIP",                             [47.5, 57.9, 57.3, 59.1], [70.6, 71.5, 73.0, 91.4]),
    system("ViFi-CLIP",               Start::Clip,        "all of CLIP",                             [57.2, 62.7, 64.5, 66.8], [80.7, 85.1, 90.0, 92.7]),
    system("OST",                     Start::Clip,        "image tower; described classes",          [59.1, 62.9, 64.9, 68.2], [82.5, 87.5, 91.7, 93.9]),
    system("MoTE",                    Start::Clip,        "image tower, temporal experts",           [61.3, 63.9, 67.2, 68.2], [88.8, 91.0, 92.3, 93.6]),
    system("TC-CLIP",                 Start::Clip,        "all of CLIP",                             [57.3, 62.3, 67.3, 68.6], [85.9, 89.9, 92.5, 94.6]),
    system("TC-CLIP, LLM names",      Start::Clip,        "all of CLIP; described classes",          [58.6, 63.3, 65.5, 68.8], [86.8, 90.1, 92.0, 94.3]),
    system("MAXI",                    Start::Kinetics400, "all of CLIP; without labels",    [58.0, 60.1, 65.0, 66.5], [86.8, 89.3, 92.4, 93.5]),
    system("CLAVER",                  Start::Kinetics400, "image tower; start inferred", [58.6, 64.5, 68.6, 72.9], [90.0, 92.9, 96.6, 98.1]),
    system("TC-CLIP (P)",             Start::Kinetics400, "all of CLIP",                             [65.3, 68.5, 71.4, 73.0], [94.1, 95.6, 96.6, 97.3]),
    system("BMPT",                    Start::Kinetics400, "prompts, second-order head",       [67.6, 69.6, 74.3, 76.2], [93.8, 95.5, 96.7, 97.3]),
    system("BDC-CLIP",                Start::Kinetics400, "all of CLIP, adapters", [68.0, 71.5, 75.9, 77.3], [94.9, 96.7, 97.5, 98.5]),
];

/// The published few-shot results of a data set, grouped by start.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    dataset: Reported,
}

impl Published {
    /// Those of `dataset`, if any are known.
    pub fn of(dataset: Reported) -> Option<Self> {
        matches!(dataset, Reported::Hmdb51 | Reported::Ucf101).then_some(Self { dataset })
    }

    /// Name, what is trained, and the numbers of each system, the paper's first.
    fn systems(self, start: Start) -> Vec<(&'static str, &'static str, &'static [f64])> {
        let of = |hmdb51, ucf101| match self.dataset {
            Reported::Hmdb51 => hmdb51,
            _ => ucf101,
        };
        let numbers: &'static [f64] = of(Row::FULL.hmdb51, Row::FULL.ucf101);
        let paper = ("Seeing in Flowing", "heads, frozen towers", numbers);
        let others = SYSTEMS.iter().filter(|system| system.start == start);
        let others = others.map(|system| {
            (
                system.name,
                system.trains,
                of(&system.hmdb51, &system.ucf101),
            )
        });
        let paper = (start == Start::Clip).then_some(paper);
        paper.into_iter().chain(others).collect()
    }

    /// The highest result of each column.
    fn best(self, start: Start) -> [f64; 4] {
        let systems = self.systems(start);
        std::array::from_fn(|k| {
            let column = systems.iter().filter_map(|(_, _, numbers)| numbers.get(k));
            column.copied().fold(0.0, f64::max)
        })
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (start, title) in [
            (Start::Clip, "published, from CLIP"),
            (
                Start::Kinetics400,
                "published, from CLIP trained on Kinetics-400 first",
            ),
        ] {
            let (best, systems) = (self.best(start), self.systems(start));
            let best = ("highest of these", "", best.as_slice());
            writeln!(f, "{title:<54} k = 2     4     8    16")?;
            for (name, trains, numbers) in systems.into_iter().chain([best]) {
                write!(f, "  {name:<22} {trains:<30} ")?;
                for number in numbers {
                    write!(f, " {number:>5.1}")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_bars_are_the_highest_of_each_start() {
        for (dataset, start, bars) in [
            (Reported::Hmdb51, Start::Clip, [61.3, 63.9, 67.3, 68.8]),
            (Reported::Ucf101, Start::Clip, [88.8, 91.0, 92.5, 94.6]),
            (
                Reported::Hmdb51,
                Start::Kinetics400,
                [68.0, 71.5, 75.9, 77.3],
            ),
            (
                Reported::Ucf101,
                Start::Kinetics400,
                [94.9, 96.7, 97.5, 98.5],
            ),
        ] {
            assert_eq!(Published::of(dataset).unwrap().best(start), bars);
        }
        assert!(Published::of(Reported::Other).is_none());
        let text = Published::of(Reported::Hmdb51).unwrap().to_string();
        assert!(text.contains("Seeing in Flowing"), "{text}");
        let (clip, kinetics) = text.split_once("Kinetics-400 first").unwrap();
        assert!(
            clip.contains("61.3  63.9  67.3  68.8") && !clip.contains("BDC"),
            "{text}"
        );
        assert!(
            kinetics.contains("BDC-CLIP") && !kinetics.contains("MoTE"),
            "{text}"
        );
    }
}
