//! The image tower: frames per second, compared with a version that carries every token through
//! every block, with Python, and with the matrix product that limits it.

use std::process::Command;

use super::turns::{Contender, Timing, Turns, take_turns};
use super::{Bench, Result, machine};

/// GFLOP of ViT-B/16 for one frame of 224 x 224.
const FRAME: f64 = 35.13;
const PEERS: [(&str, &str); 2] = [("Hugging Face", "hf"), ("open_clip", "open_clip")];

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let program = bench.program("clip-backbone", "image_tower")?;
    let mut text = String::from(
        "ViT-B/16, random weights, frames of 224 x 224, medians; ratios are medians over the turns. \
         The share of the peak counts all operations of the tower, including those that ours omits.\n\n\
         | batch | precision | | frames/s | ours relative to it | share of the product's peak | peak GiB |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for &precision in machine::precisions() {
        for batch in [8, 32] {
            let ours = |mode: &str| {
                let mut command = Command::new(&program);
                command.args([mode, precision, &batch.to_string()]);
                command
            };
            let mut contenders = vec![
                Contender::new("product", ours("matmul")),
                Contender::new("this project", ours("default")),
                Contender::new("this project, not in parts", ours("whole")),
                Contender::new("this project, literal", ours("literal")),
            ];
            for (name, argument) in PEERS {
                if let Some(mut command) = bench.peer("image_tower.py") {
                    command.args([argument, precision, &batch.to_string()]);
                    contenders.push(Contender::new(name, command));
                }
            }
            let turns = Turns {
                starts: 1,
                each: bench.rounds,
            };
            let timings = take_turns(contenders, turns)?;
            rows(&mut text, precision, batch, &timings);
        }
    }
    Ok(text)
}

fn rows(text: &mut String, precision: &str, batch: u32, timings: &[Timing]) {
    let [product, towers @ ..] = timings else {
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
        *text += &format!(
            "| {batch} | {precision} | {} | {frames:.1} | {:.2} | {:.0} % of {limit:.0} GFLOP/s | {peak} |\n",
            tower.name,
            tower.ratio_to(ours),
            frames * FRAME / limit * 100.0,
        );
    }
}
