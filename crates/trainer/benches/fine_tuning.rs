//! Time and peak memory of fine-tuning ActionCLIP with a ViT-B/16 of random weights, in a separate
//! process: `cargo bench -p trainer --bench fine_tuning -- B T PIECES (fp32|bf16)
//! (recompute|keep) [STEPS]`. Includes the optimiser and its state, but not decoding.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use clip_backbone::{ClipModel, Config, Usage};
use models::action_clip::{ActionClip, ActionClipConfig};
use models::{Clips, Piece, Targets, Tokenize, VideoTextModel as _};
use optim::{Method, Optimizer, Parameter};
use tch::{Device, Kind, Tensor};
use trainer::runtime::{keep_freed_memory, peak_memory};

/// Replaces CLIP's tokenizer: the cost depends only on the number of words.
struct Words;

impl Tokenize for Words {
    fn tokens(&self, text: &str) -> Vec<i64> {
        text.split_whitespace()
            .map(|word| word.len() as i64)
            .collect()
    }

    fn start(&self) -> i64 {
        49_406
    }

    fn end(&self) -> i64 {
        49_407
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<i64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let has = |word: &str| words.iter().any(|w| w == word);
    let (batch, frames, pieces) = match numbers[..] {
        [batch, frames, pieces, ..] => (batch, frames, pieces.max(1)),
        _ => (2, 8, 1),
    };
    let steps = numbers.get(3).copied().unwrap_or(3);
    let kind = if has("fp32") {
        Kind::Float
    } else {
        Kind::BFloat16
    };
    let recompute = !has("keep");
    keep_freed_memory();
    tch::manual_seed(0);
    let model = model(kind, frames, recompute);
    let trained = model.trained().variables();
    let count: usize = trained.values().map(Tensor::numel).sum();
    let parameters = trained.into_iter().map(|(name, tensor)| {
        let group = model.group(&name);
        Parameter {
            name,
            tensor,
            rate: group.rate,
            decay: if group.decay { 0.2 } else { 0.0 },
        }
    });
    let method = Method::AdamW {
        beta1: 0.9,
        beta2: 0.98,
        eps: 1e-8,
    };
    let mut optimizer = Optimizer::new(method, parameters.collect());
    let before = gib();
    let labels: Vec<String> = (0..101)
        .map(|class| format!("riding a horse {class}"))
        .collect();
    let classifier = model.bind(&labels).expect("labels");
    let mut seconds = Vec::new();
    for _ in 0..steps {
        let started = Instant::now();
        let size = (batch as u64).div_ceil(pieces as u64) as i64;
        let parts: Vec<Piece> = (0..batch)
            .step_by(size as usize)
            .map(|from| piece(from, size.min(batch - from), frames))
            .collect();
        optimizer.zero_grad();
        let learned = classifier.learn(&parts).expect("a step");
        optimizer.clip_gradients(20.0).expect("gradients");
        optimizer.step(5e-6);
        seconds.push(started.elapsed().as_secs_f64());
        assert!(learned.loss.double_value(&[]).is_finite());
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "ViT-B/16 {kind:?} B={batch} T={frames} pieces={pieces} recompute={recompute}: \
         {:.1} M trained, {:.2} s per step (median of {steps}), peak {:.2} GiB, of which {before:.2} \
         weights and optimiser",
        count as f64 / 1e6,
        seconds.get(seconds.len() / 2).copied().unwrap_or_default(),
        gib(),
    );
}

fn model(kind: Kind, frames: i64, recompute: bool) -> ActionClip {
    let config = Config::vit_b_16();
    let mut weights: BTreeMap<String, Tensor> = config
        .parameters()
        .into_iter()
        .map(|(name, shape)| {
            let noise = Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 0.02;
            (name, noise.to_kind(kind))
        })
        .collect();
    let clip = ClipModel::new(&config, &mut weights, Usage::FineTuned, Device::Cpu, kind);
    let config = ActionClipConfig {
        frames,
        recompute,
        ..ActionClipConfig::published()
    };
    ActionClip::new(&config, clip.expect("a CLIP"), Arc::new(Words)).expect("a model")
}

fn piece(from: i64, count: i64, frames: i64) -> Piece {
    let size = [count, frames, 3, 224, 224];
    Piece {
        clips: Clips::Pixels(Tensor::randn(size, (Kind::Float, Device::Cpu))),
        targets: Targets::classes(&Tensor::arange_start(
            from,
            from + count,
            (Kind::Int64, Device::Cpu),
        )),
    }
}

fn gib() -> f64 {
    peak_memory().map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 30))
}
