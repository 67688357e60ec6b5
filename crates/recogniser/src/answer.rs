//! The answer for a video, and its output formats.

use std::fmt::Write as _;
use std::path::Path;

use clips::ClipPixels;
use serde::Serialize;

use crate::Belonging;
use crate::printable;

/// Printed for a video that shows none of the classes.
pub const NONE: &str = "none";

/// One class and its probability among the given labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scored {
    /// Probability, 0 to 1; the sum over all labels is 1.
    pub score: f64,
    /// The class.
    pub label: String,
}

/// One of the frames that the model saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct UsedFrame {
    /// Its index in decoding order, from 0.
    pub index: usize,
    /// When it is shown, in seconds from the first frame, to the microsecond.
    pub time: f64,
}

impl UsedFrame {
    pub(crate) fn new(index: usize, time: f64) -> Self {
        Self {
            index,
            time: microseconds(time),
        }
    }

    /// The frames of a clip.
    #[must_use]
    pub fn of(clip: &ClipPixels) -> Vec<Self> {
        let frames = clip.indices.iter().zip(&clip.times);
        frames
            .map(|(&index, &time)| Self::new(index, time))
            .collect()
    }
}

/// Seconds, rounded to a microsecond.
pub(crate) fn microseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// Output as a table, as lines or as JSON.
pub trait Shown: Serialize {
    /// What there is to say beside the answer.
    fn note(&self) -> Option<&str>;

    /// Tab-separated lines, for programs.
    fn plain(&self) -> String;

    /// A table with bars, for people, at most `columns` wide.
    fn table(&self, columns: usize) -> String;
}

/// The `top` best of `labels` by `probabilities`, which has one entry per label.
pub(crate) fn best(labels: &[String], probabilities: &[f64], top: usize) -> Vec<Scored> {
    let mut scored: Vec<Scored> = labels
        .iter()
        .zip(probabilities)
        .map(|(label, &score)| Scored {
            score,
            label: label.clone(),
        })
        .collect();
    // Stable: equal scores stay in the order the labels were given.
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    scored.truncate(top);
    scored
}

/// The answer for one video.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The file.
    pub video: String,
    /// The most probable classes, best first.
    pub predictions: Vec<Scored>,
    /// Whether the video shows one of them: the keys `known`, `belonging`, `threshold`, if the run
    /// tells.
    #[serde(flatten)]
    pub belonging: Option<Belonging>,
    /// The frames the model saw.
    pub frames: Vec<UsedFrame>,
    /// Frames in the file.
    pub frame_count: usize,
    /// Which stream was decoded, if the file has several videos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Answer {
    /// The `top` best of `labels` by `probabilities`, which has one entry per label.
    #[must_use]
    pub fn new(
        video: &Path,
        labels: &[String],
        probabilities: &[f64],
        top: usize,
        frames: Vec<UsedFrame>,
        frame_count: usize,
    ) -> Self {
        let video = video.to_string_lossy().into_owned();
        Self {
            video,
            predictions: best(labels, probabilities, top),
            belonging: None,
            frames,
            frame_count,
            note: None,
        }
    }
}

impl Shown for Answer {
    fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Tab-separated lines: video, rank, score, label. The first is `none` with its score of
    /// belonging if the video shows none of the classes.
    fn plain(&self) -> String {
        let mut text = String::new();
        let none = none(self.belonging);
        for (index, Scored { score, label }) in none.iter().chain(&self.predictions).enumerate() {
            let video = printable(&self.video);
            let _ = writeln!(
                text,
                "{video}\t{}\t{score:.6}\t{}",
                index + 1,
                printable(label)
            );
        }
        text
    }

    fn table(&self, columns: usize) -> String {
        let mut text = format!("{}\n", clip_text(&printable(&self.video), columns));
        let span = match (self.frames.first(), self.frames.last()) {
            (Some(first), Some(last)) => {
                format!(", {:.1} s to {:.1} s", first.time, last.time)
            }
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "  {} of {} frames{span}",
            self.frames.len(),
            self.frame_count
        );
        if let Some(line) = refusal(self.belonging) {
            let _ = writeln!(text, "  {}", clip_text(&line, columns.saturating_sub(2)));
        }
        let names: Vec<String> = self
            .predictions
            .iter()
            .map(|p| printable(&p.label))
            .collect();
        let longest = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        // Two spaces before, two between the columns, seven for the percentage.
        let name_width = longest.min(columns.saturating_sub(24).max(8));
        let bar_width = columns.saturating_sub(name_width + 13).min(40);
        for (prediction, name) in self.predictions.iter().zip(&names) {
            let name = clip_text(name, name_width);
            let padding = name_width.saturating_sub(name.chars().count());
            let bar = bar(prediction.score, bar_width);
            let percent = 100.0 * prediction.score;
            let _ = writeln!(text, "  {name}{:padding$}  {percent:>5.1} %  {bar}", "");
        }
        text
    }
}

/// `none` in the place of the best class, if there is none.
pub(crate) fn none(belonging: Option<Belonging>) -> Option<Scored> {
    let refused = belonging.filter(|belonging| !belonging.known)?;
    Some(Scored {
        score: refused.score,
        label: NONE.into(),
    })
}

/// The same for people.
pub(crate) fn refusal(belonging: Option<Belonging>) -> Option<String> {
    let refused = belonging.filter(|belonging| !belonging.known)?;
    Some(format!(
        "{NONE}: belonging {:.2}, below {:.2}; the nearest:",
        refused.score, refused.threshold
    ))
}

/// A bar in eighths of a character.
pub(crate) fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    bar.push_str(rest[eighths % 8]);
    bar
}

pub(crate) fn clip_text(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        let labels = ["walk", "run", "a very long label ".repeat(9).as_str()].map(String::from);
        let frames = vec![
            UsedFrame {
                index: 3,
                time: 0.1,
            },
            UsedFrame {
                index: 9,
                time: 0.3,
            },
        ];
        Answer::new(
            Path::new("a\tb\n.mp4"),
            &labels,
            &[0.25, 0.7, 0.05],
            2,
            frames,
            12,
        )
    }

    #[test]
    fn the_best_come_first() {
        let answer = answer();
        let labels: Vec<_> = answer
            .predictions
            .iter()
            .map(|p| p.label.as_str())
            .collect();
        assert_eq!(labels, ["run", "walk"]);
    }

    #[test]
    fn plain_lines_keep_their_columns_whatever_the_name() {
        assert_eq!(
            answer().plain(),
            "a\\tb\\n.mp4\t1\t0.700000\trun\na\\tb\\n.mp4\t2\t0.250000\twalk\n"
        );
    }

    #[test]
    fn a_video_of_none_of_the_classes_says_so_first() {
        let mut answer = answer();
        let mut belonging = Belonging {
            known: true,
            score: 0.5,
            threshold: 0.25,
        };
        let json = |answer: &Answer| serde_json::to_value(answer).unwrap_or_default();
        assert!(json(&answer).get("known").is_none());
        answer.belonging = Some(belonging);
        assert!(
            answer
                .plain()
                .starts_with("a\\tb\\n.mp4\t1\t0.700000\trun\n")
        );
        belonging = Belonging {
            known: false,
            score: 0.125,
            ..belonging
        };
        answer.belonging = Some(belonging);
        let lines = answer.plain();
        assert!(
            lines.starts_with("a\\tb\\n.mp4\t1\t0.125000\tnone\n"),
            "{lines}"
        );
        assert!(lines.contains("\t2\t0.700000\trun\n"), "{lines}");
        assert!(
            answer
                .table(80)
                .contains("none: belonging 0.12, below 0.25")
        );
        let json = json(&answer);
        assert_eq!(json["known"], false);
        assert_eq!(
            (&json["belonging"], &json["threshold"]),
            (&0.125.into(), &0.25.into())
        );
        assert_eq!(json["predictions"][0]["label"], "run");
    }

    #[test]
    fn the_table_fits_its_columns() {
        let mut answer = answer();
        answer.predictions[1].label = "a very long label ".repeat(9);
        for columns in [40, 80, 120] {
            for line in answer.table(columns).lines() {
                assert!(line.chars().count() <= columns, "{columns}: {line:?}");
            }
        }
        assert!(answer.table(80).contains("2 of 12 frames, 0.1 s to 0.3 s"));
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0.5, 8), "████");
        assert_eq!(bar(1.0, 2), "██");
        assert_eq!(bar(0.0, 8), "");
        assert_eq!(bar(f64::NAN, 8), "");
    }
}
