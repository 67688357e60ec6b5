//! Peak memory of one training step of the text side, in a process of its own:
//! `cargo bench -p prompts --bench text_memory -- K B CHUNK (literal|packed) (fp32|bf16)`.
#![allow(clippy::expect_used)]

mod support;

use std::time::Instant;

use prompts::{TextEncoder, TextEncoding, TextPath};
use tch::Kind;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let (classes, batch, chunk) = match numbers[..] {
        [classes, batch, chunk] => (classes, batch as i64, chunk),
        _ => (400, 8, TextEncoding::default().chunk),
    };
    let has = |word: &str| words.iter().any(|w| w == word);
    let path = if has("literal") {
        TextPath::Literal
    } else {
        TextPath::Packed
    };
    let kind = if has("bf16") {
        Kind::BFloat16
    } else {
        Kind::Float
    };
    support::keep_memory();
    let clip = support::tower(kind);
    let before = peak();
    let encoding = TextEncoding { path, chunk };
    let encoder = TextEncoder::new(
        &clip.text,
        &support::classes(classes),
        support::VECTORS,
        encoding,
    )
    .expect("a task");
    let start = Instant::now();
    support::step(&clip, &encoder, batch);
    println!(
        "{path:?} {kind:?} K={classes} B={batch} chunk={chunk}: {:.2} s, peak {:.2} GiB, of it {:.2} GiB weights",
        start.elapsed().as_secs_f64(),
        peak(),
        before
    );
}

/// The most memory this process has held, in GiB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.expect("VmHWM") / f64::from(1 << 20)
}
