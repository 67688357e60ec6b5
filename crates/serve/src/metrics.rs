//! Counters, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::wire::Kept;

/// Upper bounds of the buckets of durations, in seconds.
const BOUNDS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// What the server has done so far.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Requests by route and status.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    pub(crate) answering: Histogram,
    pub(crate) decoding: Histogram,
    /// Decoding processes that failed, or that were killed at the deadline.
    pub(crate) crashed: AtomicU64,
    pub(crate) killed: AtomicU64,
    /// Clips that went through an image tower, and batches of them.
    pub(crate) clips: AtomicU64,
    pub(crate) batches: AtomicU64,
    /// Sets of labels that were encoded, and those found encoded.
    pub(crate) label_sets: AtomicU64,
    pub(crate) label_hits: AtomicU64,
    /// Frames of streams that were left out.
    pub(crate) left_out: AtomicU64,
    /// How the last decoding process is confined.
    confined: Mutex<Option<(Kept, bool)>>,
}

impl Metrics {
    pub(crate) fn request(&self, route: &str, status: u16, took: Duration) {
        if let Ok(mut requests) = self.requests.lock() {
            *requests.entry((route.to_owned(), status)).or_default() += 1;
        }
        self.answering.observe(took);
    }

    pub(crate) fn confined(&self, landlock: Kept, seccomp: bool) {
        if let Ok(mut confined) = self.confined.lock() {
            *confined = Some((landlock, seccomp));
        }
    }

    /// What a decoding process is not kept from, for lack of support by the kernel; `None` before
    /// the first one has started.
    pub(crate) fn unconfined(&self) -> Option<Vec<&'static str>> {
        let (landlock, seccomp) = (*self.confined.lock().ok()?)?;
        let landlock = match landlock {
            Kept::Fully => None,
            Kept::Partially => Some("Landlock is enforced in part"),
            Kept::Not => Some("Landlock is missing"),
        };
        Some(
            landlock
                .into_iter()
                .chain((!seccomp).then_some("seccomp is missing"))
                .collect(),
        )
    }

    /// All of it as text, with other `gauges`.
    pub(crate) fn text(&self, gauges: &[(&str, &str, f64)]) -> String {
        let mut text = String::new();
        let counters = [
            (
                "serve_decoders_crashed_total",
                "Decoding processes that failed.",
                &self.crashed,
            ),
            (
                "serve_decoders_killed_total",
                "Decoding processes killed at the deadline.",
                &self.killed,
            ),
            (
                "serve_clips_total",
                "Clips encoded by an image tower.",
                &self.clips,
            ),
            ("serve_batches_total", "Batches of clips.", &self.batches),
            (
                "serve_label_sets_encoded_total",
                "Sets of labels encoded.",
                &self.label_sets,
            ),
            (
                "serve_label_sets_found_total",
                "Sets of labels found encoded.",
                &self.label_hits,
            ),
            (
                "serve_stream_frames_left_out_total",
                "Frames of streams left out.",
                &self.left_out,
            ),
        ];
        let _ = writeln!(text, "# HELP serve_requests_total Requests answered.");
        let _ = writeln!(text, "# TYPE serve_requests_total counter");
        if let Ok(requests) = self.requests.lock() {
            for ((route, status), count) in &*requests {
                let _ = writeln!(
                    text,
                    "serve_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}"
                );
            }
        }
        for (name, help, counter) in counters {
            let value = counter.load(Relaxed);
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}"
            );
        }
        for (name, help, value) in gauges {
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
            );
        }
        self.answering.write(
            &mut text,
            "serve_request_seconds",
            "Time to answer a request.",
        );
        self.decoding.write(
            &mut text,
            "serve_decoding_seconds",
            "Time to decode a file.",
        );
        text
    }
}

/// Durations by bucket.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            if seconds <= bound {
                bucket.fetch_add(1, Relaxed);
            }
        }
        self.count.fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            let _ = writeln!(
                text,
                "{name}_bucket{{le=\"{bound}\"}} {}",
                bucket.load(Relaxed)
            );
        }
        let count = self.count.load(Relaxed);
        let sum = self.micros.load(Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
    }
}
