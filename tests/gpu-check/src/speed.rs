//! Seconds of towers, text paths and steps, each beside the same work in plain PyTorch, in turns.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clip_backbone::Usage;
use prompts::{TextEncoder, TextEncoding, TextPath};
use tch::{Device, Kind, Tensor};

use crate::inputs::{self, Scale};
use crate::table::{Table, precision};
use crate::training::{System, Training};

/// H
const VECTORS: i64 = 5;

/// A unit of work: queued on the device, not waited for.
type Work<'a> = Box<dyn FnMut() -> Result<()> + 'a>;

/// How a work is measured.
#[derive(Debug, Clone, Copy)]
struct Measure {
    device: Device,
    rounds: usize,
    /// Seconds of a round, at least one unit of work.
    round: f64,
}

pub(crate) fn run(device: Device, folder: &Path) -> Result<usize> {
    let mut table = Table::create(folder, "speed", "Speed, beside plain PyTorch")?;
    let scale = Scale::of(device);
    let measure = Measure {
        device,
        rounds: scale.pick(5, 2),
        round: scale.pick(0.2, 0.0),
    };
    let mut peer = Peer::start(device);
    let about = match &mut peer {
        Ok(peer) => peer.about.clone(),
        Err(error) => format!("no peer: {error:#}"),
    };
    table.line(&format!(
        "{about}. Sizes: {}. Medians of {} turns. The share outside kernels compares a step with \
         the same step queued on the GPU in advance; it is left out where a step waits for the GPU.\n",
        scale.pick("ViT-B/16", "small ones, to show that the check runs"),
        measure.rounds
    ))?;
    let mut peer = peer.ok();
    let peak = product(&mut table, scale, measure, &mut peer)?;
    image_tower(&mut table, scale, measure, &mut peer, &peak)?;
    text_side(&mut table, scale, measure, &mut peer)?;
    steps(&mut table, scale, measure, &mut peer)?;
    table.finish()
}

/// The rate of a square product in each precision, FLOP/s.
fn product(
    table: &mut Table,
    scale: Scale,
    measure: Measure,
    peer: &mut Option<Peer>,
) -> Result<Vec<(Kind, f64)>> {
    let side: i64 = scale.pick(8192, 512);
    table.columns(&["product", "TFLOP/s", "PyTorch, TFLOP/s"])?;
    let mut peak = Vec::new();
    for kind in [Kind::Float, Kind::BFloat16] {
        let draw = || Tensor::randn([side, side], (kind, measure.device));
        let (a, b) = (draw(), draw());
        let mut ours: Work<'_> = Box::new(|| {
            let _ = a.f_matmul(&b)?;
            Ok(())
        });
        let words = format!("product {} {side}", precision(kind));
        let (ours, theirs) = in_turns(measure, &mut ours, peer, &words)?;
        let rate = |timing: &Timing| 2.0 * (side as f64).powi(3) / timing.seconds;
        peak.push((kind, rate(&ours)));
        table.row(&[
            format!("{side} x {side} {}", precision(kind)),
            format!("{:.2}", rate(&ours) / 1e12),
            cell(theirs, |timing| format!("{:.2}", rate(&timing) / 1e12)),
        ])?;
    }
    table.line("")?;
    Ok(peak)
}

fn image_tower(
    table: &mut Table,
    scale: Scale,
    measure: Measure,
    peer: &mut Option<Peer>,
    peak: &[(Kind, f64)],
) -> Result<()> {
    table.columns(&[
        "image tower",
        "frames/s",
        "share of the product's rate",
        "PyTorch, frames/s",
        "x PyTorch",
    ])?;
    for (kind, batch) in [
        (Kind::Float, scale.pick(64, 2)),
        (Kind::BFloat16, scale.pick(8, 1)),
        (Kind::BFloat16, scale.pick(256, 2)),
    ] {
        let clip = inputs::clip(scale, Usage::Frozen, measure.device, kind)?;
        let config = clip.config().vision.clone();
        let side = config.image_size;
        let size = [batch, 3, side, side];
        let pixels = Tensor::randn(size, (kind, measure.device));
        let mut ours: Work<'_> = Box::new(|| {
            drop(tch::no_grad(|| clip.vision.forward(&pixels))?);
            Ok(())
        });
        let words = format!("image {} {batch}", precision(kind));
        let (ours, theirs) = in_turns(measure, &mut ours, peer, &words)?;
        let rate = batch as f64 / ours.seconds;
        let best = peak.iter().find(|(of, _)| *of == kind);
        let share = best.map_or(f64::NAN, |(_, best)| rate * operations(&config) / best);
        table.row(&[
            format!("{} B={batch}", precision(kind)),
            format!("{rate:.0}"),
            format!("{:.0} %", share * 100.0),
            cell(theirs, |timing| {
                format!("{:.0}", batch as f64 / timing.seconds)
            }),
            cell(theirs, |timing| {
                format!("{:.2}", timing.seconds / ours.seconds)
            }),
        ])?;
    }
    table.line("\nGoal: 70 % of the bf16 product's rate.\n")
}

/// Floating point operations of all tokens of one frame.
fn operations(config: &clip_backbone::VisionConfig) -> f64 {
    let (side, patch) = (config.image_size, config.patch_size);
    let patches = (side / patch).pow(2);
    let (tokens, width, hidden) = (patches + 1, config.width, config.mlp_width);
    let weights = 4 * width * width + 2 * width * hidden;
    let block = 2 * tokens * weights + 4 * tokens * tokens * width;
    (config.layers * block + 2 * patches * 3 * patch * patch * width) as f64
}

fn text_side(
    table: &mut Table,
    scale: Scale,
    measure: Measure,
    peer: &mut Option<Peer>,
) -> Result<()> {
    table.line(
        "Text side of a training step, forward and backward, H = 5; PyTorch's is literal.\n",
    )?;
    table.columns(&[
        "text side",
        "literal, ms",
        "packed, ms",
        "packed x literal",
        "PyTorch, ms",
        "packed x PyTorch",
    ])?;
    for (classes, batch) in [(51, 4), (101, 4), (400, 1)] {
        let batch = scale.pick(batch, 1);
        for kind in [Kind::Float, Kind::BFloat16] {
            let clip = inputs::clip(scale, Usage::Frozen, measure.device, kind)?;
            let text = &clip.config().text;
            let tokens = inputs::classes(classes, text.vocabulary)?;
            let size = [batch, VECTORS, text.width];
            let encoder = |path| {
                let encoding = TextEncoding {
                    path,
                    ..TextEncoding::default()
                };
                TextEncoder::new(&clip.text, &tokens, VECTORS, encoding)
            };
            let (literal, packed) = (encoder(TextPath::Literal)?, encoder(TextPath::Packed)?);
            let step = |encoder: &TextEncoder| -> Result<()> {
                let prompts = Tensor::randn(size, (Kind::Float, measure.device));
                let text = encoder.encode(&clip.text, &prompts.set_requires_grad(true))?;
                let loss = text.features.square().mean(Kind::Float);
                Ok(text.backward(&loss)?)
            };
            let mut literal: Work<'_> = Box::new(|| step(&literal));
            let mut packed: Work<'_> = Box::new(|| step(&packed));
            let words = format!("text {} {classes} {batch}", precision(kind));
            let (slow, theirs) = in_turns(measure, &mut literal, peer, &words)?;
            let (fast, _) = in_turns(measure, &mut packed, &mut None, "")?;
            table.row(&[
                format!("K={classes} B={batch} {}", precision(kind)),
                format!("{:.2}", slow.seconds * 1e3),
                format!("{:.2}", fast.seconds * 1e3),
                format!("{:.1}", slow.seconds / fast.seconds),
                cell(theirs, |timing| format!("{:.2}", timing.seconds * 1e3)),
                cell(theirs, |timing| {
                    format!("{:.1}", timing.seconds / fast.seconds)
                }),
            ])?;
        }
    }
    table.line("")
}

fn steps(table: &mut Table, scale: Scale, measure: Measure, peer: &mut Option<Peer>) -> Result<()> {
    table.columns(&[
        "step",
        "ms",
        "outside kernels",
        "PyTorch, ms",
        "PyTorch, outside kernels",
        "x PyTorch",
    ])?;
    for (system, kind, classes, batch) in [
        (System::FewShot, Kind::Float, 51, scale.pick(4, 1)),
        (System::FewShot, Kind::BFloat16, 51, scale.pick(4, 1)),
        (System::FewShot, Kind::BFloat16, 51, scale.pick(32, 2)),
        (System::ActionClip, Kind::BFloat16, 101, scale.pick(8, 1)),
    ] {
        let training = Training::new(system, scale, measure.device, kind)?;
        let piece = training.batch(1, batch, classes);
        let Training {
            model,
            mut optimizer,
            ..
        } = training;
        let labels = inputs::labels(classes as usize);
        let classifier = model.bind(&labels)?;
        let mut ours: Work<'_> = Box::new(|| {
            optimizer.zero_grad();
            classifier
                .loss(&piece.clips, &piece.targets)?
                .backward(1.0)?;
            optimizer.step(1e-4);
            Ok(())
        });
        let words = format!("{} {} {classes} {batch}", system.name(), precision(kind));
        let (timing, theirs) = in_turns(measure, &mut ours, peer, &words)?;
        let share = |timing: Timing| match timing.outside {
            Some(outside) => format!("{:.0} %", outside * 100.0),
            None => String::new(),
        };
        table.row(&[
            format!(
                "{} K={classes} B={batch} {}",
                system.name(),
                precision(kind)
            ),
            format!("{:.2}", timing.seconds * 1e3),
            share(timing),
            cell(theirs, |timing| format!("{:.2}", timing.seconds * 1e3)),
            cell(theirs, share),
            cell(theirs, |theirs| {
                format!("{:.2}", theirs.seconds / timing.seconds)
            }),
        ])?;
    }
    table.line("")
}

fn cell(timing: Option<Timing>, text: impl Fn(Timing) -> String) -> String {
    timing.map(text).unwrap_or_default()
}

/// Seconds of a unit of work.
#[derive(Debug, Clone, Copy)]
struct Timing {
    seconds: f64,
    /// The share in which the GPU runs no kernel, if it can be told.
    outside: Option<f64>,
}

/// Ours and PyTorch's, alternating.
fn in_turns(
    measure: Measure,
    work: &mut Work<'_>,
    peer: &mut Option<Peer>,
    words: &str,
) -> Result<(Timing, Option<Timing>)> {
    let first = measure.seconds(work, 1)?;
    let count = (measure.round / first.max(1e-6)).ceil().clamp(1.0, 1e4) as usize;
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..measure.rounds {
        ours.push(measure.seconds(work, count)?);
        if let Some(answer) = peer.as_mut().filter(|_| !words.is_empty()) {
            theirs.extend(answer.ask(&format!("{words} {}", measure.round))?);
        }
    }
    let seconds = median(ours);
    let timing = Timing {
        seconds,
        outside: measure.outside_kernels(work, seconds)?,
    };
    let outside = theirs.iter().rev().find_map(|timing| timing.outside);
    let theirs = (!theirs.is_empty()).then(|| Timing {
        seconds: median(theirs.iter().map(|timing| timing.seconds).collect()),
        outside,
    });
    Ok((timing, theirs))
}

impl Measure {
    fn wait(self) {
        if let Device::Cuda(index) = self.device {
            tch::Cuda::synchronize(index as i64);
        }
    }

    /// Seconds of one of `count` units in a row.
    fn seconds(self, work: &mut Work<'_>, count: usize) -> Result<f64> {
        self.wait();
        let start = Instant::now();
        for _ in 0..count {
            work()?;
        }
        self.wait();
        Ok(start.elapsed().as_secs_f64() / count as f64)
    }

    /// The kernels of work that is queued while the GPU is busy run one after the other; the rest of
    /// `seconds` is time in which the GPU waits for the host.
    fn outside_kernels(self, work: &mut Work<'_>, seconds: f64) -> Result<Option<f64>> {
        if self.device == Device::Cpu {
            return Ok(None);
        }
        let side = [8192, 8192];
        let a = Tensor::randn(side, (Kind::BFloat16, self.device));
        let mut once: Work<'_> = Box::new(|| {
            let _ = a.f_matmul(&a)?;
            Ok(())
        });
        let one = self.seconds(&mut once, 8)?;
        let count = (3.0 * seconds / one).ceil() as usize + 4;
        let busy = self.seconds(&mut once, count)? * count as f64;
        self.wait();
        let start = Instant::now();
        for _ in 0..count {
            once()?;
        }
        work()?;
        let queued = start.elapsed().as_secs_f64();
        self.wait();
        let kernels = start.elapsed().as_secs_f64() - busy;
        // Work that was queued only after the GPU had become idle has waited for it.
        let is_ahead = queued < 0.9 * busy;
        Ok(is_ahead.then(|| (1.0 - kernels / seconds).clamp(0.0, 1.0)))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `peer.py` in one process: a line with the work goes in, seconds and share come out.
struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    about: String,
}

impl Peer {
    /// Starts the script beside this program with the Python named by `PYTHON`.
    fn start(device: Device) -> Result<Self> {
        let program = std::env::current_exe()?;
        let script = program.with_file_name("peer.py");
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let name = match device {
            Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".into(),
        };
        let mut process = Command::new(python)
            .arg(script)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().context("a pipe")?;
        let output = BufReader::new(process.stdout.take().context("a pipe")?);
        let mut peer = Self {
            process,
            input,
            output,
            about: String::new(),
        };
        peer.about = peer.line().context("the Python has no working torch")?;
        Ok(peer)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("peer.py has ended");
        }
        Ok(line.trim().to_owned())
    }

    /// `None` for work that failed there; its reason is on stderr.
    fn ask(&mut self, work: &str) -> Result<Option<Timing>> {
        writeln!(self.input, "{work}")?;
        self.input.flush()?;
        let answer = self.line()?;
        let mut numbers = answer.split(' ').map(|word| word.parse::<f64>().ok());
        Ok(numbers.next().flatten().map(|seconds| Timing {
            seconds,
            outside: numbers.next().flatten(),
        }))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
