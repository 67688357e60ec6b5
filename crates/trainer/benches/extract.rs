//! Whether `extract` loses time between its stages: the same clips through the image tower
//! alone, from memory; through the decoder alone; and through both, as the product does it.
//! One row of a Markdown table.
//!
//! `cargo bench -p trainer --bench extract -- VIDEOS LISTS WEIGHTS (fp32|bf16) CLIPS ROUNDS`
#![allow(clippy::expect_used)]

use std::sync::Arc;
use std::time::Instant;

use clip_backbone::Usage;
use data::feature_cache::ShareOfWork;
use data::{Loader, LoaderConfig, SkipList, VideoSource};
use tch::{Kind, Tensor};
use trainer::config::{Config, DatasetKind, Precision};
use trainer::interrupt::Interrupt;
use trainer::run::Session;

fn main() {
    trainer::runtime::keep_freed_memory();
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let [videos, lists, weights, precision, clips, rounds] = words.as_slice() else {
        return eprintln!("nothing asked for: see the head of this file");
    };
    let kept = tempfile::tempdir().expect("a folder");
    let mut config = Config::preset(models::Preset::Best);
    config.data.layout = DatasetKind::Ucf101;
    config.data.root = Some(videos.into());
    config.data.lists = Some(lists.into());
    config.data.allow_missing = true;
    config.backbone.weights = Some(weights.into());
    config.backbone.precision = match precision.as_str() {
        "bf16" => Precision::Bf16,
        _ => Precision::Fp32,
    };
    let config = config.check().expect("a configuration");
    let session = Session::open(config, Interrupt::default(), true).expect("a session");
    let count = clips.parse().expect("a number");
    // Spread over the classes.
    let all = session.dataset.manifest.clips().len();
    let positions: Vec<usize> = (0..count).map(|number| number * all / count).collect();
    let recipe = session.test_recipe();

    let loader = loader(&session);
    let decode = || {
        let pass = loader.pass(&positions, &recipe).expect("a pass");
        pass.map(|sample| sample.expect("frames"))
            .collect::<Vec<_>>()
    };
    let frames: Vec<Tensor> = decode()
        .iter()
        .map(|sample| {
            let view = &sample.views[0];
            let size = [view.frames, view.height, view.width, 3].map(|side| side as i64);
            Tensor::from_data_size(&view.rgb, &size, Kind::Uint8)
        })
        .collect();
    let clip = session.backbone.clip(Usage::Frozen).expect("a backbone");
    let encode = || {
        let _guard = tch::no_grad_guard();
        for frames in &frames {
            let pixels = session.backbone.preprocess.normalise(frames);
            drop(
                clip.vision
                    .forward(&pixels.expect("frames"))
                    .expect("a batch"),
            );
        }
    };
    encode();

    let rounds: usize = rounds.parse().expect("a number");
    let (mut tower, mut decoder, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds.max(1) {
        tower.push(seconds(encode));
        decoder.push(seconds(|| drop(decode())));
        let folder = kept.path().join(round.to_string());
        let mut extractor = session.extractor();
        extractor.folder = &folder;
        both.push(seconds(|| {
            let done = extractor.extract(&positions, &recipe, ShareOfWork::ALL);
            assert_eq!(done.expect("features").computed, count);
        }));
    }
    let rate = |seconds| count as f64 / median(seconds);
    let (tower, decoder, both) = (rate(tower), rate(decoder), rate(both));
    println!(
        "| {precision} | {tower:.1} | {decoder:.1} | {both:.1} | {:.0} % |",
        both / tower.min(decoder) * 100.0
    );
}

/// As the product's: a worker a core.
fn loader(session: &Session) -> Loader {
    Loader::new(
        Arc::new(session.dataset.manifest.clone()),
        Arc::new(VideoSource::default()),
        SkipList::new(),
        LoaderConfig::default(),
    )
    .expect("threads")
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
