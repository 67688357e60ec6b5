//! Progress on stderr: a bar on a terminal, a few plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Below this many bytes a pipe sees no progress lines, a terminal only a short bar.
const WORTH_LINES: u64 = 20_000_000;

/// The progress of one thing measured in bytes.
#[derive(Debug)]
pub struct Meter {
    bar: Option<ProgressBar>,
    label: String,
    total: Option<u64>,
    done: u64,
    next_percent: u64,
    started: Instant,
}

impl Meter {
    /// Starts at `from` of `total` bytes.
    #[must_use]
    pub fn start(label: &str, total: Option<u64>, from: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total.unwrap_or(0)).with_position(from);
            let template = if total.is_some() {
                "{msg:<28.28} [{bar:20}] {bytes:>10}/{total_bytes:<10} {eta:>4}"
            } else {
                "{msg:<28.28} {spinner} {bytes:>10}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(label.to_string());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let meter = Self {
            bar,
            label: label.to_string(),
            total,
            done: from,
            next_percent: 10,
            started: Instant::now(),
        };
        if meter.bar.is_none() && total.is_none_or(|total| total >= WORTH_LINES) {
            let size = total.map_or_else(String::new, |total| format!(", {}", bytes(total)));
            let resumed = if from > 0 {
                format!(", {} already here", bytes(from))
            } else {
                String::new()
            };
            eprintln!("{label}{size}{resumed}");
        }
        meter
    }

    /// Adds `count` bytes.
    pub fn advance(&mut self, count: u64) {
        self.set(self.done + count);
    }

    /// Jumps to `done` bytes, backwards too where a transfer starts over.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        let Some(total) = self.total.filter(|total| *total >= WORTH_LINES) else {
            return;
        };
        let percent = done.saturating_mul(100) / total;
        if percent >= self.next_percent && percent < 100 {
            eprintln!("{}: {percent} % of {}", self.label, bytes(total));
            self.next_percent = percent - percent % 10 + 10;
        }
    }

    /// Ends, and says what came and how long it took.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        eprintln!("{}: {} in {seconds:.1} s", self.label, bytes(self.done));
    }

    /// Prints a line without tearing the bar.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

/// A size for people, in powers of a thousand.
#[must_use]
pub fn bytes(count: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // one decimal is shown
    let value = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}
