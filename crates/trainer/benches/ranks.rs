//! Steps of `engine::train`: by one rank, by two that share a batch, or by two processes that know
//! nothing of each other; or a sum over two ranks alone. Answers every line on stdin with the seconds
//! of a step, or of a sum, so that they can take turns (`cargo xtask bench ranks`).
//!
//! `cargo bench -p trainer --bench ranks -- (alone|beside|ranks|traffic) WORK`, with one thread a rank
//! and T = 8, where WORK is one of
//! `flowing (tiny|b16) K B`, a few-shot step of preset `best` on cached features, B clips a rank;
//! `action-clip B (keep|last|meanwhile)`, a step of ActionCLIP with ViT-S/16 from pixels: the image tower's
//! states kept, or computed again block by block; then gradients are sent after the backward pass, as far as
//! time goes (each is waited for when it is sent), or during it;
//! `(order|engine) NUMBERS`, a sum of fp32 numbers in the fixed order, or the engine's own.
//!
//! `traffic` prints, of the median of three steps on two ranks: bytes sent by a rank, 2 (W - 1) / W N in bytes,
//! seconds of waiting in exchanges, and seconds. With `RANKS_APART` set, rank 1 runs in the network namespace `ranks-1`, and
//! both meet at that address and port.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../../prompts/tests/support/mod.rs"]
mod generated;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clip_backbone::{ClipModel, Config, Usage};
use clips::Interrupt;
use dist::{Group, Limits, Rendezvous, Signals, Solo, World, sum_in_order};
use models::action_clip::ActionClipConfig;
use models::{Clips, ModelConfig, Preset, SifConfig, VideoTextModel};
use prompts::Tokenize;
use tch::{Device, Kind, Tensor};
use trainer::config::Train;
use trainer::engine::{self, Task};
use trainer::source::{BatchSource, Drawn};

/// Classes of ActionCLIP's clips.
const CLASSES: usize = 51;

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

/// Clips in memory, `[N, ..]`, again and again; and when each batch was asked for.
struct Batches {
    clips: Clips,
    classes: Vec<i64>,
    asked: Vec<Instant>,
}

impl BatchSource for Batches {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn batch(&mut self, positions: &[usize], _seed: u64, _epoch: u64) -> trainer::Result<Drawn> {
        self.asked.push(Instant::now());
        let count = self.clips.count();
        let rows: Vec<i64> = positions.iter().map(|at| *at as i64 % count).collect();
        let pick = |all: &Tensor| all.index_select(0, &Tensor::from_slice(&rows));
        Ok(Drawn {
            clips: match &self.clips {
                Clips::Features(all) => Clips::Features(pick(all)),
                Clips::Pixels(all) => Clips::Pixels(pick(all)),
            },
            positions: positions.to_vec(),
            left_out: Vec::new(),
        })
    }
}

/// The other process.
struct Other {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts one that does the same work, when it is told to.
    fn start(words: &[String], place: &std::path::Path) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut command = match std::env::var_os("RANKS_APART") {
            None => Command::new(this),
            Some(_) => {
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", "ranks-1"]).arg(this);
                inside
            }
        };
        command
            .args(words)
            .arg(format!("follow={}", place.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }
}

fn main() {
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let follows = words
        .pop_if(|last| last.starts_with("follow="))
        .map(|last| PathBuf::from(&last["follow=".len()..]));
    trainer::runtime::keep_freed_memory();
    parallel::use_threads(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = follows
        .clone()
        .unwrap_or_else(|| folder.path().join("here"));
    let who = words.first().cloned().unwrap_or_default();
    let leads = follows.is_none();
    let mut other = (who != "alone" && leads).then(|| Other::start(&words, &place));
    let group: Box<dyn Group> = match who.as_str() {
        "alone" | "beside" => Box::new(Solo),
        _ => group(usize::from(!leads), place),
    };
    let work: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let mut work = Work::new(group, &work);
    let traffic = RefCell::new(String::new());
    let mut turn = || -> f64 {
        if let Some(other) = &mut other {
            writeln!(other.stdin).unwrap();
        }
        let own = work.run();
        traffic.replace(work.traffic());
        let theirs = other.as_mut().map(|other| other.lines.next().unwrap());
        theirs.map_or(own, |theirs| own.max(theirs.unwrap().parse().unwrap()))
    };
    let mut out = std::io::stdout();
    let mut say = |text: String| {
        writeln!(out, "{text}").unwrap();
        out.flush().unwrap();
    };
    if who == "traffic" && leads {
        turn();
        let mut steps = Vec::new();
        for _ in 0..3 {
            steps.push((turn(), traffic.borrow().clone()));
        }
        steps.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        say(steps.swap_remove(1).1);
    } else {
        if leads {
            turn();
            say("ready".into());
        }
        for line in std::io::stdin().lock().lines() {
            line.unwrap();
            let seconds = turn();
            say(seconds.to_string());
        }
    }
    if let Some(Other {
        mut child, stdin, ..
    }) = other
    {
        drop(stdin);
        child.wait().unwrap();
    }
    // Both end at once: nobody is lost.
    trainer::runtime::leave(0);
}

fn group(rank: usize, place: PathBuf) -> Box<dyn Group> {
    let signals = Signals {
        stopping: Box::new(|| false),
        stop: Box::new(|| {}),
        end: Box::new(|error| {
            eprintln!("error: {error}");
            std::process::exit(1)
        }),
    };
    let apart = std::env::var("RANKS_APART").ok();
    let rendezvous = match apart.as_deref().and_then(|at| at.split_once(':')) {
        None => Rendezvous::File(place),
        Some((host, port)) => Rendezvous::Tcp {
            host: host.into(),
            port: port.parse().unwrap(),
            serves: rank == 0,
        },
    };
    let world = World {
        rank,
        size: 2,
        rendezvous: Some(rendezvous),
        prefix: "bench".into(),
        ..World::ALONE
    };
    dist::join(&world, Limits::default(), signals).unwrap()
}

/// A group that waits for each exchange where it is begun.
struct Waiting(Box<dyn Group>);

impl Group for Waiting {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn member(&self, rank: usize) -> String {
        self.0.member(rank)
    }

    fn all_gather(&self, own: &Tensor) -> dist::Result<Tensor> {
        self.0.all_gather(own)
    }

    fn all_to_all(&self, rows: &Tensor) -> dist::Result<Tensor> {
        self.0.all_to_all(rows)
    }

    fn sum(&self, own: &Tensor) -> dist::Result<Tensor> {
        self.0.sum(own)
    }

    fn claim(&self, what: &str) -> dist::Result<bool> {
        self.0.claim(what)
    }

    fn meet(&self) -> dist::Result<()> {
        self.0.meet()
    }

    fn fail(&self, reason: &str) {
        self.0.fail(reason);
    }

    fn leave(&self) -> dist::Result<()> {
        self.0.leave()
    }

    fn traffic(&self) -> dist::Traffic {
        self.0.traffic()
    }
}

/// What is timed.
enum Work {
    Sum {
        group: Box<dyn Group>,
        own: Tensor,
        in_order: bool,
    },
    Training(Box<Training>),
}

impl Work {
    fn new(group: Box<dyn Group>, words: &[&str]) -> Self {
        let number = |word: &str| word.parse::<usize>().unwrap();
        // Both ranks begin with the same parameters and clips.
        tch::manual_seed(1);
        match words {
            [sum @ ("order" | "engine"), numbers] => Self::Sum {
                group,
                own: Tensor::randn([number(numbers) as i64], (Kind::Float, Device::Cpu)),
                in_order: *sum == "order",
            },
            ["flowing", encoder, classes, batch] => {
                let (classes, batch) = (number(classes), number(batch));
                let training = Training::flowing(group, encoder, classes, batch);
                Self::Training(Box::new(training))
            }
            ["action-clip", batch, way] => {
                let group = match *way {
                    "last" => Box::new(Waiting(group)),
                    _ => group,
                };
                let training = Training::action_clip(group, number(batch), *way != "keep");
                Self::Training(Box::new(training))
            }
            _ => panic!("expected a work, got {words:?}"),
        }
    }

    /// The seconds of a sum, or of a step.
    fn run(&mut self) -> f64 {
        match self {
            Self::Training(training) => training.run(),
            Self::Sum {
                group,
                own,
                in_order,
            } => {
                let began = Instant::now();
                drop(match in_order {
                    true => sum_in_order(group.as_ref(), own, &[true; 2]).unwrap(),
                    false => group.sum(own).unwrap(),
                });
                began.elapsed().as_secs_f64()
            }
        }
    }

    fn traffic(&self) -> String {
        match self {
            Self::Training(training) => training.last.clone(),
            Self::Sum { .. } => String::new(),
        }
    }
}

/// Steps of a model.
struct Training {
    group: Box<dyn Group>,
    model: Box<dyn VideoTextModel>,
    labels: Vec<String>,
    clips: Batches,
    train: Train,
    steps: u64,
    last: String,
}

impl Training {
    fn flowing(group: Box<dyn Group>, encoder: &str, classes: usize, batch: usize) -> Self {
        let mut shape = generated::b16_text_config();
        if encoder == "tiny" {
            shape.joint_width = 192;
            let text = &mut shape.text;
            (text.width, text.layers, text.heads, text.mlp_width) = (192, 4, 3, 768);
        }
        let clip = generated::clip(&shape, Kind::Float);
        let width = clip.config().joint_width;
        let mut config = SifConfig::preset(Preset::Best);
        (config.motion.heads, config.communication.heads) = (width / 64, width / 64);
        let count = (batch * group.size()) as i64;
        // The class token, and the moving patches.
        let features = Tensor::randn([count, 8, 2 * width], (Kind::Float, Device::Cpu));
        let config = ModelConfig::SeeingInFlowing(config);
        // Short steps are timed together.
        let steps = if encoder == "tiny" { 4 } else { 1 };
        Self::new(
            group,
            &config,
            clip,
            classes,
            batch,
            steps,
            Clips::Features(features),
        )
    }

    fn action_clip(group: Box<dyn Group>, batch: usize, recompute: bool) -> Self {
        let mut shape = Config::vit_b_16();
        shape.joint_width = 384;
        let v = &mut shape.vision;
        (v.width, v.heads, v.mlp_width) = (384, 6, 1536);
        let t = &mut shape.text;
        (t.width, t.layers, t.heads, t.mlp_width) = (384, 6, 6, 1536);
        let noise = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 0.02;
        let parameters = shape.parameters().into_iter();
        let mut weights: BTreeMap<String, Tensor> = parameters
            .map(|(name, shape)| (name, noise(&shape)))
            .collect();
        let usage = Usage::FineTuned;
        let clip = ClipModel::new(&shape, &mut weights, usage, Device::Cpu, Kind::Float).unwrap();
        let config = ModelConfig::ActionClip(ActionClipConfig {
            recompute,
            ..ActionClipConfig::published()
        });
        let count = (batch * group.size()) as i64;
        let pixels = Tensor::randn([count, 8, 3, 224, 224], (Kind::Float, Device::Cpu));
        Self::new(
            group,
            &config,
            clip,
            CLASSES,
            batch,
            1,
            Clips::Pixels(pixels),
        )
    }

    fn new(
        group: Box<dyn Group>,
        config: &ModelConfig,
        clip: ClipModel,
        classes: usize,
        batch: usize,
        steps: u64,
        clips: Clips,
    ) -> Self {
        let model = models::build(config, clip, Arc::new(Words)).unwrap();
        let size = group.size();
        // The time of a step is that between two batches.
        let count = batch * size * (steps as usize + 1);
        Self {
            model,
            labels: (0..classes)
                .map(|class| format!("class number {class}"))
                .collect(),
            clips: Batches {
                clips,
                classes: (0..count).map(|clip| (clip % classes) as i64).collect(),
                asked: Vec::new(),
            },
            train: Train {
                batch_size: batch * size,
                lanes: size,
                epochs: 1,
                min_steps: 0,
                save_every: u64::MAX,
                ..Train::preset(Preset::Best)
            },
            steps,
            last: String::new(),
            group,
        }
    }

    fn run(&mut self) -> f64 {
        // The last checkpoint is not timed: it should not keep a disk busy either.
        let memory = std::path::Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        self.clips.asked.clear();
        let before = self.group.traffic();
        let mut task = Task {
            model: self.model.as_ref(),
            labels: &self.labels,
            clips: &mut self.clips,
            train: &self.train,
            seed: 0,
            folder: folder.path(),
            interrupt: &Interrupt::default(),
            quiet: true,
            group: self.group.as_ref(),
        };
        engine::train(&mut task, &(), |(), ()| true).unwrap();
        let asked = &self.clips.asked;
        let whole = asked[self.steps as usize].duration_since(asked[0]);
        let seconds = whole.as_secs_f64() / self.steps as f64;
        let after = self.group.traffic();
        // Of all steps, the one after the last batch included.
        let steps = self.steps + 1;
        let trained = self.model.trained().variables();
        let numbers: usize = trained.values().map(Tensor::numel).sum();
        self.last = format!(
            "{} {} {} {seconds}",
            (after.bytes - before.bytes) / steps,
            4 * numbers,
            (after.seconds - before.seconds) / steps as f64,
        );
        seconds
    }
}
