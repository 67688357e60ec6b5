//! Curves as SVG.

use plotters::prelude::*;

use super::FinishedTrial;
use crate::calibration::Bin;
use crate::log::StepRecord;
use crate::run::CrossValidation;
use crate::{Error, Result};

const SIZE: (u32, u32) = (460, 230);
/// Legible on light and dark backgrounds.
const GREY: RGBColor = RGBColor(128, 128, 128);

/// `pick` over the steps, one line per trial, lightly smoothed.
///
/// # Errors
/// [`Error::Picture`] if it cannot be drawn.
pub(super) fn curve(
    title: &str,
    trials: &[FinishedTrial],
    pick: fn(&StepRecord) -> f64,
) -> Result<String> {
    let lines: Vec<Vec<(f64, f64)>> = trials
        .iter()
        .map(|trial| {
            smooth(
                &trial
                    .steps
                    .iter()
                    .map(|s| (s.step as f64, pick(s)))
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    let all = lines.iter().flatten();
    let last = all.clone().map(|(step, _)| *step).fold(1.0, f64::max);
    let low = all
        .clone()
        .map(|(_, value)| *value)
        .fold(f64::INFINITY, f64::min);
    let high = all
        .map(|(_, value)| *value)
        .fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if low < high {
        (low, high)
    } else {
        (low - 0.5, low + 0.5)
    };
    let mut svg = String::new();
    draw(&mut svg, title, &lines, last, (low, high)).map_err(|reason| Error::Picture {
        what: title.to_owned(),
        reason,
    })?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    lines: &[Vec<(f64, f64)>],
    last: f64,
    (low, high): (f64, f64),
) -> std::result::Result<(), String> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let style = ("sans-serif", 12).into_font().color(&GREY);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 14).into_font().color(&GREY))
        .margin(6)
        // Half of the last label extends beyond the axis.
        .margin_right(22)
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..last, low..high)
        .map_err(|error| error.to_string())?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(GREY)
        .label_style(style)
        .x_labels(5)
        .y_labels(5)
        .draw()
        .map_err(|error| error.to_string())?;
    for (index, line) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).mix(0.9);
        chart
            .draw_series(LineSeries::new(line.iter().copied(), colour))
            .map_err(|error| error.to_string())?;
    }
    root.present().map_err(|error| error.to_string())
}

/// Certainty against the share of correct predictions, before and after calibration; a circle's area
/// grows with its clips.
///
/// # Errors
/// [`Error::Picture`] if it cannot be drawn.
pub(super) fn reliability(judged: &CrossValidation) -> Result<String> {
    let mut svg = String::new();
    draw_reliability(&mut svg, judged).map_err(|reason| Error::Picture {
        what: "the reliability of held-out clips".into(),
        reason,
    })?;
    Ok(svg)
}

fn draw_reliability(svg: &mut String, judged: &CrossValidation) -> std::result::Result<(), String> {
    let text = |error: DrawingAreaErrorKind<_>| error.to_string();
    let root = SVGBackend::with_string(svg, (460, 330)).into_drawing_area();
    let style = ("sans-serif", 12).into_font().color(&GREY);
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "held-out clips",
            ("sans-serif", 14).into_font().color(&GREY),
        )
        .margin(6)
        .margin_right(22)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(GREY)
        .label_style(style.clone())
        .x_desc("probability of the prediction")
        .y_desc("share correct")
        .x_labels(6)
        .y_labels(6)
        .draw()
        .map_err(text)?;
    let diagonal = LineSeries::new([(0.0, 0.0), (1.0, 1.0)], GREY.mix(0.6));
    chart.draw_series(diagonal).map_err(text)?;
    // Also distinct to those who do not distinguish red and green.
    let series = [
        ("without temperature", &judged.before, RGBColor(213, 94, 0)),
        ("calibrated", &judged.after, RGBColor(0, 114, 178)),
    ];
    for (name, bins, colour) in series {
        let circle = |bin: &Bin| {
            let radius = (2.0 + 3.0 * (bin.clips as f64).sqrt()).min(20.0) as i32;
            Circle::new((bin.certainty, bin.correct), radius, colour.stroke_width(2))
        };
        let centre = |bin: &Bin| Circle::new((bin.certainty, bin.correct), 2, colour.filled());
        chart.draw_series(bins.iter().map(centre)).map_err(text)?;
        if !bins.is_empty() {
            let drawn = chart.draw_series(bins.iter().map(circle)).map_err(text)?;
            drawn
                .label(name)
                .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(style)
        .draw()
        .map_err(text)?;
    root.present().map_err(text)
}

/// The running mean over a fiftieth of the points.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = (points.len() / 50).max(1);
    points
        .windows(window)
        .step_by(window)
        .filter_map(|part| {
            let (step, _) = part.last()?;
            Some((
                *step,
                part.iter().map(|(_, value)| value).sum::<f64>() / part.len() as f64,
            ))
        })
        .collect()
}
