//! A whole few-shot step, cached features to updated parameters, or its text side alone, forward and
//! backward for the same prompts: encodes for every line on stdin and prints the seconds it took, so
//! that the ways to compute it can take turns (`cargo xtask bench step`).
//!
//! `cargo bench -p trainer --bench step -- (tiny|b16) K B (fp32|bf16) (literal|packed) (step|text)
//! LANES THREADS`; T = 8, AdamW, preset `best`. One lane is computed with libtorch's threads, several
//! on threads of their own.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../../prompts/tests/support/mod.rs"]
mod generated;

use std::sync::Arc;

use clip_backbone::{ClipModel, Config};
use models::{
    Alone, Clips, Lane, Lanes, ModelConfig, Piece, Preset, SifConfig, Targets, VideoTextModel,
};
use optim::{Method, Optimizer, Parameter};
use prompts::{ClassTokens, TextEncoder, TextEncoding, TextPath, Tokenize};
use tch::{Device, Kind, Tensor};
use testkit::turns::take_turns;

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
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [
        encoder,
        classes,
        batch,
        precision,
        path,
        what,
        lanes,
        threads,
        ..,
    ] = &words[..]
    else {
        panic!("expected 8 arguments, got {words:?}");
    };
    trainer::runtime::keep_freed_memory();
    let (lanes, threads): (i64, usize) = (lanes.parse().unwrap(), threads.parse().unwrap());
    match lanes {
        1 => tch::set_num_threads(threads as i32),
        _ => parallel::use_threads(threads).unwrap(),
    }
    let kind = match precision.as_str() {
        "bf16" => Kind::BFloat16,
        _ => Kind::Float,
    };
    let clip = generated::clip(&config(encoder), kind);
    let encoding = TextEncoding {
        path: match path.as_str() {
            "literal" => TextPath::Literal,
            _ => TextPath::Packed,
        },
        ..TextEncoding::default()
    };
    let batch: i64 = batch.parse().unwrap();
    let names: Vec<&str> = [
        include_str!("../../../datasets/hmdb51-classes.txt"),
        include_str!("../../../datasets/ucf101-classes.txt"),
    ]
    .iter()
    .flat_map(|list| list.lines())
    .collect();
    let labels = names.iter().take(classes.parse().unwrap());
    let labels: Vec<String> = labels.map(|name| name.replace('_', " ")).collect();
    if what == "text" {
        let tokens = ClassTokens::new(&labels, &Words).expect("labels");
        let encoder = TextEncoder::new(&clip.text, &tokens, 5, encoding).expect("a task");
        return take_turns(|| text_side(&clip, &encoder, batch));
    }
    let width = clip.config().joint_width;
    let mut config = SifConfig::preset(Preset::Best);
    config.text = encoding;
    config.motion.heads = width / 64;
    config.communication.heads = width / 64;
    let config = ModelConfig::SeeingInFlowing(config);
    let model = models::build(&config, clip.shallow_clone(), Arc::new(Words)).expect("a model");
    let mut optimizer = optimizer(model.as_ref());
    let features = Tensor::randn([batch, 8, 2 * width], (Kind::Float, Device::Cpu));
    let classes = Tensor::arange(batch, (Kind::Int64, Device::Cpu));
    let classes = classes.remainder(labels.len() as i64);
    let size = batch / lanes;
    take_turns(|| {
        let classifier = model.bind(&labels).expect("labels");
        optimizer.zero_grad();
        let lane = |lane: i64| Lane {
            number: lane as usize,
            seed: None,
            pieces: vec![Piece {
                clips: Clips::Features(features.narrow(0, lane * size, size)),
                targets: Targets::classes(&classes.narrow(0, lane * size, size)),
            }],
        };
        let batch = Lanes {
            count: lanes as usize,
            own: (0..lanes).map(lane).collect(),
            targets: Targets::classes(&classes),
            start: 0,
        };
        classifier.learn_lanes(batch, &Alone).expect("a batch");
        optimizer.clip_gradients(1.0).expect("gradients");
        optimizer.step(1e-4);
    });
}

/// A text tower of 4 blocks and width 192, or that of ViT-B/16.
fn config(encoder: &str) -> Config {
    let mut config = generated::b16_text_config();
    if encoder == "tiny" {
        config.joint_width = 192;
        let text = &mut config.text;
        (text.width, text.layers, text.heads, text.mlp_width) = (192, 4, 3, 768);
    }
    config
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
