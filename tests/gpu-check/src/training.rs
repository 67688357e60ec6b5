//! A training loop of the same steps as the trainer's, over `models` and `optim`. The trainer itself
//! links FFmpeg, which a machine that is lent for ten minutes does not have.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clip_backbone::{FrameTokens, Usage};
use models::action_clip::ActionClipConfig;
use models::{Clips, ModelConfig, Piece, Preset, SifConfig, Targets, VideoTextModel};
use optim::{Method, Optimizer, Parameter};
use tch::{Device, Kind, Tensor};

use crate::inputs::{self, Scale, stream};

/// Steps between checkpoints.
pub(crate) const SAVE_EVERY: u64 = 2;
/// In place of the number of steps: batches grow until memory runs out.
pub(crate) const EXHAUST: &str = "exhaust";
/// Clips in a step.
const BATCH: i64 = 4;
pub(crate) const CLASSES: i64 = 6;
/// T
pub(crate) const FRAMES: i64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// Seeing in Flowing, preset `best`, on features.
    FewShot,
    /// ActionCLIP, published configuration, on pixels.
    ActionClip,
}

impl System {
    pub(crate) const ALL: [Self; 2] = [Self::FewShot, Self::ActionClip];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FewShot => "few-shot",
            Self::ActionClip => "ActionCLIP",
        }
    }
}

pub(crate) struct Training {
    pub(crate) model: Box<dyn VideoTextModel>,
    pub(crate) optimizer: Optimizer,
    system: System,
    scale: Scale,
    device: Device,
}

impl Training {
    pub(crate) fn new(system: System, scale: Scale, device: Device, kind: Kind) -> Result<Self> {
        let (config, usage) = match system {
            System::FewShot => (
                ModelConfig::SeeingInFlowing(SifConfig::preset(Preset::Best)),
                Usage::Frozen,
            ),
            System::ActionClip => (
                ModelConfig::ActionClip(ActionClipConfig {
                    recompute: false,
                    ..ActionClipConfig::published()
                }),
                Usage::FineTuned,
            ),
        };
        tch::manual_seed(0);
        let clip = inputs::clip(scale, usage, device, kind)?;
        let model = models::build(&config, clip, inputs::words(scale))?;
        let variables = model.trained().variables().into_iter();
        let parameters = variables.map(|(name, tensor)| {
            let group = model.group(&name);
            Parameter {
                name,
                tensor,
                rate: group.rate,
                decay: if group.decay { 0.1 } else { 0.0 },
            }
        });
        let method = Method::AdamW {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
        };
        Ok(Self {
            optimizer: Optimizer::new(method, parameters.collect()),
            model,
            system,
            scale,
            device,
        })
    }

    /// Clips of the first `classes` classes in turn, on the device.
    pub(crate) fn batch(&self, step: u64, batch: i64, classes: i64) -> Piece {
        let truth = Tensor::arange(batch, (Kind::Int64, Device::Cpu)).remainder(classes);
        Piece {
            clips: self.clips(&format!("clips of step {step}"), batch, |clips| clips),
            targets: Targets::classes(&truth).on(self.device),
        }
    }

    /// The same clip `batch` times, which itself takes no memory.
    fn repeated(&self, batch: i64) -> Piece {
        let truth = Tensor::zeros([1], (Kind::Int64, self.device));
        Piece {
            clips: self.clips("clip", 1, |clip| {
                let mut size = clip.size();
                size[0] = batch;
                clip.expand(size, false)
            }),
            targets: Targets::classes(&truth.expand([batch], false)),
        }
    }

    fn clips(&self, name: &str, batch: i64, shaped: impl Fn(Tensor) -> Tensor) -> Clips {
        let config = self.scale.config();
        let side = config.vision.image_size;
        let on_device = |rest: &[i64]| {
            let size = [&[batch, FRAMES], rest].concat();
            shaped(stream(name, &size).to_device(self.device))
        };
        match self.system {
            System::FewShot => {
                let each = FrameTokens::Moving.count();
                Clips::Features(on_device(&[each * config.joint_width]))
            }
            System::ActionClip => Clips::Pixels(on_device(&[3, side, side])),
        }
    }

    /// Loss and scores of a batch, whose gradients the parameters have afterwards.
    pub(crate) fn gradients(&mut self, seed: u64, piece: &Piece) -> Result<Vec<Tensor>> {
        let labels = inputs::labels(CLASSES as usize);
        let classifier = self.model.bind(&labels)?;
        self.optimizer.zero_grad();
        // Dropout and templates draw from libtorch's generator: seeded at each step.
        tch::manual_seed(seed as i64);
        let loss = classifier.loss(&piece.clips, &piece.targets)?;
        let outputs = vec![loss.value.reshape([1]), loss.scores.logits.flatten(0, -1)];
        loss.backward(1.0)?;
        Ok(outputs)
    }

    fn step(&mut self, step: u64, piece: &Piece) -> Result<()> {
        let outputs = self.gradients(step, piece)?;
        let (norm, [loss]) = self.optimizer.gradient_norm([&outputs[0]])?;
        if !(loss.is_finite() && norm.is_finite()) {
            bail!("step {step}: loss {loss}, gradient norm {norm}");
        }
        self.optimizer.limit_gradients(norm, 1.0);
        self.optimizer.step(1e-3);
        Ok(())
    }

    /// Writes the checkpoint of `step`: parameters and optimiser, whole or not at all.
    pub(crate) fn save(&self, folder: &Path, step: u64) -> Result<()> {
        let trained = self.model.trained().variables().into_iter();
        let trained: BTreeMap<_, _> = trained
            .map(|(name, x)| (format!("trained.{name}"), x))
            .collect();
        let all = trained.into_iter().chain(self.optimizer.state());
        let all: Vec<_> = all
            .map(|(name, x)| (name, x.detach().to_device(Device::Cpu)))
            .collect();
        let path = checkpoint(folder, step);
        let file = disk::temporary_for(&path, ".safetensors")?;
        Tensor::write_safetensors(&all, file.path())?;
        disk::persist(file, &path)?;
        Ok(())
    }

    /// Restores the newest checkpoint in `folder` and returns its step, 0 without one.
    pub(crate) fn resume(&mut self, folder: &Path) -> Result<u64> {
        let Some((step, path)) = newest(folder)? else {
            return Ok(0);
        };
        let read = Tensor::read_safetensors(&path).with_context(|| path.display().to_string())?;
        let (trained, state): (BTreeMap<_, _>, BTreeMap<_, _>) = read
            .into_iter()
            .partition(|(name, _)| name.starts_with("trained."));
        tch::no_grad(|| -> Result<()> {
            for (name, mut tensor) in self.model.trained().variables() {
                let Some(saved) = trained.get(&format!("trained.{name}")) else {
                    bail!("{}: no {name}", path.display());
                };
                tensor.f_copy_(saved)?;
            }
            Ok(())
        })?;
        self.optimizer.restore(&state, step)?;
        Ok(step)
    }
}

pub(crate) fn checkpoint(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step}.safetensors"))
}

/// The step and the path of the newest checkpoint.
pub(crate) fn newest(folder: &Path) -> Result<Option<(u64, PathBuf)>> {
    let mut found = None;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let step = name.and_then(|name| name.strip_prefix("step-")?.parse::<u64>().ok());
        found = found.max(step.map(|step| (step, path)));
    }
    Ok(found)
}

/// Trains in this process, from the newest checkpoint in `folder`, and prints each step.
pub(crate) fn run(device: Device, folder: &Path, system: &str, steps: &str) -> Result<usize> {
    let system = System::ALL.into_iter().find(|known| known.name() == system);
    let system = system.context("system: expected few-shot or ActionCLIP")?;
    let scale = Scale::of(device);
    let mut training = Training::new(system, scale, device, Kind::BFloat16)?;
    let done = training.resume(folder)?;
    let last = match steps {
        EXHAUST => done + SAVE_EVERY,
        number => number.parse().context("steps: expected a number")?,
    };
    for step in done + 1..=last {
        training.step(step, &training.batch(step, BATCH, CLASSES))?;
        if step % SAVE_EVERY == 0 {
            training.save(folder, step)?;
        }
        println!("step {step}");
        std::io::stdout().flush()?;
    }
    if steps == EXHAUST {
        // On a CPU at once more than the process may have: 34 GB of features, 103 GB of pixels.
        let mut batch = match system {
            System::FewShot => scale.pick(1 << 12, 1 << 24),
            System::ActionClip => scale.pick(1 << 12, 1 << 18),
        };
        loop {
            training.step(last + 1, &training.repeated(batch))?;
            println!("a batch of {batch} fits");
            batch *= 8;
        }
    }
    Ok(0)
}
