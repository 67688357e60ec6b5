//! The answers for each window of a long video, and their output formats.

use std::fmt::Write as _;
use std::path::Path;

use clip_backbone::pixels::Geometry;
use clips::VideoFiles;
use serde::Serialize;

use crate::answer::{Shown, bar, clip_text, microseconds, none, refusal};
use crate::printable;
use crate::windows::{Part, WindowEvent, windows};
use crate::{Answer, Belonging, Error, Ready, Result, Scored, Span, UsedFrame};

/// The windows of a long video and their sampling.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Length of a window.
    pub window: Span,
    /// Time from the start of one window to that of the next.
    pub stride: Span,
    /// T, frames per window.
    pub frames: usize,
    /// Classes kept per window.
    pub top: usize,
}

/// The answer for one window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// Seconds from the start of the video.
    pub start: f64,
    /// Seconds from the start of the video.
    pub end: f64,
    /// The most probable classes, best first.
    pub predictions: Vec<Scored>,
    /// Whether the window shows one of them: the keys `known`, `belonging`, `threshold`, if the run
    /// tells.
    #[serde(flatten)]
    pub belonging: Option<Belonging>,
    /// The frames the model saw.
    pub frames: Vec<UsedFrame>,
}

/// The answers for one video, in order of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// The file.
    pub video: String,
    /// Length of a window in seconds.
    pub window: f64,
    /// Stride of the windows in seconds.
    pub stride: f64,
    /// Frames in the file.
    pub frame_count: usize,
    /// The windows.
    pub windows: Vec<Moment>,
    /// Which stream was decoded, if the file has several videos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Timeline {
    /// Without a window yet.
    #[must_use]
    pub fn new(video: &Path, cut: &Cut) -> Self {
        Self {
            video: video.to_string_lossy().into_owned(),
            window: cut.window.seconds(),
            stride: cut.stride.seconds(),
            frame_count: 0,
            windows: Vec::new(),
            note: None,
        }
    }

    /// Adds what was decoded, answered by `answer`; the number of windows of the video, if it was one.
    ///
    /// # Errors
    /// Those of `answer`.
    pub fn take<E>(
        &mut self,
        event: WindowEvent,
        answer: impl FnOnce(Part) -> Result<Moment, E>,
    ) -> Result<Option<usize>, E> {
        match event {
            WindowEvent::Choice(choice) => self.note = Some(choice),
            WindowEvent::Part(part) => {
                let of = part.of;
                self.windows.push(answer(part)?);
                return Ok(Some(of));
            }
            WindowEvent::End(frames) => self.frame_count = frames,
        }
        Ok(None)
    }
}

impl Moment {
    /// The answer for a window from `start` to `end`.
    #[must_use]
    pub fn new(start: f64, end: f64, answer: Answer) -> Self {
        Self {
            start: microseconds(start),
            end: microseconds(end),
            predictions: answer.predictions,
            belonging: answer.belonging,
            frames: answer.frames,
        }
    }
}

/// See [`Ready::timeline`].
pub(crate) fn timeline(
    model: &Ready<'_>,
    geometry: Geometry,
    video: &Path,
    files: &VideoFiles,
    cut: &Cut,
    mut progress: impl FnMut(usize, usize),
) -> Result<Timeline> {
    let mut timeline = Timeline::new(video, cut);
    for event in windows(video, files, cut.frames, cut.window, cut.stride, geometry)? {
        let of = timeline.take(event?, |part| {
            let answer = model.answer(video, &part.clip, cut.top)?;
            Ok::<_, Error>(Moment::new(part.start, part.end, answer))
        })?;
        if let Some(of) = of {
            progress(timeline.windows.len(), of);
        }
    }
    Ok(timeline)
}

impl Shown for Timeline {
    fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Tab-separated lines: video, start, end, rank, score, label. The first of a window is `none`
    /// with its score of belonging if it shows none of the classes.
    fn plain(&self) -> String {
        let mut text = String::new();
        let video = printable(&self.video);
        for Moment {
            start,
            end,
            predictions,
            belonging,
            ..
        } in &self.windows
        {
            let none = none(*belonging);
            for (index, Scored { score, label }) in none.iter().chain(predictions).enumerate() {
                let rank = index + 1;
                let label = printable(label);
                let _ = writeln!(
                    text,
                    "{video}\t{start:.3}\t{end:.3}\t{rank}\t{score:.6}\t{label}"
                );
            }
        }
        text
    }

    /// One line per window, or one per class if several are kept: from, to, class, probability.
    fn table(&self, columns: usize) -> String {
        let mut text = format!("{}\n", clip_text(&printable(&self.video), columns));
        let last = self.windows.last().map_or(0.0, |moment| moment.end);
        let _ = writeln!(
            text,
            "  {}, {} windows of {} every {}",
            clock(last),
            self.windows.len(),
            clock(self.window),
            clock(self.stride)
        );
        let width = clock(last).len().max(4);
        // Two spaces before and between, and eight for the percentage.
        let fixed = 2 * width + 18;
        let all = self.windows.iter().flat_map(|moment| &moment.predictions);
        let longest = all.map(|scored| printable(&scored.label).chars().count());
        let name_width = longest
            .max()
            .unwrap_or(0)
            .min(columns.saturating_sub(fixed + 6).max(8));
        let bar_width = columns.saturating_sub(fixed + name_width).min(30);
        for moment in &self.windows {
            if let Some(line) = refusal(moment.belonging) {
                let (from, to) = (clock(moment.start), clock(moment.end));
                let line = format!("  {from:>width$}  {to:>width$}  {line}");
                let _ = writeln!(text, "{}", clip_text(&line, columns));
            }
            let first = usize::from(moment.belonging.is_some_and(|seen| !seen.known));
            for (place, Scored { score, label }) in moment.predictions.iter().enumerate() {
                let (from, to) = match place + first {
                    0 => (clock(moment.start), clock(moment.end)),
                    _ => Default::default(),
                };
                let name = clip_text(&printable(label), name_width);
                let padding = name_width.saturating_sub(name.chars().count());
                let _ = writeln!(
                    text,
                    "  {from:>width$}  {to:>width$}  {name}{:padding$}  {:>5.1} %  {}",
                    "",
                    100.0 * score,
                    bar(*score, bar_width)
                );
            }
        }
        text
    }
}

/// The answer for one window of a stream, as it comes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamAnswer {
    /// The stream.
    pub video: String,
    /// The answer.
    #[serde(flatten)]
    pub moment: Moment,
    /// Frames that were left out since the answer before.
    pub left_out: usize,
}

impl Shown for StreamAnswer {
    fn note(&self) -> Option<&str> {
        None
    }

    /// As a line of [`Timeline`].
    fn plain(&self) -> String {
        self.alone().plain()
    }

    /// As a line of [`Timeline`]'s table.
    fn table(&self, columns: usize) -> String {
        let table = self.alone().table(columns);
        table
            .lines()
            .skip(2)
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

impl StreamAnswer {
    fn alone(&self) -> Timeline {
        Timeline {
            video: self.video.clone(),
            window: self.moment.end - self.moment.start,
            stride: 0.0,
            frame_count: 0,
            windows: vec![self.moment.clone()],
            note: None,
        }
    }
}

/// `7.5 s`, `1:07.5` or `1:02:03.4`.
fn clock(seconds: f64) -> String {
    // Rounded before it is split, so that no minute has 60.0 seconds.
    let tenths = (seconds * 10.0).round() as u64;
    let (minutes, tenths) = (tenths / 600, tenths % 600);
    let rest = format!("{}.{}", tenths / 10, tenths % 10);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{rest} s"),
        (0, minutes) => format!("{minutes}:{rest:0>4}"),
        (hours, minutes) => format!("{hours}:{minutes:02}:{rest:0>4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(label: &str, top: usize) -> Timeline {
        let moment = |start: f64| Moment {
            start,
            end: start + 2.0,
            predictions: [(0.75, label), (0.25, "run")]
                .into_iter()
                .map(|(score, label)| Scored {
                    score,
                    label: label.into(),
                })
                .take(top)
                .collect(),
            belonging: None,
            frames: Vec::new(),
        };
        Timeline {
            video: "a\tb.mp4".into(),
            window: 2.0,
            stride: 61.5,
            frame_count: 3,
            windows: (0..70).map(|k| moment(61.5 * f64::from(k))).collect(),
            note: None,
        }
    }

    #[test]
    fn plain_lines_have_six_columns() {
        let text = timeline("walk\nslowly", 2).plain();
        assert!(text.starts_with("a\\tb.mp4\t0.000\t2.000\t1\t0.750000\twalk\\nslowly\n"));
        assert_eq!(text.lines().count(), 140);
        assert!(text.lines().all(|line| line.split('\t').count() == 6));
    }

    #[test]
    fn the_table_fits_its_columns() {
        for top in [1, 2] {
            for label in ["walk", &"a very long label ".repeat(9)] {
                for columns in [60, 80, 120] {
                    let table = timeline(label, top).table(columns);
                    let widest = table.lines().map(|line| line.chars().count()).max();
                    assert!(widest <= Some(columns), "{table}");
                }
            }
        }
    }

    #[test]
    fn times_read_as_a_clock_does() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (7.46, "7.5 s"),
            (59.96, "1:00.0"),
            (67.5, "1:07.5"),
            (3723.4, "1:02:03.4"),
        ] {
            assert_eq!(clock(seconds), text);
        }
    }
}
