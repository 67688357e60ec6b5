//! The page's HTML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::curves::{curve, reliability};
use super::{FilmStrips, FinishedRun, Remarkable};
use crate::Result;
use crate::evaluate::ClipScore;
use crate::metrics::{Accuracy, Spread};
use crate::run::{CrossValidation, Outcome};

/// Clips named before the others, of whatever class.
const MOST_CONTRADICTED: usize = 5;

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--good:42,157,92;--bad:204,72,72}
body{font:15px/1.5 system-ui,sans-serif;max-width:1060px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
.dim{opacity:.7}.wide{overflow-x:auto}
table{border-collapse:collapse}td,th{padding:.2rem .6rem;text-align:right;font-weight:400}
th{opacity:.7}td:first-child,th:first-child{text-align:left}
.figures td{border-top:1px solid var(--line)}
.confusion td{min-width:1.6rem;padding:.1rem .3rem;text-align:center;font-size:.8rem;
 border:1px solid var(--line)}
.confusion th{font-size:.8rem;white-space:nowrap}
.confusion .across{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left}
.bar{display:grid;grid-template-columns:14rem 1fr 4rem;gap:.6rem;align-items:center}
.bar div{background:var(--soft);height:.8rem}.bar i{display:block;height:100%;
 background:rgb(var(--good))}
.clip{margin:.9rem 0}.strip{display:flex;gap:2px;overflow-x:auto}.strip img{height:72px}
.ok{color:rgb(var(--good))}.no{color:rgb(var(--bad))}
pre{background:var(--soft);padding:1rem;overflow-x:auto;font-size:.85rem}
svg{max-width:100%}figure{display:inline-block;margin:0}";

/// The page about `runs`, after `intro`.
pub(super) fn html(
    intro: &str,
    runs: &[FinishedRun],
    strips: &[Option<FilmStrips>],
) -> Result<String> {
    let names: Vec<&str> = runs.iter().map(name).collect();
    let title = names.join(", ");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style>\n",
        title = escape(&title)
    );
    page.push_str(intro);
    for (index, run) in runs.iter().enumerate() {
        section(&mut page, run, strips.get(index).and_then(Option::as_ref))?;
    }
    page.push_str("</html>\n");
    Ok(page)
}

fn name(run: &FinishedRun) -> &str {
    run.trials.first().map_or("run", |trial| &trial.result.name)
}

fn section(page: &mut String, run: &FinishedRun, strips: Option<&FilmStrips>) -> Result<()> {
    let Some(first) = run.trials.first() else {
        return Ok(());
    };
    let result = &first.result;
    let _ = write!(
        page,
        "<h1>{}</h1><p>{}<br><span class=\"dim\">backbone {} · revision {} · checkpoint {}</span>",
        escape(&result.name),
        escape(&result.protocol),
        escape(short(&result.backbone)),
        escape(short(&result.revision)),
        escape(short(
            result
                .checkpoint
                .as_deref()
                .unwrap_or("none: nothing was trained")
        )),
    );
    figures(page, run);
    if let Some(judged) = &result.cross_validation {
        cross_validated(page, judged)?;
    }
    if run.trials.iter().any(|trial| !trial.steps.is_empty()) {
        page.push_str("<h2>Training</h2>");
        for svg in [
            curve("loss", &run.trials, |step| step.loss)?,
            curve("top-1 of the step's clips", &run.trials, |step| step.top1)?,
            curve("learning rate", &run.trials, |step| step.learning_rate)?,
        ] {
            let _ = write!(page, "<figure>{svg}</figure>");
        }
    }
    for (place, test) in result.tests.iter().enumerate() {
        let pooled = pooled(run, place);
        classes(page, test, &pooled);
        confusion(page, test, &pooled);
    }
    if let Some(remarkable) = run.remarkable() {
        clips(page, &remarkable, strips);
    }
    left_out(page, run);
    let _ = write!(
        page,
        "<h2>Configuration</h2><pre>{}</pre>",
        escape(&run.config)
    );
    Ok(())
}

/// One row per test: mean and deviation over the seeds.
fn figures(page: &mut String, run: &FinishedRun) {
    page.push_str(
        "<h2>Accuracy</h2><div class=\"wide\"><table class=\"figures\"><tr><th>test</th>\
         <th>seeds</th><th>clips</th><th>top-1 %</th><th>top-5 %</th><th>mean class %</th></tr>",
    );
    let tests = run
        .trials
        .first()
        .map_or(0, |trial| trial.result.tests.len());
    for place in 0..tests {
        let outcomes: Vec<&Outcome> = run
            .trials
            .iter()
            .filter_map(|trial| trial.result.tests.get(place))
            .collect();
        let Some(first) = outcomes.first() else {
            continue;
        };
        let spread = |pick: fn(&Accuracy) -> f64| {
            let values: Vec<f64> = outcomes.iter().map(|o| 100.0 * pick(&o.accuracy)).collect();
            Spread::new(&values).map_or("-".into(), |s| match s.count {
                // One draw has no spread.
                1 => format!("{:.1}", s.mean),
                _ => format!("{:.1} ± {:.1}", s.mean, s.deviation),
            })
        };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&first.test),
            outcomes.len(),
            first.accuracy.clips,
            spread(|a| a.top1),
            spread(|a| a.top5),
            spread(|a| a.mean_class),
        );
    }
    page.push_str("</table></div>");
    let tests = run.trials.iter().flat_map(|trial| &trial.result.tests);
    let means: Vec<f64> = tests
        .filter_map(|test| Some(100.0 * test.mean_average_precision?))
        .collect();
    if let Some(mean) = Spread::new(&means) {
        let _ = write!(
            page,
            "<p>Mean average precision {:.1} ± {:.1} %. Clips have several classes; accuracy \
             counts the first.</p>",
            mean.mean, mean.deviation
        );
    }
}

/// The first trial's cross-validation.
fn cross_validated(page: &mut String, judged: &CrossValidation) -> Result<()> {
    let [low, high] = judged.interval.map(|share| 100.0 * share);
    let _ = write!(
        page,
        "<p>On new recordings, 95 % interval {low:.1} to {high:.1} %: {} folds held out {} clips of {} \
         recordings. The run is trained on all {} clips.</p><p>{}.</p>",
        judged.folds,
        judged.clips,
        judged.recordings,
        judged.all_clips,
        escape(&judged.on_training()).replacen("training", "Training", 1),
    );
    let (before, after) = judged.calibration_error();
    let after_said = after.map_or_else(
        || "not measured, too few clips".into(),
        |after| format!("{:.1} %", 100.0 * after),
    );
    let _ = write!(
        page,
        "<h2>Calibration</h2><figure>{}</figure><p>Expected calibration error {:.1} % without a \
         temperature; with one (here {:.3}), on clips that neither the model nor the temperature saw: \
         {after_said}. A circle is the clips of similar probability, the larger the more; the nearer its \
         centre is to the diagonal, the better.</p>",
        reliability(judged)?,
        100.0 * before,
        judged.temperature,
    );
    let _ = write!(
        page,
        "<h2>None of the classes</h2><p>A clip whose belonging is below {:.3} shows none of the \
         classes. Thresholds that were chosen without them refuse {} of the {} held-out clips.",
        judged.threshold, judged.refused, judged.clips
    );
    if let Some([count, refused]) = judged.strangers {
        let _ = write!(
            page,
            " Of the {count} examples of none of them, {refused} are refused."
        );
    }
    page.push_str("</p>");
    suspects(page, judged);
    Ok(())
}

/// The clips that the others contradict, class by class.
fn suspects(page: &mut String, judged: &CrossValidation) {
    page.push_str("<h2>Clips that others contradict</h2>");
    if judged.suspects.is_empty() {
        page.push_str("<p>None: every held-out clip is most like its own class.</p>");
        return;
    }
    page.push_str(
        "<p class=\"dim\">Held-out clips that are more like another class, the most contradicted first; \
         a wrong class, or a hard clip.</p><div class=\"wide\"><table class=\"figures\"><tr><th>clip</th>\
         <th>its class</th><th>probability</th><th>more like</th></tr>",
    );
    let mut classes: Vec<&str> = Vec::new();
    for suspect in &judged.suspects {
        if !classes.contains(&suspect.class.as_str()) {
            classes.push(&suspect.class);
        }
    }
    let most = judged.suspects.iter().take(MOST_CONTRADICTED);
    let by_class = classes.iter().flat_map(|class| {
        let rest = judged.suspects.iter().skip(MOST_CONTRADICTED);
        rest.filter(move |suspect| suspect.class == **class)
    });
    for suspect in most.chain(by_class) {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{:.1} %</td><td>{}</td></tr>",
            escape(&suspect.id),
            escape(&suspect.class),
            100.0 * suspect.probability,
            escape(&suspect.other),
        );
    }
    page.push_str("</table></div>");
}

/// Undecodable clips, each once, with the reason.
fn left_out(page: &mut String, run: &FinishedRun) {
    let all: BTreeMap<&str, &str> = run
        .trials
        .iter()
        .flat_map(|trial| &trial.result.skipped)
        .map(|(id, reason)| (id.as_str(), reason.as_str()))
        .collect();
    if all.is_empty() {
        return;
    }
    page.push_str("<h2>Skipped clips</h2><ul>");
    for (id, reason) in all {
        let (id, reason) = (escape(id), escape(reason));
        let _ = write!(page, "<li>{id} <span class=\"dim\">{reason}</span></li>");
    }
    page.push_str("</ul>");
}

/// The confusion matrix of one test, summed over the seeds.
fn pooled(run: &FinishedRun, place: usize) -> Vec<Vec<u64>> {
    let mut sum: Vec<Vec<u64>> = Vec::new();
    for trial in &run.trials {
        let Some(test) = trial.result.tests.get(place) else {
            continue;
        };
        let confusion = &test.accuracy.confusion;
        if sum.is_empty() {
            sum.clone_from(confusion);
            continue;
        }
        for (row, more) in sum.iter_mut().zip(confusion) {
            for (cell, more) in row.iter_mut().zip(more) {
                *cell += more;
            }
        }
    }
    sum
}

/// A bar per class, the least accurate last.
fn classes(page: &mut String, test: &Outcome, confusion: &[Vec<u64>]) {
    let _ = write!(page, "<h2>Classes, {}</h2>", escape(&test.test));
    let mut rows: Vec<(f64, &str)> = confusion
        .iter()
        .enumerate()
        .filter_map(|(class, row)| {
            let all: u64 = row.iter().sum();
            let right = *row.get(class)?;
            (all > 0).then(|| (right as f64 / all as f64, label(test, class)))
        })
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (share, label) in rows {
        let _ = write!(
            page,
            "<div class=\"bar\"><span>{}</span><div><i style=\"width:{percent:.1}%\"></i></div>\
             <span>{percent:.1} %</span></div>",
            escape(label),
            percent = 100.0 * share
        );
    }
}

/// Rows are true classes, columns predictions; the shade is the fraction of the row.
fn confusion(page: &mut String, test: &Outcome, confusion: &[Vec<u64>]) {
    let _ = write!(
        page,
        "<h2>Confusion matrix, {}</h2><p class=\"dim\">Rows are true classes, columns predictions; \
         counts over all seeds.</p><div class=\"wide\"><table class=\"confusion\"><tr><th></th>",
        escape(&test.test)
    );
    for class in 0..confusion.len() {
        let _ = write!(
            page,
            "<th class=\"across\">{}</th>",
            escape(label(test, class))
        );
    }
    page.push_str("</tr>");
    for (class, row) in confusion.iter().enumerate() {
        let all = row.iter().sum::<u64>().max(1);
        let _ = write!(page, "<tr><th>{}</th>", escape(label(test, class)));
        for (answer, &count) in row.iter().enumerate() {
            let tone = if answer == class { "--good" } else { "--bad" };
            let share = count as f64 / all as f64;
            let text = if count == 0 {
                String::new()
            } else {
                count.to_string()
            };
            let _ = write!(
                page,
                "<td style=\"background:rgba(var({tone}),{share:.2})\">{text}</td>"
            );
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

fn clips(page: &mut String, remarkable: &Remarkable<'_>, strips: Option<&FilmStrips>) {
    let parts = [
        ("Most confident correct predictions", &remarkable.right),
        ("Most confident wrong predictions", &remarkable.wrong),
    ];
    for (heading, clips) in parts {
        if clips.is_empty() {
            continue;
        }
        let _ = write!(page, "<h2>{heading}</h2>");
        for clip in clips {
            one_clip(page, remarkable.test, clip, strips);
        }
    }
}

fn one_clip(page: &mut String, test: &Outcome, clip: &ClipScore, strips: Option<&FilmStrips>) {
    let _ = write!(
        page,
        "<div class=\"clip\"><div>{} <span class=\"dim\">true class: {}</span></div><div class=\"strip\">",
        escape(&clip.id),
        escape(label(test, clip.label))
    );
    for picture in strips
        .and_then(|strips| strips.pictures(&clip.id))
        .unwrap_or_default()
    {
        let _ = write!(page, "<img alt=\"\" src=\"{picture}\">");
    }
    page.push_str("</div><div>");
    for (place, (class, score)) in clip.top.iter().enumerate() {
        let tone = if *class == clip.label { "ok" } else { "no" };
        let separator = if place == 0 { "" } else { " · " };
        let _ = write!(
            page,
            "{separator}<span class=\"{tone}\">{} {:.1} %</span>",
            escape(label(test, *class)),
            100.0 * score
        );
    }
    page.push_str("</div></div>");
}

fn label(test: &Outcome, class: usize) -> &str {
    test.labels.get(class).map_or("?", String::as_str)
}

/// The first twelve characters of a hash.
fn short(hash: &str) -> &str {
    match hash.get(..12) {
        Some(start) if hash.len() >= 40 => start,
        _ => hash,
    }
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                _ => out.push(c),
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(escape("<script>&\"a\""), "&lt;script&gt;&amp;&quot;a&quot;");
    }

    #[test]
    fn hashes_are_shortened_and_words_are_not() {
        assert_eq!(short(&"a".repeat(64)), "aaaaaaaaaaaa");
        assert_eq!(
            short("none: nothing was trained"),
            "none: nothing was trained"
        );
    }
}
