//! Few-shot steps of `engine::train` on cached features: by one rank, by two that share a batch, or by
//! two processes that know nothing of each other; or a sum over two ranks alone. Answers every line on
//! stdin with the seconds of a step, or of a sum, so that they can take turns (`cargo xtask bench
//! ranks`).
//!
//! `cargo bench -p trainer --bench ranks -- (alone|beside|ranks) (tiny|b16) K B`, B clips a rank, or
//! `-- (order|engine) NUMBERS`; one thread a rank, T = 8, AdamW, preset `best`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../../prompts/tests/support/mod.rs"]
mod generated;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clip_backbone::ClipModel;
use clips::Interrupt;
use dist::{Group, Limits, Rendezvous, Signals, Solo, World, sum_in_order};
use models::{Clips, ModelConfig, Preset, SifConfig, VideoTextModel};
use prompts::Tokenize;
use tch::{Device, Kind, Tensor};
use trainer::config::Train;
use trainer::engine::{self, Task};
use trainer::source::{BatchSource, Drawn};

/// Steps of a turn.
const STEPS: u64 = 4;

/// Every word is one token.
struct Words;

impl Tokenize for Words {
    fn tokens(&self, text: &str) -> Vec<i64> {
        let id = |word: &str| {
            word.bytes()
                .fold(7, |h, b| (h * 131 + i64::from(b)) % 40_000)
        };
        text.split_whitespace().map(|word| 300 + id(word)).collect()
    }

    fn start(&self) -> i64 {
        49406
    }

    fn end(&self) -> i64 {
        49407
    }
}

/// Clips in memory: `[N, T, D]`.
struct Features {
    features: Tensor,
    classes: Vec<i64>,
}

impl BatchSource for Features {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn batch(&mut self, positions: &[usize], _seed: u64, _epoch: u64) -> trainer::Result<Drawn> {
        let rows: Vec<i64> = positions.iter().map(|at| *at as i64).collect();
        Ok(Drawn {
            clips: Clips::Features(self.features.index_select(0, &Tensor::from_slice(&rows))),
            positions: positions.to_vec(),
            left_out: Vec::new(),
        })
    }
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let (words, follows) = match words.split_last() {
        Some((last, words)) if last.starts_with("follow=") => (
            words.to_vec(),
            last.strip_prefix("follow=").map(PathBuf::from),
        ),
        _ => (words.clone(), None),
    };
    trainer::runtime::keep_freed_memory();
    parallel::use_threads(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = follows
        .clone()
        .unwrap_or_else(|| folder.path().join("here"));
    let what = words.first().cloned().unwrap_or_default();
    // The other process does what this one does, when it is told to.
    let mut other = (what != "alone" && follows.is_none()).then(|| {
        Command::new(std::env::current_exe().unwrap())
            .args(&words)
            .arg(format!("follow={}", place.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let group: Box<dyn Group> = match what.as_str() {
        "alone" | "beside" => Box::new(Solo),
        _ => group(usize::from(follows.is_some()), place),
    };
    let mut work: Box<dyn FnMut() -> f64> = match &words[..] {
        [what, numbers] => {
            let numbers: i64 = numbers.parse().unwrap();
            let own = Tensor::randn([numbers], (Kind::Float, Device::Cpu));
            let in_order = what == "order";
            Box::new(move || {
                let began = Instant::now();
                match in_order {
                    true => drop(sum_in_order(group.as_ref(), &own, &[true; 2]).unwrap()),
                    false => drop(group.sum(&own).unwrap()),
                }
                began.elapsed().as_secs_f64()
            })
        }
        [_, encoder, classes, batch] => {
            let (classes, batch) = (classes.parse().unwrap(), batch.parse::<usize>().unwrap());
            training(group, encoder, classes, batch)
        }
        _ => panic!("expected 2 or 4 arguments, got {words:?}"),
    };
    let mut turn = move |other: &mut Option<(std::process::ChildStdin, _)>| -> f64 {
        let began = Instant::now();
        if let Some((stdin, _)) = other {
            writeln!(stdin).unwrap();
        }
        let own = work();
        match other {
            None => own,
            Some((_, lines)) => {
                let lines: &mut std::io::Lines<BufReader<std::process::ChildStdout>> = lines;
                lines.next().unwrap().unwrap();
                let both = began.elapsed().as_secs_f64();
                if words.len() == 2 {
                    own
                } else {
                    both / STEPS as f64
                }
            }
        }
    };
    let mut pipes = other.as_mut().map(|child| {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child.stdin.take().unwrap(), lines)
    });
    let mut out = std::io::stdout();
    let mut say = |text: String| {
        writeln!(out, "{text}").unwrap();
        out.flush().unwrap();
    };
    if follows.is_none() {
        turn(&mut pipes);
        say("ready".into());
    }
    for line in std::io::stdin().lock().lines() {
        line.unwrap();
        let seconds = turn(&mut pipes);
        say(seconds.to_string());
    }
    drop(pipes);
    if let Some(mut other) = other {
        other.wait().unwrap();
    }
    // Both end at once: nobody is lost.
    trainer::runtime::leave(0);
}

fn group(rank: usize, place: PathBuf) -> Box<dyn Group> {
    let signals = Signals {
        stopping: Box::new(|| false),
        stop: Box::new(|| {}),
        end: Box::new(|_| std::process::exit(1)),
    };
    let world = World {
        rank,
        size: 2,
        rendezvous: Some(Rendezvous::File(place)),
        ..World::ALONE
    };
    dist::join(&world, Limits::default(), signals).unwrap()
}

/// Trains for some steps; the seconds of one.
fn training(
    group: Box<dyn Group>,
    encoder: &str,
    classes: usize,
    batch: usize,
) -> Box<dyn FnMut() -> f64> {
    let mut shape = generated::b16_text_config();
    if encoder == "tiny" {
        shape.joint_width = 192;
        let text = &mut shape.text;
        (text.width, text.layers, text.heads, text.mlp_width) = (192, 4, 3, 768);
    }
    let clip: ClipModel = generated::clip(&shape, Kind::Float);
    let width = clip.config().joint_width;
    let mut config = SifConfig::preset(Preset::Best);
    (config.motion.heads, config.communication.heads) = (width / 64, width / 64);
    tch::manual_seed(1);
    let config = ModelConfig::SeeingInFlowing(config);
    let model: Box<dyn VideoTextModel> = models::build(&config, clip, Arc::new(Words)).unwrap();
    let labels: Vec<String> = (0..classes)
        .map(|class| format!("class number {class}"))
        .collect();
    let size = group.size();
    let count = batch * size * STEPS as usize;
    let train = Train {
        batch_size: batch * size,
        lanes: size,
        epochs: 1,
        min_steps: STEPS,
        save_every: u64::MAX,
        ..Train::preset(Preset::Best)
    };
    let mut source = Features {
        features: Tensor::randn([count as i64, 8, width], (Kind::Float, Device::Cpu)),
        classes: (0..count).map(|clip| (clip % classes) as i64).collect(),
    };
    Box::new(move || {
        let folder = tempfile::tempdir().unwrap();
        let (began, before) = (Instant::now(), group.traffic());
        let mut task = Task {
            model: model.as_ref(),
            labels: &labels,
            clips: &mut source,
            train: &train,
            seed: 0,
            folder: folder.path(),
            interrupt: &Interrupt::default(),
            quiet: true,
            group: group.as_ref(),
        };
        engine::train(&mut task, &(), |(), ()| true).unwrap();
        let seconds = began.elapsed().as_secs_f64() / STEPS as f64;
        let sent = group.traffic();
        if size > 1 && group.rank() == 0 {
            let numbers: usize = model
                .trained()
                .variables()
                .values()
                .map(Tensor::numel)
                .sum();
            eprintln!(
                "bytes a step {}, 2 (W - 1) / W N {}; in exchanges {:.1} ms of {:.1}",
                (sent.bytes - before.bytes) / STEPS,
                4 * numbers,
                (sent.seconds - before.seconds) / STEPS as f64 * 1e3,
                seconds * 1e3
            );
        }
        seconds
    })
}
