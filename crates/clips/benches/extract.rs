//! Whether `extract` loses time between its stages: the same clips through the image tower
//! alone, from memory; through the decoder alone; and through both, as the product does it.
//! One row of a Markdown table.
//!
//! `cargo bench -p clips --bench extract -- VIDEOS LISTS WEIGHTS (fp32|bf16) CLIPS ROUNDS`
#![allow(clippy::expect_used)]

use std::sync::Arc;
use std::time::Instant;

use clip_backbone::Usage;
use clips::feature_cache::{ShareOfWork, Storage};
use clips::{
    Ahead, Backbone, ClipStream, Ended, Extractor, Interrupt, Precision, Recipe, VideoFiles, Work,
    to_tensor,
};
use data::formats::{Format, Missing, ReadOptions};
use data::{Sampling, Views};
use tch::{Device, Tensor};

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let [videos, lists, weights, precision, clips, rounds] = words.as_slice() else {
        return eprintln!("missing arguments: see the head of this file");
    };
    let kept = tempfile::tempdir().expect("a folder");
    let precision: Precision = precision.parse().expect("a precision");
    let backbone =
        Backbone::open(weights.as_ref(), None, precision, Device::Cpu).expect("a backbone");
    let options = ReadOptions {
        missing: Missing::Allow,
        ..ReadOptions::default()
    };
    let format = Format::named("ucf101").expect("registered");
    let found = format.read(videos.as_ref(), Some(lists.as_ref()), options);
    let found = found.expect("UCF-101");
    let manifest = Arc::new(found.manifest);
    let count = clips.parse().expect("a number");
    // Spread over the classes.
    let all = manifest.clips().len();
    let positions: Vec<usize> = (0..count).map(|number| number * all / count).collect();
    let recipe = Recipe::Test {
        sampling: Sampling::Segments { frames: 8 },
        geometry: backbone.preprocess.geometry,
        views: Views::SINGLE,
        seed: 0,
    };
    let decode = || {
        let source = Arc::new(VideoFiles::default());
        let mut stream =
            ClipStream::new(manifest.clone(), source, Ahead::default()).expect("threads");
        stream.push(&positions, &recipe).expect("a recipe");
        let views = stream.map(|sample| sample.views.expect("frames"));
        views.collect::<Vec<_>>()
    };
    let frames: Vec<Tensor> = decode()
        .iter()
        .map(|views| {
            let frames = to_tensor(views, &backbone.preprocess, Device::Cpu);
            frames.expect("frames").flatten(0, 1)
        })
        .collect();
    let clip = backbone.clip(Usage::Frozen).expect("a backbone");
    let encode = || {
        let _guard = tch::no_grad_guard();
        for frames in &frames {
            drop(clip.vision.forward(frames).expect("a batch"));
        }
    };
    encode();

    let files = clips::file_identities(&manifest);
    let rounds: usize = rounds.parse().expect("a number");
    let (mut tower, mut decoder, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds.max(1) {
        tower.push(seconds(encode));
        decoder.push(seconds(|| drop(decode())));
        let folder = kept.path().join(round.to_string());
        let extractor = Extractor {
            tokens: clip_backbone::FrameTokens::Class,
            backbone: &backbone,
            manifest: &manifest,
            files: &files,
            folder: &folder,
            at_once: clips::clips_at_once(Device::Cpu, 8),
            limits: video::Limits::default(),
            storage: Storage::F16,
            interrupt: &Interrupt::default(),
            progress: &|_, _| {},
        };
        both.push(seconds(|| {
            let done = extractor.extract(&positions, &recipe, Work::Share(ShareOfWork::ALL));
            let whole = |done| matches!(done, Ended::Done(clips) if clips == count);
            assert!(whole(done.expect("features").map(|done| done.computed)));
        }));
    }
    let rate = |seconds| count as f64 / median(seconds);
    let (tower, decoder, both) = (rate(tower), rate(decoder), rate(both));
    println!(
        "| {precision} | {tower:.1} | {decoder:.1} | {both:.1} | {:.0} % |",
        both / tower.min(decoder) * 100.0
    );
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
