//! ActionCLIP's training step: in pieces, with states computed twice, with parts held.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use clip_backbone::{ClipModel, Config, Freeze, Usage};
use models::action_clip::{ActionClip, ActionClipConfig, Head, VisualPrompt};
use models::{Clips, Error, Lane, Lanes, Mates, Piece, Sums, Targets, VideoTextModel as _};
use support::Table;
use tch::{Device, Kind, Tensor};

const FRAMES: i64 = 4;
const CLASSES: [i64; 6] = [2, 0, 1, 2, 2, 1];

fn tiny_clip(kind: Kind) -> ClipModel {
    let mut config = Config::vit_b_16();
    config.joint_width = 32;
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
    let clip = ClipModel::new(&config, &mut weights, Usage::FineTuned, Device::Cpu, kind);
    clip.unwrap()
}

fn config(head: Head, visual_prompt: VisualPrompt, recompute: bool) -> ActionClipConfig {
    ActionClipConfig {
        frames: FRAMES,
        head,
        visual_prompt,
        recompute,
        ..ActionClipConfig::published()
    }
}

fn model(config: &ActionClipConfig, kind: Kind) -> Result<ActionClip, Error> {
    // The same first values of the head in every model.
    tch::manual_seed(3);
    ActionClip::new(config, tiny_clip(kind), Arc::new(Table::default()))
}

fn pixels(from: i64, count: i64) -> Clips {
    let all = support::stream("steps.pixels", &[6, FRAMES, 3, 64, 64], 2.0);
    Clips::Pixels(all.narrow(0, from, count))
}

fn pieces(sizes: &[i64]) -> Vec<Piece> {
    let mut from = 0;
    let piece = |size: &i64| {
        let classes = Tensor::from_slice(&CLASSES).narrow(0, from, *size);
        let piece = Piece {
            clips: pixels(from, *size),
            targets: Targets::classes(&classes),
        };
        from += size;
        piece
    };
    sizes.iter().map(piece).collect()
}

/// Loss, nearest classes, and every gradient of one step.
fn step(model: &ActionClip, sizes: &[i64]) -> (f64, Vec<i64>, BTreeMap<String, Tensor>) {
    let labels: Vec<String> = ["walk", "run", "jump"].map(String::from).to_vec();
    for (_, parameter) in model.trained().variables() {
        parameter.shallow_clone().zero_grad();
    }
    tch::manual_seed(11);
    let learned = model.bind(&labels).unwrap().learn(&pieces(sizes)).unwrap();
    let gradients = model
        .trained()
        .variables()
        .into_iter()
        .map(|(name, parameter)| {
            let gradient = parameter.grad();
            assert!(gradient.defined(), "{name} has no gradient");
            (name, gradient.copy())
        })
        .collect();
    let predicted = Vec::try_from(&learned.predicted).unwrap();
    (learned.loss.double_value(&[]), predicted, gradients)
}

/// The largest difference of two sets of gradients, as a share of each tensor's largest value.
fn furthest(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> (f64, String) {
    assert_eq!(a.len(), b.len());
    let largest = |x: &Tensor| x.abs().max().double_value(&[]);
    a.iter()
        .map(|(name, a)| {
            let size = largest(a).max(1e-6);
            (largest(&(a - &b[name])) / size, name.clone())
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap()
}

#[test]
fn a_step_in_pieces_has_the_gradients_of_one_piece() {
    for (head, visual_prompt) in [
        (Head::Transformer, VisualPrompt::None),
        (Head::Lstm, VisualPrompt::InNetwork),
        (Head::Mean, VisualPrompt::PreNetwork),
    ] {
        for recompute in [false, true] {
            let model = model(&config(head, visual_prompt, recompute), Kind::Float).unwrap();
            let whole = step(&model, &[6]);
            for sizes in [&[4i64, 2][..], &[1, 2, 1, 2]] {
                let parts = step(&model, sizes);
                assert!((whole.0 - parts.0).abs() < 1e-5, "{head:?} {sizes:?}");
                assert_eq!(whole.1, parts.1);
                let (gap, name) = furthest(&whole.2, &parts.2);
                assert!(
                    gap < 1e-3,
                    "{head:?} {visual_prompt:?} {sizes:?}: {name} {gap:e}"
                );
            }
        }
    }
}

/// Lanes of as many micro-batches as they say, of which one process has a part.
fn lanes(sizes: &[&[i64]], rank: usize, processes: usize) -> Lanes {
    let each = sizes.len() / processes;
    let flat: Vec<i64> = sizes.concat();
    let mut all = pieces(&flat).into_iter();
    let lane = |(number, sizes): (usize, &&[i64])| Lane {
        number,
        seed: Some(100 * number as i64),
        pieces: all.by_ref().take(sizes.len()).collect(),
    };
    let lanes: Vec<Lane> = sizes.iter().enumerate().map(lane).collect();
    let before = sizes.iter().take(rank * each);
    let own = |lane: &Lane| lane.number / each == rank && !lane.pieces.is_empty();
    Lanes {
        count: sizes.len(),
        start: before.flat_map(|sizes| sizes.iter()).sum(),
        own: lanes.into_iter().filter(own).collect(),
        targets: Targets::classes(&Tensor::from_slice(&CLASSES)),
    }
}

/// Plays the other processes: their rows are known, and own ones are recorded.
#[derive(Default)]
struct Script {
    rows: RefCell<Option<Tensor>>,
    own: RefCell<Option<Tensor>>,
    gradients: RefCell<Option<Vec<Tensor>>>,
}

impl Mates for Script {
    fn gather(&self, own: Tensor) -> models::Result<Tensor> {
        self.own.replace(Some(own));
        let rows = self.rows.borrow();
        let rows = rows.as_ref().map(Tensor::shallow_clone);
        rows.ok_or_else(|| Error::Mates("not known yet".into()))
    }

    fn sums(&self) -> Box<dyn Sums + '_> {
        self.gradients.replace(None);
        Box::new(Recorded(self, 0))
    }
}

/// Records own gradients; the sums are zero. Counts the parameters.
struct Recorded<'a>(&'a Script, usize);

impl Sums for Recorded<'_> {
    fn begin(&mut self, own: Option<Vec<Tensor>>, parameters: &[Tensor]) -> models::Result<()> {
        self.1 += parameters.len();
        if let Some(own) = own {
            let mut all = self.0.gradients.borrow_mut();
            all.get_or_insert_default().extend(own);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> models::Result<Vec<Tensor>> {
        Ok((0..self.1).map(|_| Tensor::new()).collect())
    }
}

/// The gradient of each process's lanes, added up over the processes, and that of the temperature.
fn step_of_processes(model: &ActionClip, sizes: &[&[i64]], processes: usize) -> Vec<Vec<u32>> {
    let labels: Vec<String> = ["walk", "run", "jump"].map(String::from).to_vec();
    let run = |rank: usize, script: &Script| {
        for (_, parameter) in model.trained().variables() {
            parameter.shallow_clone().zero_grad();
        }
        tch::manual_seed(11);
        let lanes = lanes(sizes, rank, processes);
        model.bind(&labels).unwrap().learn_lanes(lanes, script)
    };
    let rows = (0..processes).map(|rank| {
        let script = Script::default();
        assert!(run(rank, &script).is_err());
        script.own.take().unwrap()
    });
    let rows = Tensor::cat(&rows.collect::<Vec<_>>(), 0);
    let mut each = Vec::new();
    for rank in 0..processes {
        let script = Script::default();
        script.rows.replace(Some(rows.shallow_clone()));
        run(rank, &script).unwrap();
        each.extend(script.gradients.take().map(|gradients| (rank, gradients)));
    }
    let add = |first: Vec<Tensor>, second: Vec<Tensor>| {
        let pairs = first.into_iter().zip(second);
        pairs.map(|(first, second)| first + second).collect()
    };
    let mut sum = parallel::in_tree(each, add).unwrap();
    sum.push(model.trained().variables()["clip.logit_scale"].grad());
    let bits = |tensor: &Tensor| {
        let numbers = Vec::<f32>::try_from(tensor.reshape([-1])).unwrap();
        // Both zeros are the same to an update.
        numbers.iter().map(|x| (x + 0.0).to_bits()).collect()
    };
    sum.iter().map(bits).collect()
}

#[test]
fn a_step_has_the_same_bits_on_any_number_of_processes() {
    tch::set_num_threads(1);
    for (head, visual_prompt) in [
        (Head::TransformerCls, VisualPrompt::InNetwork),
        (Head::Mean, VisualPrompt::PreNetwork),
    ] {
        for sizes in [
            &[&[2i64][..], &[1], &[2], &[1]],
            &[&[1, 1], &[1], &[2], &[1]],
            &[&[], &[2], &[2], &[2]],
        ] {
            let model = model(&config(head, visual_prompt, true), Kind::Float).unwrap();
            let alone = step_of_processes(&model, sizes, 1);
            for processes in [2, 4] {
                let shared = step_of_processes(&model, sizes, processes);
                assert!(shared == alone, "{head:?} {sizes:?} {processes}");
            }
        }
    }
}

#[test]
fn pieces_on_their_own_would_be_another_contrast() {
    // What the pieces are for: the loss of halves is not the loss of the whole.
    let model = model(&config(Head::Mean, VisualPrompt::None, false), Kind::Float).unwrap();
    let (whole, _, gradients) = step(&model, &[6]);
    let (first, _, _) = step(&model, &[3]);
    assert!((whole - first).abs() > 1e-2, "{whole} {first}");
    let (_, _, alone) = step(&model, &[3]);
    assert!(furthest(&gradients, &alone).0 > 0.1);
}

#[test]
fn states_computed_twice_give_the_same_gradients() {
    for (head, visual_prompt) in [
        (Head::Conv1d, VisualPrompt::None),
        (Head::TransformerCls, VisualPrompt::InNetwork),
        (Head::Mean, VisualPrompt::PreNetwork),
    ] {
        let kept = step(
            &model(&config(head, visual_prompt, false), Kind::Float).unwrap(),
            &[6],
        );
        let twice = step(
            &model(&config(head, visual_prompt, true), Kind::Float).unwrap(),
            &[6],
        );
        assert_eq!(kept.0, twice.0, "{head:?} {visual_prompt:?}");
        let (gap, name) = furthest(&kept.2, &twice.2);
        assert!(gap < 1e-5, "{head:?} {visual_prompt:?}: {name} {gap:e}");
    }
}

#[test]
fn what_is_held_has_no_gradient_and_is_not_trained() {
    let mut held = config(Head::Transformer, VisualPrompt::InNetwork, true);
    held.frozen = Freeze {
        text: true,
        image_blocks: 2,
    };
    let whole = model(
        &config(Head::Transformer, VisualPrompt::InNetwork, false),
        Kind::Float,
    )
    .unwrap();
    let whole = step(&whole, &[6]);
    let part = model(&held, Kind::Float).unwrap();
    let names = part.trained().variables();
    for (name, trained) in [
        ("clip.text_projection.weight", false),
        ("clip.text_model.final_layer_norm.bias", false),
        ("clip.vision_model.embeddings.patch_embedding.weight", false),
        ("clip.vision_model.encoder.layers.1.mlp.fc1.weight", false),
        ("clip.vision_model.encoder.layers.2.mlp.fc1.weight", true),
        ("clip.vision_model.post_layernorm.weight", true),
        ("clip.logit_scale", true),
        ("transformer.resblocks.0.ln_1.weight", true),
    ] {
        assert_eq!(names.contains_key(name), trained, "{name}");
    }
    // What still learns has the gradient it had.
    for recompute in [false, true] {
        held.recompute = recompute;
        let gradients = step(&model(&held, Kind::Float).unwrap(), &[4, 2]).2;
        let same: BTreeMap<String, Tensor> = whole
            .2
            .iter()
            .filter(|(name, _)| gradients.contains_key(*name))
            .map(|(name, gradient)| (name.clone(), gradient.shallow_clone()))
            .collect();
        let (gap, name) = furthest(&same, &gradients);
        assert!(gap < 1e-3, "{name} {gap:e}");
    }
    held.frozen.image_blocks = 5;
    assert!(model(&held, Kind::Float).is_err(), "the tower has 4 blocks");
}

#[test]
fn all_image_blocks_may_be_held() {
    let mut held = config(Head::Conv1d, VisualPrompt::None, true);
    held.frozen.image_blocks = 4;
    let gradients = step(&model(&held, Kind::Float).unwrap(), &[3, 3]).2;
    let image = |name: &&String| name.starts_with("clip.vi");
    let names: Vec<&String> = gradients.keys().filter(image).collect();
    assert_eq!(
        names,
        [
            "clip.vision_model.post_layernorm.bias",
            "clip.vision_model.post_layernorm.weight",
            "clip.visual_projection.weight"
        ]
    );
}

#[test]
fn bf16_gradients_point_where_those_of_fp32_do() {
    let exact = step(
        &model(
            &config(Head::Transformer, VisualPrompt::None, true),
            Kind::Float,
        )
        .unwrap(),
        &[6],
    );
    let model = model(
        &config(Head::Transformer, VisualPrompt::None, true),
        Kind::BFloat16,
    )
    .unwrap();
    let half = step(&model, &[6]);
    assert!((exact.0 - half.0).abs() < 0.05, "{} {}", exact.0, half.0);
    let flat = |all: &BTreeMap<String, Tensor>| {
        let parts: Vec<Tensor> = all
            .values()
            .map(|gradient| gradient.to_kind(Kind::Float).flatten(0, -1).view(-1))
            .collect();
        Tensor::cat(&parts, 0)
    };
    let (a, b) = (flat(&exact.2), flat(&half.2));
    let cosine = ((&a * &b).sum(Kind::Float) / (a.norm() * b.norm())).double_value(&[]);
    assert!(cosine > 0.98, "{cosine}");
}

#[test]
fn scores_follow_the_parameters_after_a_step() {
    let model = model(&config(Head::Mean, VisualPrompt::None, true), Kind::Float).unwrap();
    let labels: Vec<String> = ["walk", "run", "jump"].map(String::from).to_vec();
    let bound = model.bind(&labels).unwrap();
    let score = |bound: &dyn models::Classifier| {
        tch::no_grad(|| bound.score(&pixels(0, 2)).unwrap().probabilities())
    };
    let before = score(bound.as_ref());
    // A pass without gradients before it leaves no parameter without one: `step` looks.
    let _ = step(&model, &[6]);
    let _ = bound.learn(&pieces(&[6])).unwrap();
    tch::no_grad(|| {
        for (name, mut parameter) in model.trained().variables() {
            if name.starts_with("clip.text_model.encoder.layers.0.mlp") {
                let _ = parameter.g_add_(&(parameter.grad() * 0.5));
            }
        }
    });
    let (kept, anew) = (
        score(bound.as_ref()),
        score(model.bind(&labels).unwrap().as_ref()),
    );
    let gap = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
    assert!(gap(&kept, &before) > 1e-6);
    assert!(gap(&kept, &anew) < 1e-6);
}

#[test]
fn parameters_have_their_own_rates_and_decay() {
    let model = model(
        &config(Head::Transformer, VisualPrompt::None, true),
        Kind::Float,
    )
    .unwrap();
    for (name, rate, decay) in [
        (
            "clip.vision_model.embeddings.patch_embedding.weight",
            1.0,
            true,
        ),
        ("clip.vision_model.embeddings.class_embedding", 1.0, false),
        (
            "clip.vision_model.embeddings.position_embedding.weight",
            1.0,
            false,
        ),
        ("clip.vision_model.pre_layrnorm.weight", 1.0, false),
        (
            "clip.text_model.embeddings.token_embedding.weight",
            1.0,
            true,
        ),
        (
            "clip.text_model.encoder.layers.0.self_attn.qkv_proj.bias",
            1.0,
            false,
        ),
        ("clip.text_model.encoder.layers.0.mlp.fc1.weight", 1.0, true),
        ("clip.logit_scale", 1.0, false),
        ("frame_position_embeddings.weight", 10.0, false),
        ("transformer.resblocks.0.ln_1.weight", 10.0, false),
        ("transformer.resblocks.0.attn.in_proj_weight", 10.0, true),
        ("transformer.resblocks.0.attn.in_proj_bias", 10.0, false),
    ] {
        assert!(model.trained().variables().contains_key(name), "{name}");
        let group = model.group(name);
        assert_eq!((group.rate, group.decay), (rate, decay), "{name}");
    }
}

/// KL(softmax(10 truth) || softmax(logits)) of each row, the mean over rows, in plain loops.
fn mean_kl(logits: &[Vec<f64>], truth: &[Vec<f64>]) -> f64 {
    let softmax = |row: &[f64], sharpness: f64| -> Vec<f64> {
        let all: f64 = row.iter().map(|value| (sharpness * value).exp()).sum();
        row.iter()
            .map(|value| (sharpness * value).exp() / all)
            .collect()
    };
    let rows = logits.iter().zip(truth).map(|(logits, truth)| {
        let (p, q) = (softmax(truth, 10.0), softmax(logits, 1.0));
        p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
    });
    rows.sum::<f64>() / logits.len() as f64
}

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..rows.len())
        .map(|at| rows.iter().map(|row| row[at]).collect())
        .collect()
}

#[test]
fn a_clip_of_several_classes_has_the_sentences_of_all_of_them_for_positives() {
    // Clip by class; the class that a clip's own sentence is of is among them.
    let shown = [
        [0.0, 0.0, 1.0],
        [1.0, 1.0, 0.0],
        [0.0, 1.0, 0.0],
        [1.0, 0.0, 1.0],
        [1.0, 1.0, 1.0],
        [0.0, 1.0, 0.0],
    ];
    let flat = Tensor::from_slice(shown.as_flattened()).view([6, 3]);
    let target = |from, count| {
        let classes = Tensor::from_slice(&CLASSES).narrow(0, from, count);
        Targets::classes(&classes).showing(&flat.narrow(0, from, count))
    };
    let model = model(
        &config(Head::Transformer, VisualPrompt::None, false),
        Kind::Float,
    )
    .unwrap();
    let labels: Vec<String> = ["walk", "run", "jump"].map(String::from).to_vec();
    let classifier = model.bind(&labels).unwrap();
    tch::manual_seed(11);
    let loss = classifier.loss(&pixels(0, 6), &target(0, 6)).unwrap();
    let logits: Vec<Vec<f64>> = Vec::try_from(&loss.scores.logits.to_kind(Kind::Double)).unwrap();
    let truth: Vec<Vec<f64>> = (0..6)
        .map(|clip| CLASSES.map(|class| shown[clip][class as usize]).to_vec())
        .collect();
    let forth = mean_kl(&logits, &truth);
    let back = mean_kl(&transposed(&logits), &transposed(&truth));
    let got = loss.value.double_value(&[]);
    assert!(
        (got - (forth + back) / 2.0).abs() < 1e-4,
        "{got} {forth} {back}"
    );

    let pieces: Vec<Piece> = [(0, 4), (4, 2)]
        .map(|(from, count)| Piece {
            clips: pixels(from, count),
            targets: target(from, count),
        })
        .into();
    tch::manual_seed(11);
    let learned = classifier.learn(&pieces).unwrap();
    assert!((learned.loss.double_value(&[]) - got).abs() < 1e-5);
}
