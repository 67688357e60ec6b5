//! The text paths against each other at K = 51, B = 4: every contender takes its turn in every
//! round, so that a busy machine slows all alike; medians and ratios are printed, of seconds and
//! of processor seconds, which other programs disturb less.
//!
//! `cargo bench -p prompts --bench text_ratios [-- ROUNDS [K B]]`
#![allow(clippy::expect_used)]

mod support;

use std::time::Instant;

use prompts::TextPath;
use tch::Kind;

fn main() {
    support::keep_memory();
    let numbers: Vec<i64> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let rounds = numbers.first().copied().unwrap_or(5).max(1);
    let (classes, batch) = match numbers[..] {
        [_, classes, batch] => (classes as usize, batch),
        _ => (51, 4),
    };
    let (single, half) = (support::tower(Kind::Float), support::tower(Kind::BFloat16));
    let contenders = [
        ("literal fp32", &single, TextPath::Literal, 1),
        ("cut at EOS fp32", &single, TextPath::CutAtEos, 2),
        ("shared prefix fp32", &single, TextPath::SharedPrefix, 3),
        ("packed fp32", &single, TextPath::Packed, 3),
        ("literal bf16", &half, TextPath::Literal, 1),
        ("packed bf16", &half, TextPath::Packed, 5),
    ];
    let encoders = contenders.map(|(_, clip, path, _)| support::encoder(clip, classes, path));
    let mut seconds = contenders.map(|_| Vec::new());
    let mut work = contenders.map(|_| Vec::new());
    for round in 0..=rounds {
        for (index, (_, clip, _, repeats)) in contenders.into_iter().enumerate() {
            for _ in 0..repeats {
                let (start, before) = (Instant::now(), processor_seconds());
                support::step(clip, &encoders[index], batch);
                // The first round warms caches and allocator.
                if round > 0 {
                    seconds[index].push(start.elapsed().as_secs_f64());
                    work[index].push(processor_seconds() - before);
                }
            }
        }
    }
    let (seconds, work) = (seconds.map(median), work.map(median));
    println!(
        "K = {classes}, B = {batch}, H = 5, {} threads",
        tch::get_num_threads()
    );
    for (index, (name, ..)) in contenders.iter().enumerate() {
        let ratios = |of: &[f64; 6]| {
            let (single, half) = (of[0] / of[index], of[4] / of[index]);
            format!(
                "{:>8.3} s {single:>6.1} x fp32 {half:>6.1} x bf16",
                of[index]
            )
        };
        println!(
            "{name:<20} {}   processor {}",
            ratios(&seconds),
            ratios(&work)
        );
    }
    println!(
        "packed bf16 against packed fp32: {:.2} x, processor {:.2} x",
        seconds[3] / seconds[5],
        work[3] / work[5]
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds all threads of this process have computed, in steps of 10 ms.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // After the program's name in brackets, user and system time are the 12th and 13th field.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
