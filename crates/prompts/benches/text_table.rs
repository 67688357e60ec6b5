//! Compares the text paths at the shapes of HMDB-51, UCF-101 and Kinetics-400, as a Markdown
//! table: every path runs in every round, so that a busy machine slows all alike. Medians of
//! seconds, their ratios, and the peak memory of a step in a separate process. A shape runs as
//! many rounds as fit into a minute, at least one and at most ROUNDS.
//!
//! `cargo bench -p prompts --bench text_table [-- ROUNDS [MOST_SEQUENCES]]`
#![allow(clippy::expect_used)]

mod support;

use std::process::{Command, Stdio};
use std::time::Instant;

use clip_backbone::ClipModel;
use prompts::{TextEncoder, TextPath};
use tch::Kind;

/// A path in one precision.
struct Contender {
    name: &'static str,
    path: TextPath,
    kind: Kind,
    /// The most sequences, K x B, that it encodes: above, one step takes minutes.
    most: i64,
    /// Steps per round.
    repeats: usize,
}

const CONTENDERS: [Contender; 7] = [
    contender("literal fp32", TextPath::Literal, Kind::Float, 204, 1),
    contender("cut at EOS fp32", TextPath::CutAtEos, Kind::Float, 404, 1),
    contender(
        "shared prefix fp32",
        TextPath::SharedPrefix,
        Kind::Float,
        3232,
        1,
    ),
    contender("packed fp32", TextPath::Packed, Kind::Float, i64::MAX, 1),
    contender("literal bf16", TextPath::Literal, Kind::BFloat16, 204, 1),
    contender(
        "cut at EOS bf16",
        TextPath::CutAtEos,
        Kind::BFloat16,
        1632,
        1,
    ),
    contender("packed bf16", TextPath::Packed, Kind::BFloat16, i64::MAX, 2),
];
const LITERAL: [usize; 2] = [0, 4];
const PACKED: [usize; 2] = [3, 6];

const fn contender(
    name: &'static str,
    path: TextPath,
    kind: Kind,
    most: i64,
    repeats: usize,
) -> Contender {
    Contender {
        name,
        path,
        kind,
        most,
        repeats,
    }
}

/// Sequences, K x B, above which a shape is not warmed.
const WARMED: i64 = 101;
/// Seconds after which a shape runs no further round.
const ENOUGH: u64 = 60;

/// The steps whose memory is measured: contender, K, B.
const MEMORY: [(usize, usize, i64); 9] = [
    (0, 51, 4),
    (1, 51, 4),
    (2, 51, 4),
    (3, 51, 4),
    (6, 51, 4),
    (3, 400, 8),
    (6, 400, 8),
    (3, 400, 32),
    (6, 400, 32),
];

fn main() {
    support::keep_memory();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if words.first().is_some_and(|word| word == "memory") {
        let contender = &CONTENDERS[numbers[0]];
        println!("{}", memory(contender, numbers[1], numbers[2] as i64));
        return;
    }
    let rounds = numbers.first().copied().unwrap_or(5).max(1);
    let most = numbers.get(1).map_or(i64::MAX, |&most| most as i64);
    seconds_table(rounds, most);
    memory_table(most);
}

fn seconds_table(rounds: usize, most: i64) {
    let (single, half) = (support::tower(Kind::Float), support::tower(Kind::BFloat16));
    let tower = |of: &Contender| {
        if of.kind == Kind::Float {
            &single
        } else {
            &half
        }
    };
    println!(
        "Text side of a training step, ViT-B/16, H = 5, forward and backward, {} threads, medians of at most {rounds} rounds.\n",
        tch::get_num_threads()
    );
    println!("| K | B | rounds | path | seconds | x literal fp32 | x literal bf16 | bf16 x fp32 |");
    println!("|---|---|---|---|---|---|---|---|");
    for (classes, batch) in [51, 101, 400]
        .into_iter()
        .flat_map(|k| [(k, 1), (k, 4), (k, 32)])
    {
        let sequences = classes as i64 * batch;
        if sequences > most {
            continue;
        }
        let runs: Vec<Option<TextEncoder>> = CONTENDERS
            .iter()
            .map(|of| {
                let runs = sequences <= of.most && worth(of);
                runs.then(|| support::encoder(tower(of), classes, of.path))
            })
            .collect();
        let mut seconds = CONTENDERS.map(|_| Vec::new());
        let begun = Instant::now();
        let mut taken = 0;
        // A first round warms caches and allocator; long steps need none.
        for round in u64::from(sequences > WARMED)..=rounds as u64 {
            if taken > 0 && begun.elapsed().as_secs() > ENOUGH {
                break;
            }
            for (index, (of, encoder)) in CONTENDERS.iter().zip(&runs).enumerate() {
                let Some(encoder) = encoder else { continue };
                for _ in 0..of.repeats {
                    let start = Instant::now();
                    support::step(tower(of), encoder, batch);
                    if round > 0 {
                        seconds[index].push(start.elapsed().as_secs_f64());
                    }
                }
            }
            taken = round;
            eprintln!("K={classes} B={batch}: round {round} of at most {rounds}");
        }
        let medians = seconds.map(median);
        for (index, of) in CONTENDERS.iter().enumerate() {
            let Some(own) = medians[index] else { continue };
            let against = |other: usize| {
                let ratio = medians[other].map(|other| format!("{:.1}", other / own));
                ratio.unwrap_or_default()
            };
            let gain = if index == PACKED[1] {
                medians[PACKED[0]].map_or_else(String::new, |fp32| format!("{:.2}", fp32 / own))
            } else {
                String::new()
            };
            println!(
                "| {classes} | {batch} | {taken} | {} | {own:.3} | {} | {} | {gain} |",
                of.name,
                against(LITERAL[0]),
                against(LITERAL[1])
            );
        }
    }
}

fn memory_table(most: i64) {
    println!("\nPeak memory of one such step, weights included, in a separate process.\n");
    println!("| K | B | path | peak GiB |");
    println!("|---|---|---|---|");
    let program = std::env::current_exe().expect("a path");
    for (index, classes, batch) in MEMORY {
        if classes as i64 * batch > most || !worth(&CONTENDERS[index]) {
            continue;
        }
        let out = Command::new(&program)
            .arg("memory")
            .args([index.to_string(), classes.to_string(), batch.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .expect("this program starts");
        assert!(out.status.success(), "the step failed: {}", out.status);
        let peak = String::from_utf8_lossy(&out.stdout);
        println!(
            "| {classes} | {batch} | {} | {} |",
            CONTENDERS[index].name,
            peak.trim()
        );
    }
}

/// The peak memory, in GiB, of this process after one step.
fn memory(of: &Contender, classes: usize, batch: i64) -> String {
    let clip: ClipModel = support::tower(of.kind);
    let encoder = support::encoder(&clip, classes, of.path);
    support::step(&clip, &encoder, batch);
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    format!("{:.2}", kib.expect("VmHWM") / f64::from(1 << 20))
}

/// On a processor that does not multiply in bf16, one step in it takes minutes.
fn worth(of: &Contender) -> bool {
    #[cfg(target_arch = "x86_64")]
    let multiplies = std::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let multiplies = true;
    of.kind == Kind::Float || multiplies
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
