//! A run's results, in at most 80 columns.

use std::fmt::Write as _;

use trainer::metrics::{Spread, harmonic_mean};
use trainer::run::{CrossValidation, TrialResult};

/// Most clips named that others contradict.
const NAMED: usize = 5;

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
        let clips = results.iter().filter_map(|result| result.tests.get(place));
        let belonging = clips.flat_map(|test| &test.clips);
        let known: Vec<bool> = belonging
            .filter_map(|clip| Some(clip.belonging?.known))
            .collect();
        let none = known.iter().filter(|known| !**known).count();
        if !known.is_empty() {
            let all = known.len();
            let _ = writeln!(
                text,
                "  none of the classes by the run's threshold: {none} of {all}"
            );
        }
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
    if let Some([some, all]) = first.warm_start.map(|start| start.candidates)
        && some < all
    {
        let _ = writeln!(
            text,
            "many clips and classes: the solved start is averaged over {some} of {all} candidates"
        );
    }
    if let Some(judged) = &first.cross_validation {
        text.push_str(&cross_validation(judged, first));
    } else if let [base, novel] = &first.tests[..] {
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

/// The estimates of a cross-validation, of the first seed.
fn cross_validation(judged: &CrossValidation, result: &TrialResult) -> String {
    let mut text = String::new();
    let Some(held) = result.tests.first() else {
        return text;
    };
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let [low, high] = judged.interval.map(percent);
    let _ = writeln!(
        text,
        "accuracy on new recordings: {}, 95 % interval {low} to {high}",
        percent(held.accuracy.top1),
    );
    let _ = writeln!(
        text,
        "  {} folds, {} clips of {} recordings; trained on all {} clips",
        judged.folds, judged.clips, judged.recordings, judged.all_clips
    );
    let widest = held.labels.iter().map(|label| label.chars().count()).max();
    let width = widest.unwrap_or(0).min(40);
    for (label, row) in held
        .labels
        .iter()
        .zip(held.accuracy.confusion.iter().enumerate())
    {
        let (class, row) = row;
        let (right, all) = (
            row.get(class).copied().unwrap_or(0),
            row.iter().sum::<u64>(),
        );
        let _ = match all {
            0 => writeln!(text, "  {label:width$}  not tested: one recording"),
            _ => writeln!(text, "  {label:width$}  {right} of {all}"),
        };
    }
    let _ = writeln!(text, "{}", judged.on_training());
    let (before, after) = judged.calibration_error();
    let _ = match after {
        Some(after) => writeln!(
            text,
            "calibration error: {} before, {} after (temperature {:.3}, nested folds)",
            percent(before),
            percent(after),
            judged.temperature
        ),
        None => writeln!(
            text,
            "calibration error: {} before; after (temperature {:.3}) not measured: too few clips",
            percent(before),
            judged.temperature
        ),
    };
    let _ = writeln!(
        text,
        "none: belonging below {:.3}; it refuses {} of {} clips of the classes (nested folds)",
        judged.threshold, judged.refused, judged.clips
    );
    if let Some([count, refused]) = judged.strangers {
        let _ = writeln!(text, "  and {refused} of {count} examples of none of them");
    }
    let named: Vec<String> = judged
        .suspects
        .iter()
        .take(NAMED)
        .map(|suspect| format!("  {}: more like {}", suspect.id, suspect.other))
        .collect();
    if !named.is_empty() {
        let _ = writeln!(
            text,
            "most contradicted by the other clips:\n{}",
            named.join("\n")
        );
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
