//! Progress reports of a transfer.

use std::time::Instant;

/// Smaller transfers, in bytes, finish too soon for a progress report.
const WORTH_LINES: u64 = 20_000_000;

/// An event of one transfer.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Start.
    Start {
        /// Its size in bytes, if known.
        total: Option<u64>,
        /// The bytes left by an earlier attempt.
        here: u64,
    },
    /// Bytes received so far; fewer than before if the transfer restarts.
    At(u64),
    /// A message, such as a failure and its retry.
    Note(&'a str),
    /// All bytes have arrived.
    Done,
}

/// Follows one transfer.
pub type Observer = Box<dyn FnMut(Event<'_>)>;

/// Plain lines on stderr for the transfer `label`: every 10 % of a large one, and its end.
pub fn lines(label: &str) -> Observer {
    let label = label.to_owned();
    let started = Instant::now();
    let (mut total, mut done, mut next_percent) = (None, 0, 10);
    Box::new(move |event| match event {
        Event::Start { total: size, here } => {
            (total, done) = (size, here);
            if size.is_none_or(|size| size >= WORTH_LINES) {
                let size = size.map_or_else(String::new, |size| format!(", {}", bytes(size)));
                let resumed = match here {
                    0 => String::new(),
                    here => format!(", {} already downloaded", bytes(here)),
                };
                eprintln!("{label}{size}{resumed}");
            }
        }
        Event::At(now) => {
            done = now;
            let Some(total) = total.filter(|total| *total >= WORTH_LINES) else {
                return;
            };
            let percent = done.saturating_mul(100) / total;
            if percent >= next_percent && percent < 100 {
                eprintln!("{label}: {percent} % of {}", bytes(total));
                next_percent = percent - percent % 10 + 10;
            }
        }
        Event::Note(text) => eprintln!("{label}: {text}"),
        Event::Done => {
            let seconds = started.elapsed().as_secs_f64();
            eprintln!("{label}: {} in {seconds:.1} s", bytes(done));
        }
    })
}

/// A human-readable size, in powers of a thousand.
pub fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}
