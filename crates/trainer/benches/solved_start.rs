//! The solved start of `best` over generated features: of each class a centre, in frames and moving
//! patches, and noise. Prints the seconds by part.
//!
//! `cargo bench -p trainer --bench solved_start -- K CLIPS D THREADS`: CLIPS per class.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout
)]

#[path = "../../prompts/tests/support/mod.rs"]
mod generated;

use std::sync::Arc;
use std::time::Instant;

use models::{Clips, Examples, ModelConfig, Preset, SifConfig};
use prompts::Tokenize;
use tch::{Device, Kind, Tensor};

/// Every word is one token.
struct Words;

impl Tokenize for Words {
    fn tokens(&self, text: &str) -> Vec<i64> {
        let id = |word: &str| word.bytes().fold(7, |h, b| (h * 131 + i64::from(b)) % 500);
        text.split_whitespace().map(id).collect()
    }

    fn start(&self) -> i64 {
        510
    }

    fn end(&self) -> i64 {
        511
    }
}

fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::DEBUG)
        .init();
    let numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let numbers: Vec<i64> = numbers.collect();
    let [classes, clips, width, threads] = numbers[..] else {
        panic!("expected 4 numbers, got {numbers:?}");
    };
    parallel::use_threads(threads as usize).unwrap();
    let mut config = generated::tiny_config();
    config.joint_width = width;
    let clip = generated::clip(&config, Kind::Float);
    let mut sif = SifConfig::preset(Preset::Best);
    (sif.motion.heads, sif.communication.heads) = (8, 8);
    let config = ModelConfig::SeeingInFlowing(sif);
    let model = models::build(&config, clip, Arc::new(Words)).expect("a model");
    let labels: Vec<String> = (0..classes)
        .map(|class| format!("action {class}"))
        .collect();
    let truth: Vec<i64> = (0..classes * clips).map(|clip| clip % classes).collect();
    tch::manual_seed(1);
    let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
    let centres = random(&[classes, 1, 2 * width]) * 0.35;
    let own = centres.index_select(0, &Tensor::from_slice(&truth));
    let features = own
        + random(&[classes * clips, 1, 2 * width])
        + random(&[classes * clips, 8, 2 * width]) * 0.5;
    let recordings: Vec<usize> = (0..truth.len()).collect();
    let clips = Clips::Features(features);
    let examples = Examples {
        clips: &clips,
        classes: &truth,
        recordings: &recordings,
        views: 1,
    };
    let started = Instant::now();
    let chosen = model.solve(&labels, &examples).expect("a start");
    println!("{:.2} s", started.elapsed().as_secs_f64());
    println!("{chosen:?}");
}
