//! The committed backbone, and what the classes of the demo do and do not show in its frames.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use clip_backbone::{Checkpoint, Usage};
use clips::{Backbone, Precision};
use data::Sampling;
use demo::motion::Motion;
use demo::quality;
use demo::scenes::{FRAMES, SIDE, Scene, still};
use models::{Clips, LogisticRegression, Parts, Preset, Row};
use tch::{Device, Kind, Tensor};
use trainer::config::Config;

/// SHA-256 of the committed weights.
const WEIGHTS: &str = "48f269eaf63108b1b129ac5eaa6a1f331da8bb4762f5452c1af5a6fdd7160990";
/// T, frames a clip.
const SAMPLED: usize = 8;

fn folder() -> PathBuf {
    testkit::workspace_root().join("datasets/demo/backbone")
}

fn backbone() -> Backbone {
    Backbone::open(&folder(), None, Precision::Fp32, Device::Cpu).unwrap()
}

#[test]
fn it_is_the_recorded_one_and_knows_pictures_by_their_captions() {
    let checkpoint = Checkpoint::open(folder()).unwrap();
    assert_eq!(checkpoint.sha256().unwrap(), WEIGHTS);
    let found = quality::measure(&folder(), 77).unwrap();
    // Chance is 1/32 and 0; tilt is not in the features linearly.
    assert!(found.retrieval > 0.7, "{found}");
    let [across, height, size, _, opacity] = found.r2;
    assert!(across > 0.85 && height > 0.85, "{found}");
    assert!(size > 0.85 && opacity > 0.85, "{found}");
}

#[test]
fn it_is_small_enough_to_be_committed() {
    let bytes: u64 = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= 3_000_000, "{bytes}");
}

/// Frame features of scenes' sampled frames: `[N, 1, T, D]`.
fn features(backbone: &Backbone, scenes: &[Scene]) -> Tensor {
    let chosen = Sampling::Segments { frames: SAMPLED }.centre(FRAMES);
    let pictures: Vec<u8> = scenes
        .iter()
        .flat_map(|scene| {
            chosen
                .iter()
                .map(|&at| still(&scene.look, &scene.state(at)))
        })
        .flatten()
        .collect();
    let (n, t, side) = (scenes.len() as i64, SAMPLED as i64, SIDE as i64);
    let pixels = Tensor::from_slice(&pictures).view([n * t, side, side, 3]);
    let pixels = backbone.preprocess.normalise(&pixels).unwrap();
    let features = backbone
        .clip(Usage::Frozen)
        .unwrap()
        .vision
        .forward(&pixels)
        .unwrap();
    features.view([n, 1, t, -1])
}

/// Clips `from..from + count` of a class.
fn scenes(motion: Motion, from: usize, count: usize) -> Vec<Scene> {
    (from..from + count)
        .map(|number| Scene::new(5, "probe", motion, number))
        .collect()
}

/// Accuracy between the two classes of every pair, of a probe on the mean over frames of what
/// `view` makes of the features.
fn between_pairs(backbone: &Backbone, view: fn(&Tensor) -> Tensor) -> f64 {
    const CLIPS: usize = 12;
    let mut right = 0.0;
    let rising = Motion::ALL.into_iter().filter(|motion| !motion.falls());
    for (place, motion) in rising.enumerate() {
        // No scene is there in both directions: that would decide it.
        let half = |motion, from| scenes(motion, 1000 * place + from, CLIPS);
        let both = |from| {
            let mut both = half(motion, from);
            both.extend(half(motion.reversed(), from + CLIPS));
            let frames = view(&features(backbone, &both)).squeeze_dim(1); // (N, T, D)
            frames.mean_dim(1, false, Kind::Double)
        };
        let truth: Vec<i64> = (0..2 * CLIPS).map(|clip| (clip >= CLIPS).into()).collect();
        let probe = LogisticRegression::fit(&both(0), &truth, 2, None).unwrap();
        let nearest = probe.logits(&both(500)).unwrap().argmax(-1, false);
        let matches = nearest.eq_tensor(&Tensor::from_slice(&truth));
        right += matches.mean(Kind::Double).double_value(&[]) / 5.0;
    }
    right
}

#[test]
fn the_mean_of_frames_tells_nothing_between_the_classes_of_a_pair_and_differences_tell() {
    let backbone = backbone();
    let frames = between_pairs(&backbone, Tensor::shallow_clone);
    let differences = between_pairs(&backbone, |features| {
        features.narrow(2, 4, 4) - features.narrow(2, 0, 4)
    });
    // Of 120 clips, chance strays by 4.6 %.
    assert!((frames - 0.5).abs() < 0.15, "frames {frames}");
    assert!(differences > 0.75, "differences {differences}");
}

/// Logits of `row` in the paper's form, with parameters as they are drawn: `[B, K]`.
fn logits(backbone: &Backbone, row: Row, clips: &Tensor) -> Tensor {
    let mut config = Config::preset(Preset::Paper);
    config.model.row = row;
    config.model.sif.prompts.vectors = Some(3);
    config.model.sif.prompts.init_words = Some("action of a".into());
    let model = config.model.build(SAMPLED);
    tch::manual_seed(3);
    let clip = backbone.clip(model.usage()).unwrap();
    let model = models::build(&model, clip, backbone.words.clone()).unwrap();
    let labels = Motion::ALL.map(|motion| motion.name().to_owned());
    let classifier = model.bind(&labels).unwrap();
    tch::no_grad(|| classifier.score(&Clips::Features(clips.shallow_clone())))
        .unwrap()
        .logits
}

#[test]
fn what_has_no_motion_stream_scores_a_clip_played_backwards_or_shuffled_just_the_same() {
    let backbone = backbone();
    let scenes: Vec<Scene> = Motion::ALL
        .into_iter()
        .flat_map(|motion| scenes(motion, 0, 1))
        .collect();
    let clips = features(&backbone, &scenes).squeeze_dim(1); // (B, T, D)
    let backwards = clips.flip([1]);
    let shuffled = clips.index_select(1, &Tensor::from_slice(&[3i64, 0, 6, 2, 7, 5, 1, 4]));
    for &row in Row::ALL {
        let moves = match row.parts {
            Parts::Probe | Parts::ValidatedProbe | Parts::Head(_) => continue,
            Parts::Clip => false,
            Parts::Blocks(ablation) => ablation.mmb,
        };
        let plain = logits(&backbone, row, &clips);
        for other in [&backwards, &shuffled] {
            let off = (logits(&backbone, row, other) - &plain)
                .abs()
                .max()
                .double_value(&[]);
            match moves {
                // Sums in another order: nothing but rounding.
                false => assert!(off < 1e-4, "{} {off}", row.name),
                true => assert!(off > 0.01, "{} {off}", row.name),
            }
        }
    }
}
