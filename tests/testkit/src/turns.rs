//! One contender of a benchmark whose contenders take turns (`cargo xtask bench`).
#![allow(clippy::expect_used)] // A benchmark ends with the pipes of the program that times it.

use std::io::{BufRead as _, Write as _};
use std::time::Instant;

/// Runs `work` once as a warm-up and prints `ready`; then once for every line on stdin, printing the
/// seconds it took.
///
/// # Panics
/// If stdin or stdout fails.
pub fn take_turns(mut work: impl FnMut()) {
    work();
    let mut out = std::io::stdout();
    let mut say = |text: String| {
        writeln!(out, "{text}").expect("a reader");
        out.flush().expect("a reader");
    };
    say("ready".into());
    for line in std::io::stdin().lock().lines() {
        line.expect("a line");
        let start = Instant::now();
        work();
        say(start.elapsed().as_secs_f64().to_string());
    }
}
