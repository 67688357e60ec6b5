//! Two ranks beside one alone, and beside two processes that share the machine but no work.

use std::path::Path;
use std::process::Command;

use super::turns::{Contender, Turns, take_turns};
use super::{Bench, Result};

/// Encoder, K, clips a rank.
const STEPS: [(&str, u32, u32); 2] = [("tiny", 8, 16), ("b16", 51, 4)];

/// Numbers of a sum: those of Seeing in Flowing, and a quarter.
const SUMS: [u32; 2] = [2_000_000, 8_000_000];

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let program = bench.program("trainer", "ranks")?;
    let turns = Turns {
        starts: 1,
        each: bench.rounds,
    };
    let mut text = format!(
        "Few-shot steps on cached features, one thread a rank, medians of {} turns in milliseconds: one \
         rank alone, two independent processes side by side, two ranks that share a batch twice as \
         large. The efficiency is independent / ranks.\n\n\
         | encoder | K | clips a rank | alone | independent | ranks | efficiency | alone / ranks |\n\
         |---|---|---|---|---|---|---|---|\n",
        bench.rounds,
    );
    for (encoder, classes, batch) in STEPS {
        let shape = [encoder.to_owned(), classes.to_string(), batch.to_string()];
        eprintln!("{}", shape.join(" "));
        let contenders = ["alone", "beside", "ranks"].map(|what| contender(&program, what, &shape));
        let all = take_turns(contenders.into(), turns)?;
        let [alone, beside, ranks] = &all[..] else {
            continue;
        };
        text += &format!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.2} | {:.2} |\n",
            shape.join(" | "),
            alone.seconds() * 1e3,
            beside.seconds() * 1e3,
            ranks.seconds() * 1e3,
            beside.ratio_to(ranks),
            alone.ratio_to(ranks)
        );
    }
    text += "\nA sum over two ranks, in milliseconds: in the fixed order, and by the engine.\n\n\
             | fp32 numbers | fixed order | engine | ratio |\n|---|---|---|---|\n";
    for numbers in SUMS {
        let numbers = [numbers.to_string()];
        let contenders = ["order", "engine"].map(|what| contender(&program, what, &numbers));
        let all = take_turns(contenders.into(), turns)?;
        let [order, engine] = &all[..] else {
            continue;
        };
        text += &format!(
            "| {} | {:.1} | {:.1} | {:.2} |\n",
            numbers.join(""),
            order.seconds() * 1e3,
            engine.seconds() * 1e3,
            order.ratio_to(engine)
        );
    }
    Ok(text)
}

fn contender(program: &Path, what: &str, shape: &[String]) -> Contender {
    let mut command = Command::new(program);
    command.arg(what).args(shape);
    Contender::new(what, command)
}
