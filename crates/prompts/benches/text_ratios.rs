//! The text paths against each other at K = 51, B = 4: every contender takes its turn in every
//! round, so that a busy machine slows all alike; medians and ratios are printed.
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
    for round in 0..=rounds {
        for ((times, encoder), (_, clip, _, repeats)) in
            seconds.iter_mut().zip(&encoders).zip(contenders)
        {
            for _ in 0..repeats {
                let start = Instant::now();
                support::step(clip, encoder, batch);
                // The first round warms caches and allocator.
                if round > 0 {
                    times.push(start.elapsed().as_secs_f64());
                }
            }
        }
    }
    let medians = seconds.map(|mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "K = {classes}, B = {batch}, H = 5, {} threads",
        tch::get_num_threads()
    );
    for ((name, ..), median) in contenders.iter().zip(medians) {
        println!(
            "{name:<20} {median:>8.3} s  {:>6.1} x literal fp32  {:>6.1} x literal bf16",
            medians[0] / median,
            medians[4] / median
        );
    }
    println!(
        "packed bf16 against packed fp32: {:.2} x",
        medians[3] / medians[5]
    );
}
