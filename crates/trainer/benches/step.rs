//! A whole few-shot step, cached features to updated parameters, on HMDB-51's shapes, as a
//! Markdown table: K = 51, T = 8, D = 512, ViT-B/16's text tower with generated weights,
//! AdamW, preset `best`. In turn, the text side alone, forward and backward for the same
//! prompts: the difference is the time outside the text tower.
//!
//! `cargo bench -p trainer --bench step [-- ROUNDS]`
#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../prompts/tests/support/mod.rs"]
mod generated;

use std::sync::Arc;
use std::time::Instant;

use clip_backbone::ClipModel;
use models::{Clips, ModelConfig, Preset, SifConfig, Targets, VideoTextModel};
use optim::{Method, Optimizer, Parameter};
use prompts::{ClassTokens, TextEncoder, TextEncoding, TextPath, Tokenize};
use tch::{Device, Kind, Tensor};

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

fn main() {
    let rounds = std::env::args().find_map(|arg| arg.parse().ok());
    let rounds = rounds.unwrap_or(3usize).max(1);
    trainer::runtime::keep_freed_memory();
    let names = include_str!("../../../datasets/hmdb51-classes.txt");
    let labels: Vec<String> = names.lines().map(|name| name.replace('_', " ")).collect();
    println!(
        "One step of few-shot training on cached features, K = {}, H = 5, `best`, AdamW, {} threads, medians of {rounds} rounds.\n",
        labels.len(),
        tch::get_num_threads()
    );
    println!("| B | precision | path | seconds per step | text side alone | share outside it |");
    println!("|---|---|---|---|---|---|");
    for (batch, path, kinds) in [
        (4, TextPath::Literal, &[Kind::Float][..]),
        (4, TextPath::Packed, &[Kind::Float, Kind::BFloat16]),
        (32, TextPath::Packed, &[Kind::Float, Kind::BFloat16]),
    ] {
        for kind in kinds {
            row(rounds, batch, path, *kind, &labels);
        }
    }
}

fn row(rounds: usize, batch: i64, path: TextPath, kind: Kind, labels: &[String]) {
    let clip = generated::clip(&generated::b16_text_config(), kind);
    let mut config = SifConfig::preset(Preset::Best);
    config.text.path = path;
    let model = models::build(
        &ModelConfig::SeeingInFlowing(config),
        clip.shallow_clone(),
        Arc::new(Words),
    )
    .expect("a model");
    let mut optimizer = optimizer(model.as_ref());
    let features = Tensor::randn([batch, 8, 512], (Kind::Float, Device::Cpu));
    let classes = Tensor::arange(batch, (Kind::Int64, Device::Cpu)).remainder(labels.len() as i64);
    let encoding = TextEncoding {
        path,
        ..TextEncoding::default()
    };
    let tokens = ClassTokens::new(labels, &Words).expect("labels");
    let encoder = TextEncoder::new(&clip.text, &tokens, 5, encoding).expect("a task");
    let (mut whole, mut text) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let step = seconds(|| {
            let classifier = model.bind(labels).expect("labels");
            optimizer.zero_grad();
            let clips = Clips::Features(features.shallow_clone());
            let loss = classifier.loss(&clips, &Targets::classes(&classes));
            loss.expect("a batch").backward(1.0).expect("a scalar");
            optimizer.clip_gradients(1.0).expect("gradients");
            optimizer.step(1e-4);
        });
        let alone = seconds(|| text_side(&clip, &encoder, batch));
        // The first round warms caches and allocator.
        if round > 0 {
            whole.push(step);
            text.push(alone);
        }
    }
    let (whole, text) = (median(whole), median(text));
    println!(
        "| {batch} | {} | {path:?} | {whole:.3} | {text:.3} | {:.0} % |",
        if kind == Kind::Float { "fp32" } else { "bf16" },
        (1.0 - text / whole) * 100.0
    );
}

fn text_side(clip: &ClipModel, encoder: &TextEncoder, batch: i64) {
    let width = clip.text.config().width;
    let prompts = Tensor::randn([batch, 5, width], (Kind::Float, Device::Cpu));
    let prompts = prompts.set_requires_grad(true);
    let text = encoder.encode(&clip.text, &prompts).expect("a batch");
    let loss = text.features.square().mean(Kind::Float);
    text.backward(&loss).expect("a scalar");
}

fn optimizer(model: &dyn VideoTextModel) -> Optimizer {
    let method = Method::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
    };
    let variables = model.trained().variables().into_iter();
    let parameters = variables.map(|(name, tensor)| Parameter {
        name,
        tensor,
        rate: 1.0,
        decay: 0.0,
    });
    Optimizer::new(method, parameters.collect())
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
