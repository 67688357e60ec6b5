//! What a transfer reports while it runs.

use std::time::Instant;

/// A transfer of fewer bytes is done before anybody asks how far it is.
const WORTH_LINES: u64 = 20_000_000;

/// A step of one transfer.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// It begins.
    Start {
        /// Its size in bytes, where known.
        total: Option<u64>,
        /// The bytes that an earlier attempt has left.
        here: u64,
    },
    /// So many bytes are here; fewer than before where the transfer starts over.
    At(u64),
    /// A hindrance or its end, in words.
    Note(&'a str),
    /// All bytes are here.
    Done,
}

/// Follows one transfer.
pub type Observer = Box<dyn FnMut(Event<'_>)>;

/// Plain lines on stderr about the transfer `label`: every tenth of a large one, and its end.
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
                    here => format!(", {} already here", bytes(here)),
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

/// A size for people, in powers of a thousand.
pub fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}
