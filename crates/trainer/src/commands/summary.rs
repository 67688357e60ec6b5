//! A run's results, in at most 80 columns.

use std::fmt::Write as _;

use trainer::metrics::{Spread, harmonic_mean};
use trainer::run::TrialResult;

/// A table of a run's trials: one line per test, mean over seeds.
pub(crate) fn summary(results: &[TrialResult]) -> String {
    let mut text = String::new();
    let Some(first) = results.first() else {
        return text;
    };
    let seeds: Vec<String> = results
        .iter()
        .map(|result| result.seed.to_string())
        .collect();
    let _ = writeln!(text, "{}: {}", first.name, first.protocol);
    let _ = writeln!(
        text,
        "seeds {}, backbone {}",
        seeds.join(" "),
        first.backbone.get(..12).unwrap_or_default()
    );
    let _ = writeln!(
        text,
        "{:<8} {:>6} {:>22} {:>14} {:>10}",
        "test", "clips", "top-1", "top-5", "classes"
    );
    for (place, test) in first.tests.iter().enumerate() {
        let of = |pick: fn(&trainer::metrics::Accuracy) -> f64| -> Vec<f64> {
            let tests = results.iter().filter_map(|result| result.tests.get(place));
            tests.map(|test| 100.0 * pick(&test.accuracy)).collect()
        };
        let (Some(top1), Some(top5), Some(class)) = (
            Spread::new(&of(|a| a.top1)),
            Spread::new(&of(|a| a.top5)),
            Spread::new(&of(|a| a.mean_class)),
        ) else {
            continue;
        };
        let _ = writeln!(
            text,
            "{:<8} {:>6} {:>22} {:>14} {:>10.1}",
            test.test,
            test.accuracy.clips,
            spread(&top1),
            match top5.count {
                1 => format!("{:.1}", top5.mean),
                _ => format!("{:.1} ±{:.1}", top5.mean, top5.deviation),
            },
            class.mean
        );
        let means: Vec<f64> = results
            .iter()
            .filter_map(|result| result.tests.get(place)?.mean_average_precision)
            .map(|share| 100.0 * share)
            .collect();
        if let Some(mean) = Spread::new(&means) {
            let _ = writeln!(
                text,
                "{:<8} mAP {}; accuracy counts each clip's first class",
                test.test,
                spread(&mean)
            );
        }
    }
    if let [base, novel] = &first.tests[..] {
        let means: Vec<f64> = results
            .iter()
            .filter_map(|result| match &result.tests[..] {
                [base, novel] => {
                    Some(100.0 * harmonic_mean(base.accuracy.top1, novel.accuracy.top1))
                }
                _ => None,
            })
            .collect();
        if let Some(mean) = Spread::new(&means) {
            let name = format!("harmonic mean of {} and {}", base.test, novel.test);
            let _ = writeln!(text, "{name}: {}", spread(&mean));
        }
    }
    for (id, reason) in &first.skipped {
        let _ = writeln!(text, "skipped: {id}: {reason}");
    }
    text
}

/// Mean, deviation and the mean's 95 % interval.
pub(crate) fn spread(spread: &Spread) -> String {
    if spread.count < 2 {
        return format!("{:.1}", spread.mean);
    }
    format!(
        "{:.1} ±{:.1} (95 %: ±{:.1})",
        spread.mean, spread.deviation, spread.half_interval
    )
}
