//! The image tower: frames a second, beside every token carried through every block, the
//! Python stack, and the matrix product that limits it.

use std::fmt::Write as _;
use std::process::Command;

use super::turns::{Contender, Reached, Turns, take_turns};
use super::{Bench, Result};

/// GFLOP of ViT-B/16 for one frame of 224 x 224.
const FRAME: f64 = 35.13;
const PEERS: [(&str, &str); 2] = [("Hugging Face", "hf"), ("open_clip", "open_clip")];

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let program = bench.program("clip-backbone", "image_tower")?;
    let mut text = String::from(
        "ViT-B/16, random weights, frames of 224 x 224, medians; ratios are medians of those of each turn. The share of the peak counts \
         the operations of the whole tower, also those that ours leaves out.\n\n\
         | batch | precision | | frames/s | ours against it | share of the product's peak | peak GiB |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for precision in ["fp32", "bf16"] {
        for batch in [8, 32] {
            let ours = |mode: &str| {
                let mut command = Command::new(&program);
                command.args([mode, precision, &batch.to_string()]);
                command
            };
            let mut contenders = vec![
                contender("product", ours("matmul")),
                contender("this project", ours("default")),
                contender("this project, literal", ours("literal")),
            ];
            for (name, argument) in PEERS {
                if let Some(mut command) = bench.peer("image_tower.py") {
                    command.args([argument, precision, &batch.to_string()]);
                    contenders.push(contender(name, command));
                }
            }
            let turns = Turns {
                starts: 1,
                each: bench.rounds,
            };
            let reached = take_turns(contenders, turns)?;
            rows(&mut text, precision, batch, &reached);
        }
    }
    Ok(text)
}

fn contender(name: &str, command: Command) -> Contender {
    Contender {
        name: name.to_owned(),
        command,
    }
}

fn rows(text: &mut String, precision: &str, batch: u32, reached: &[Reached]) {
    let [product, towers @ ..] = reached else {
        return;
    };
    let batch_f = f64::from(batch);
    let limit = 12.0 * 2.0 * 197.0 * batch_f * 768.0 * 3072.0 / 1e9 / product.seconds();
    let [ours, ..] = towers else {
        return;
    };
    for tower in towers {
        let frames = batch_f / tower.seconds();
        let peak = tower
            .peak
            .map_or_else(String::new, |peak| format!("{peak:.2}"));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {batch} | {precision} | {} | {frames:.1} | {:.2} | {:.0} % of {limit:.0} GFLOP/s | {peak} |",
            tower.name,
            tower.by(ours),
            frames * FRAME / limit * 100.0,
        );
    }
}
