//! Two ranks beside one alone, and beside two processes that share the machine but no work; what they
//! send, on a link of 1 Gb/s too; and Python's DistributedDataParallel.

use std::path::Path;
use std::process::Command;

use super::turns::{Contender, Turns, take_turns};
use super::{Bench, Result};
use crate::Error;
use crate::workspace::{output, output_of};

/// A step: its name in the table, and the words that ask for it.
const STEPS: [(&str, &str); 3] = [
    ("few-shot, tiny, K = 8, 16 clips", "flowing tiny 8 16"),
    ("few-shot, ViT-B/16, K = 51, 4 clips", "flowing b16 51 4"),
    ("ActionCLIP, ViT-S/16, 2 clips", ACTION_CLIP),
];

/// Five processes of it are in memory at once: some 2 GB each.
const ACTION_CLIP: &str = "action-clip 2 keep";

/// The same with the image tower's states computed again, and gradients sent after the backward pass or during
/// it.
const SENT: [(&str, &str); 2] = [
    (
        "ActionCLIP, states computed again, sent last",
        "action-clip 2 last",
    ),
    (
        "ActionCLIP, states computed again, sent meanwhile",
        "action-clip 2 meanwhile",
    ),
];

/// Numbers of a sum: those of Seeing in Flowing, and four times as many.
const SUMS: [u32; 2] = [8_000_000, 32_000_000];

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let program = bench.program("trainer", "ranks")?;
    let turns = Turns {
        starts: 1,
        each: bench.rounds,
    };
    let mut text = format!(
        "One thread a rank, T = 8, medians of {} turns in milliseconds a step: one rank alone, two \
         independent processes side by side, two ranks that share a batch twice as large. The \
         efficiency is independent / ranks.\n\n\
         | step, clips a rank | alone | independent | ranks | efficiency | alone / ranks |\n\
         |---|---|---|---|---|---|\n",
        bench.rounds,
    );
    for (name, work) in STEPS {
        eprintln!("{name}");
        let contenders = ["alone", "beside", "ranks"].map(|who| contender(&program, who, work));
        let all = take_turns(contenders.into(), turns)?;
        let [alone, beside, ranks] = &all[..] else {
            continue;
        };
        text += &format!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.2} | {:.2} |\n",
            alone.seconds() * 1e3,
            beside.seconds() * 1e3,
            ranks.seconds() * 1e3,
            beside.ratio_to(ranks),
            alone.ratio_to(ranks)
        );
    }
    text += &traffic(&program)?;
    text += "\nA sum over two ranks, in milliseconds: in the fixed order, and by the engine.\n\n\
             | fp32 numbers | fixed order | engine | ratio |\n|---|---|---|---|\n";
    for numbers in SUMS {
        let contenders = ["order", "engine"].map(|sum| {
            let work = format!("{sum} {numbers}");
            contender(&program, "ranks", &work)
        });
        let all = take_turns(contenders.into(), turns)?;
        let [order, engine] = &all[..] else {
            continue;
        };
        text += &format!(
            "| {numbers} | {:.1} | {:.1} | {:.2} |\n",
            order.seconds() * 1e3,
            engine.seconds() * 1e3,
            order.ratio_to(engine)
        );
    }
    Ok(text + &peers(bench, &program, turns)?)
}

fn contender(program: &Path, who: &str, work: &str) -> Contender {
    Contender::new(who, run(program, who, work))
}

fn run(program: &Path, who: &str, work: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(who).args(work.split(' '));
    command
}

/// What a step sends, and how long that takes on this machine and between two network namespaces with
/// a link of 1 Gb/s.
fn traffic(program: &Path) -> Result<String> {
    let mut text = String::from(
        "\nWhat a rank sends a step, and the seconds that it waits for exchanges, for the other rank \
         included; the median of three steps. Where the image tower's states are computed again, a \
         block's gradients are sent while those below it are computed.\n\n\
         | step | link | MB | 2 (W-1)/W N | ratio | s a step | of these in exchanges |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let apart = Apart::new();
    if let Err(reason) = &apart {
        eprintln!("1 Gb/s is skipped: {reason}");
    }
    for (name, work) in STEPS.into_iter().chain(SENT) {
        let mut links = vec![("loopback", run(program, "traffic", work))];
        if apart.is_ok() {
            let mut inside = Command::new("ip");
            inside.args(["netns", "exec", "ranks-0"]).arg(program);
            inside.arg("traffic").args(work.split(' '));
            inside.env("RANKS_APART", "10.78.0.1:29790");
            links.push(("1 Gb/s", inside));
        }
        for (link, mut command) in links {
            let said = output(&mut command)?;
            let numbers: Vec<f64> = said
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            let [bytes, least, exchange, step] = numbers[..] else {
                return Err(Error::invalid(format!("{work} on {link}"), said));
            };
            text += &format!(
                "| {name} | {link} | {:.1} | {:.1} | {:.3} | {step:.3} | {exchange:.3} |\n",
                bytes / 1e6,
                least / 1e6,
                bytes / least,
            );
        }
    }
    Ok(text)
}

/// Two network namespaces with a link of 1 Gb/s between them, as long as it lives.
struct Apart;

impl Apart {
    fn new() -> Result<Self> {
        let apart = Self;
        let mut lines = vec![
            "ip netns add ranks-0".to_owned(),
            "ip netns add ranks-1".to_owned(),
            "ip link add ranks0 netns ranks-0 type veth peer name ranks1 netns ranks-1".to_owned(),
        ];
        for rank in 0..2 {
            let inside = format!("ip -n ranks-{rank}");
            lines.extend([
                format!("{inside} addr add 10.78.0.{}/24 dev ranks{rank}", rank + 1),
                format!("{inside} link set ranks{rank} up"),
                format!("{inside} link set lo up"),
                format!(
                    "ip netns exec ranks-{rank} tc qdisc add dev ranks{rank} root tbf rate 1gbit \
                     burst 256kb latency 50ms"
                ),
            ]);
        }
        for line in lines {
            let mut words = line.split_whitespace();
            output(Command::new(words.next().unwrap_or_default()).args(words))?;
        }
        Ok(apart)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for name in ["ranks-0", "ranks-1"] {
            output_of("ip", &["netns", "del", name]);
        }
    }
}

/// ActionCLIP's step and the sums in PyTorch with DistributedDataParallel on Gloo.
fn peers(bench: &Bench<'_>, program: &Path, turns: Turns) -> Result<String> {
    let peer = |who: &str, work: &str| {
        let mut command = bench.peer("ranks.py")?;
        command.arg(who).args(work.split(' '));
        Some(Contender::new(who, command))
    };
    let mut text = String::new();
    let step = "action-clip 2";
    let (Some(alone), Some(ranks)) = (peer("alone", step), peer("ranks", step)) else {
        return Ok(text);
    };
    let ours = contender(program, "ranks", ACTION_CLIP);
    let all = take_turns(vec![ours, alone, ranks], turns)?;
    if let [ours, alone, ranks] = &all[..] {
        text += &format!(
            "\nActionCLIP's step in PyTorch with DistributedDataParallel on Gloo, its towers of the same \
             shapes, in milliseconds: alone {:.1}, two ranks {:.1}, alone / ranks {:.2}; this project's \
             two ranks in the same turns {:.1}, ours / theirs {:.2}.\n",
            alone.seconds() * 1e3,
            ranks.seconds() * 1e3,
            alone.ratio_to(ranks),
            ours.seconds() * 1e3,
            ours.ratio_to(ranks)
        );
    }
    for numbers in SUMS {
        let work = format!("sum {numbers}");
        let ours = contender(program, "ranks", &format!("order {numbers}"));
        let all = take_turns(
            peer("ranks", &work).into_iter().chain([ours]).collect(),
            turns,
        )?;
        if let [theirs, ours] = &all[..] {
            text += &format!(
                "\n`torch.distributed.all_reduce` of {numbers} numbers: {:.1} ms, ours in the fixed order \
                 {:.1} ms, ours / theirs {:.2}.\n",
                theirs.seconds() * 1e3,
                ours.seconds() * 1e3,
                ours.ratio_to(theirs)
            );
        }
    }
    Ok(text)
}
