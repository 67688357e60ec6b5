//! A few-shot step: in lanes on threads of their own, whole with libtorch's threads, and its text side
//! alone.

use std::path::Path;
use std::process::Command;

use super::turns::{Contender, Timing, Turns, take_turns};
use super::{Bench, Result, machine};

/// Encoder, K, B, precision, path.
const STEPS: [(&str, u32, u32, &str, &str); 8] = [
    ("tiny", 4, 8, "fp32", "packed"),
    ("tiny", 8, 8, "fp32", "packed"),
    ("tiny", 8, 32, "fp32", "packed"),
    ("b16", 51, 4, "fp32", "literal"),
    ("b16", 51, 4, "fp32", "packed"),
    ("b16", 51, 4, "bf16", "packed"),
    ("b16", 51, 32, "fp32", "packed"),
    ("b16", 51, 32, "bf16", "packed"),
];

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let program = bench.program("trainer", "step")?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "One step on cached features, H = 5, `best`, AdamW, medians of {} turns in milliseconds. \
         `whole` divides each operation among libtorch's threads, `2 lanes` the batch among as many \
         threads. `tiny` is a text tower of 4 blocks and width 192, `b16` that of ViT-B/16.\n\n\
         | encoder | K | B | precision | path | whole, {threads} threads | whole, 1 thread \
         | 2 lanes, {threads} threads | 2 lanes, 1 thread | text side alone | share outside it |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        bench.rounds,
    );
    let precisions = machine::precisions();
    for (encoder, classes, batch, precision, path) in STEPS {
        if !precisions.contains(&precision) {
            continue;
        }
        let shape = [
            encoder.to_owned(),
            classes.to_string(),
            batch.to_string(),
            precision.to_owned(),
            path.to_owned(),
        ];
        eprintln!("{}", shape.join(" "));
        let all = take_turns(
            contenders(&program, &shape, threads),
            Turns {
                starts: 1,
                each: bench.rounds,
            },
        )?;
        text += &format!("| {} |{}\n", shape.join(" | "), cells(&all));
    }
    Ok(text)
}

/// The whole step on all threads and its text side first.
fn contenders(program: &Path, shape: &[String], threads: usize) -> Vec<Contender> {
    let run = |what: &str, lanes: usize, threads: usize| {
        let mut command = Command::new(program);
        command
            .args(shape)
            .args([what.to_owned(), lanes.to_string(), threads.to_string()]);
        Contender::new(what, command)
    };
    let mut all = vec![run("step", 1, threads), run("text", 1, threads)];
    // The literal path is a reference, and takes long.
    if shape.last().is_some_and(|path| path != "literal") {
        all.extend([
            run("step", 1, 1),
            run("step", 2, threads),
            run("step", 2, 1),
        ]);
    }
    all
}

fn cells(timings: &[Timing]) -> String {
    let [whole, text, others @ ..] = timings else {
        return String::new();
    };
    let cell = |timing: &Timing| format!(" {:.1} |", timing.seconds() * 1e3);
    let mut cells = cell(whole);
    match others {
        [] => cells += " | | |",
        others => others.iter().for_each(|other| cells += &cell(other)),
    }
    cells += &cell(text);
    cells + &format!(" {:.0} % |", (1.0 - text.ratio_to(whole)) * 100.0)
}
