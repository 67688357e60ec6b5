//! ActionCLIP against `golden/make_action_clip.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;

use clip_backbone::{BlockHook as _, Clip, Config, Usage};
use models::action_clip::{
    ActionClip, ActionClipConfig, Head, Inside, TemporalHead, TemporalShift, same_class,
    symmetric_kl,
};
use models::{Clips, Error, Targets, VideoTextModel as _};
use support::Table;
use tch::{Device, Kind, Tensor, nn};

mod support;

const TOLERANCE: f64 = 2e-5;
const FRAMES: i64 = 4;
const WIDTH: i64 = 32;

fn golden() -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/action_clip.safetensors");
    Tensor::read_safetensors(path)
        .unwrap()
        .into_iter()
        .collect()
}

fn formula(name: &str, shape: &[i64], mean: f64, amplitude: f64) -> Tensor {
    let count = shape.iter().product::<i64>() as usize;
    Tensor::from_slice(&testkit::formula::values(name, count, mean, amplitude)).view(shape)
}

/// Mean and amplitude of a head's parameter, as the generator has them.
fn kind(name: &str, shape: &[i64]) -> (f64, f64) {
    if name.contains("norm") || name.contains(".ln_") {
        if name.ends_with("weight") {
            (1.0, 0.2)
        } else {
            (0.0, 0.1)
        }
    } else if name.contains("bias") {
        (0.0, 0.1)
    } else if name.contains("embed") || name.contains("cls_token") {
        (0.0, 0.5)
    } else {
        (
            0.0,
            (3.0 / shape.iter().skip(1).product::<i64>() as f64).sqrt(),
        )
    }
}

#[track_caller]
fn close(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.size(), want.size(), "{what}");
    let gap = (got - want).abs().max().double_value(&[]);
    assert!(
        gap <= TOLERANCE,
        "{what}: differs by {gap:e}, allowed {TOLERANCE:e}"
    );
}

fn thin(x: &Tensor) -> Tensor {
    if x.numel() > 4096 {
        x.flatten(0, -1).slice(0, None, None, 97)
    } else {
        x.shallow_clone()
    }
}

#[test]
fn every_head_matches_with_all_its_gradients() {
    let golden = golden();
    let names = ["mean", "conv1d", "lstm", "transformer", "transformer_cls"];
    assert_eq!(Head::ALL.len(), names.len());
    for (head, case) in Head::ALL.into_iter().zip(names) {
        let store = nn::VarStore::new(Device::Cpu);
        let built = TemporalHead::new(&store.root(), head, FRAMES, WIDTH).unwrap();
        let parameters = store.variables();
        tch::no_grad(|| {
            for (name, parameter) in &parameters {
                let (mean, amplitude) = kind(name, &parameter.size());
                let shape = parameter.size();
                let value = formula(&format!("ac.{case}.{name}"), &shape, mean, amplitude);
                parameter.shallow_clone().copy_(&value);
            }
        });
        let frames = formula("ac.frames", &[3, FRAMES, WIDTH], 0.0, 1.0).set_requires_grad(true);
        let out = built.forward(&frames, false).unwrap();
        close(
            &format!("{case}.out"),
            &out,
            &golden[&format!("{case}.out")],
        );
        let weight = formula("ac.weight", &[3, WIDTH], 0.0, 1.0);
        (out * weight).sum(Kind::Float).backward();
        close(case, &frames.grad(), &golden[&format!("{case}.grad.input")]);
        let expected = golden
            .keys()
            .filter(|k| k.starts_with(&format!("{case}.grad.")))
            .count();
        assert_eq!(parameters.len() + 1, expected, "{case}");
        for (name, parameter) in &parameters {
            let what = format!("{case}.grad.{name}");
            close(&what, &thin(&parameter.grad()), &golden[&what]);
        }
    }
}

#[test]
fn the_default_head_has_the_published_size() {
    let store = nn::VarStore::new(Device::Cpu);
    TemporalHead::new(&store.root(), Head::Transformer, 8, 512).unwrap();
    let count: usize = store.variables().values().map(Tensor::numel).sum();
    assert_eq!(count, 18_953_728); // published as 18.95 M
}

#[test]
fn the_convolution_starts_as_a_shift() {
    let store = nn::VarStore::new(Device::Cpu);
    let head = TemporalHead::new(&store.root(), Head::Conv1d, 3, 8).unwrap();
    let frames = Tensor::arange(24, (Kind::Float, Device::Cpu)).view([1, 3, 8]);
    let got = tch::no_grad(|| head.forward(&frames, false).unwrap());
    // Channel 0 looks back (its last frame falls out), 4 stays, 7 looks ahead.
    let sums = frames.sum_dim_intlist(1, false, Kind::Float);
    for (channel, lost) in [(0, 16.0), (4, 0.0), (7, 7.0)] {
        let sum = sums.double_value(&[0, channel]);
        let want = (2.0 * sum - lost) / 3.0;
        assert!(
            (got.double_value(&[0, channel]) - want).abs() < 1e-5,
            "channel {channel}"
        );
    }
}

fn tiny_clip(usage: Usage) -> Rc<Clip> {
    let mut config = Config::vit_b_16();
    config.joint_width = WIDTH;
    let v = &mut config.vision;
    (v.image_size, v.width, v.layers, v.heads, v.mlp_width) = (64, 64, 4, 4, 256);
    let t = &mut config.text;
    (t.vocabulary, t.width, t.layers, t.heads, t.mlp_width) = (512, 64, 3, 4, 256);
    let mut weights: BTreeMap<String, Tensor> = config
        .parameters()
        .into_iter()
        .map(|(name, shape)| {
            let values = testkit::formula::parameter(&name, &shape);
            (name, Tensor::from_slice(&values).view(shape.as_slice()))
        })
        .collect();
    Rc::new(Clip::new(&config, &mut weights, usage, Device::Cpu, Kind::Float).unwrap())
}

fn model(head: Head, inside: Inside, usage: Usage) -> Result<ActionClip, Error> {
    let config = ActionClipConfig {
        frames: FRAMES,
        head,
        inside,
        templates: None,
        ..ActionClipConfig::published()
    };
    ActionClip::new(&config, tiny_clip(usage), Rc::new(Table::default()))
}

fn pixels() -> Clips {
    Clips::Pixels(
        formula("ac.pixels", &[2 * FRAMES, 3, 64, 64], 0.0, 2.0).view([2, FRAMES, 3, 64, 64]),
    )
}

#[test]
fn the_shift_matches_alone_and_inside_the_tower() {
    let golden = golden();
    let tokens = formula("ac.tokens", &[2 * FRAMES, 17, 64], 0.0, 1.0);
    let shifted = TemporalShift { frames: FRAMES }.before_block(0, tokens);
    close("tokens", &shifted, &golden["shift.tokens"]);

    let model = model(Head::Mean, Inside::Shift, Usage::Frozen).unwrap();
    let video = tch::no_grad(|| model.video(&pixels(), false).unwrap());
    let frames = golden["shift.out"].view([2, FRAMES, WIDTH]);
    close("tower", &video, &frames.mean_dim(1, false, Kind::Float));
}

#[test]
fn joint_attention_matches_with_its_gradient() {
    let golden = golden();
    let model = model(Head::Mean, Inside::Joint, Usage::Frozen).unwrap();
    let time = model.trained().variables()["temporal_embedding"].shallow_clone();
    let start = formula("ac.temporal_embedding", &[FRAMES, 64], 0.0, 0.5);
    tch::no_grad(|| time.shallow_clone().copy_(&start));
    let video = model.video(&pixels(), true).unwrap();
    close("joint.out", &video, &golden["joint.out"]);
    (video * formula("ac.joint_weight", &[2, WIDTH], 0.0, 1.0))
        .sum(Kind::Float)
        .backward();
    close(
        "time",
        &time.grad(),
        &golden["joint.grad.temporal_embedding"],
    );
}

#[test]
fn the_loss_matches_with_its_gradient() {
    let golden = golden();
    let logits = formula("ac.logits", &[5, 5], 0.0, 4.0).set_requires_grad(true);
    let truth = same_class(&golden["loss.classes"]).unwrap();
    let loss = symmetric_kl(&logits, &truth).unwrap();
    close("loss", &loss.view([1]), &golden["loss.value"]);
    loss.backward();
    close("gradient", &logits.grad(), &golden["loss.grad.logits"]);
}

#[test]
fn a_training_step_reaches_every_parameter() {
    for (head, inside) in [
        (Head::Transformer, Inside::Nothing),
        (Head::Conv1d, Inside::Shift),
        (Head::Mean, Inside::Joint),
    ] {
        let model = model(head, inside, Usage::FineTuned).unwrap();
        let labels: Vec<String> = ["walk", "run", "jump"].map(String::from).to_vec();
        let classifier = model.bind(&labels).unwrap();
        tch::manual_seed(7);
        let targets = Targets::classes(&Tensor::from_slice(&[2i64, 0]));
        let loss = classifier.loss(&pixels(), &targets).unwrap();
        assert!(loss.value.double_value(&[]).is_finite());
        for class in Vec::<i64>::try_from(&loss.predicted).unwrap() {
            assert!([2, 0].contains(&class));
        }
        loss.backward(1.0).unwrap();
        for (name, parameter) in model.trained().variables() {
            let gradient = parameter.grad();
            assert!(
                gradient.defined(),
                "{head:?} {inside:?}: {name} has no gradient"
            );
        }
        let rate = |name: &str| model.group(name).rate;
        assert_eq!(rate("clip.logit_scale"), 1.0);
        assert_eq!(rate("transformer.resblocks.0.ln_1.weight"), 10.0);
    }
}

#[test]
fn scores_are_the_mean_of_the_templates_probabilities() {
    let config = |templates: &[&str]| ActionClipConfig {
        frames: FRAMES,
        head: Head::Mean,
        inside: Inside::Nothing,
        templates: Some(templates.iter().map(ToString::to_string).collect()),
        ..ActionClipConfig::published()
    };
    let clip = tiny_clip(Usage::Frozen);
    let labels: Vec<String> = ["walk", "run", "jump"].map(String::from).to_vec();
    let probabilities = |templates: &[&str]| {
        let model = ActionClip::new(
            &config(templates),
            Rc::clone(&clip),
            Rc::new(Table::default()),
        );
        let model = model.unwrap();
        let classifier = model.bind(&labels).unwrap();
        tch::no_grad(|| classifier.score(&pixels()).unwrap().probabilities())
    };
    let (a, b) = (
        probabilities(&["a video of {}"]),
        probabilities(&["{} , slowly"]),
    );
    assert!(
        (&a - &b).abs().max().double_value(&[]) > 1e-4,
        "the templates say the same"
    );
    close(
        "mean",
        &probabilities(&["a video of {}", "{} , slowly"]),
        &((a + b) / 2.0),
    );
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    for head in [
        Head::Conv1d,
        Head::Lstm,
        Head::Transformer,
        Head::TransformerCls,
    ] {
        let error = model(head, Inside::Joint, Usage::Frozen).unwrap_err();
        assert!(
            matches!(error, Error::Config { field: "head", .. }),
            "{error}"
        );
    }
    let model = model(Head::Mean, Inside::Shift, Usage::Frozen).unwrap();
    let features = Clips::Features(Tensor::zeros(
        [1, FRAMES, WIDTH],
        (Kind::Float, Device::Cpu),
    ));
    assert!(matches!(
        model.video(&features, false),
        Err(Error::Config {
            field: "inside",
            ..
        })
    ));
    let short = Clips::Pixels(Tensor::zeros([1, 3, 3, 64, 64], (Kind::Float, Device::Cpu)));
    assert!(matches!(
        model.video(&short, false),
        Err(Error::Shape { .. })
    ));
    let square = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
    assert!(matches!(
        symmetric_kl(&square, &square),
        Err(Error::Shape { .. })
    ));
}
