//! What the assembled systems promise beyond their equations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use clip_backbone::{ClipModel, Config};
use mcb::SmaKeys;
use models::action_clip::{ActionClipConfig, Head};
use models::{
    Ablation, Clips, Error, Examples, Learning, LinearProbe, ModelConfig, Parts, Penalty, Preset,
    Row, SeeingInFlowing, SifConfig, Targets, Temperature, Template, TextEncoding, TextPath,
    VideoTextModel, WarmStart, ZeroShot, ZeroShotConfig, build, cost,
};
use support::{Table, stream, tiny_config};
use tch::nn::OptimizerConfig;
use tch::{Device, Kind, Tensor, nn};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn clip(config: &Config) -> ClipModel {
    support::clip(config, Kind::Float)
}

/// A preset at the tiny backbone's width.
fn tiny(preset: Preset) -> SifConfig {
    let mut config = SifConfig::preset(preset);
    (
        config.motion.heads,
        config.motion.ffn_dim,
        config.communication.heads,
    ) = (4, 64, 4);
    config
}

fn model(config: &SifConfig, clip: &ClipModel) -> SeeingInFlowing {
    SeeingInFlowing::new(config, clip.shallow_clone(), Arc::new(Table::default())).unwrap()
}

/// Solves `model` over clips of one view, each a recording of its own.
fn solve(
    model: &dyn VideoTextModel,
    labels: &[String],
    clips: &Clips,
    classes: &[i64],
) -> models::Result<Option<WarmStart>> {
    let recordings: Vec<usize> = (0..classes.len()).collect();
    let examples = Examples {
        clips,
        classes,
        recordings: &recordings,
        views: 1,
    };
    model.solve(labels, &examples)
}

/// Labels that give the same ids alone and inside a sentence.
fn labels() -> Vec<String> {
    ["wave", "ride bike", "climb", "shake hand", "sit"]
        .map(String::from)
        .to_vec()
}

fn frames() -> Tensor {
    stream("frames", &[3, 8, 64], 1.0)
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    support::gap(a, b)
}

#[test]
fn best_starts_as_frozen_clip_with_the_same_words() {
    let clip = clip(&tiny_config());
    let best = model(&tiny(Preset::Best), &clip);
    let frozen = ZeroShotConfig {
        templates: vec![Template::c()],
    };
    let frozen = ZeroShot::new(&frozen, clip, Arc::new(Table::default()));
    let clips = Clips::Features(frames());
    let logits = |model: &dyn VideoTextModel| {
        model
            .bind(&labels())
            .unwrap()
            .score(&clips)
            .unwrap()
            .logits
            .detach()
    };
    let (best, frozen) = (logits(&best), logits(&frozen));
    assert!(
        frozen.std(true).double_value(&[]) > 0.1,
        "the labels are told apart"
    );
    assert!(gap(&best, &frozen) < 1e-5, "{:e}", gap(&best, &frozen));
}

#[test]
fn a_warm_start_knows_its_clips_and_still_scores_other_labels() {
    let clip = clip(&tiny_config());
    let labels = labels();
    let classes: Vec<i64> = (0..20).map(|number| number % 5).collect();
    let place = Tensor::from_slice(&classes)
        .one_hot(32)
        .to_kind(Kind::Float);
    let features = stream("clips", &[20, 8, 64], 0.3) + place.unsqueeze(1).repeat([1, 1, 2]) * 3.0;
    let clips = Clips::Features(features);
    let best = model(&tiny(Preset::Best), &clip);
    let right = || {
        let scores = tch::no_grad(|| best.bind(&labels).unwrap().score(&clips)).unwrap();
        let right = scores
            .logits
            .argmax(1, false)
            .eq_tensor(&Tensor::from_slice(&classes));
        right
            .to_kind(Kind::Float)
            .mean(Kind::Float)
            .double_value(&[])
    };
    assert!(right() < 0.5);
    let chosen = solve(&best, &labels, &clips, &classes).unwrap().unwrap();
    assert!(chosen.residual_length > 0.0, "{chosen:?}");
    assert_eq!(right(), 1.0);
    let others = ["juggle", "lunge"].map(String::from);
    let scores = best.bind(&others).unwrap().score(&clips).unwrap();
    assert_eq!(scores.logits.size(), [20, 2]);

    let fewer = solve(&best, &labels, &clips, &classes[1..]);
    assert!(matches!(fewer, Err(Error::Shape { .. })));
    let paper = model(&tiny(Preset::Paper), &clip);
    assert!(solve(&paper, &labels, &clips, &classes).unwrap().is_none());
}

#[test]
fn every_group_of_best_has_a_gradient_by_the_third_step() {
    let clip = clip(&tiny_config());
    let mut config = tiny(Preset::Best);
    config.temperature = Temperature::Clip { learned: true };
    // The tiny adapter has so few units that an unlucky start leaves all of them silent.
    tch::manual_seed(1);
    let model = model(&config, &clip);
    let mut optimizer = nn::sgd(0.9, 0.0, 0.0, false)
        .build(model.trained(), 0.01)
        .unwrap();
    let classifier = model.bind(&labels()).unwrap();
    let targets = Targets::classes(&Tensor::from_slice(&[0i64, 3, 1]));
    for step in 0..3 {
        optimizer.zero_grad();
        let loss = classifier
            .loss(&Clips::Features(frames()), &targets)
            .unwrap();
        loss.backward(1.0).unwrap();
        if step < 2 {
            optimizer.step();
        }
    }
    for (name, parameter) in model.trained().variables() {
        let gradient = parameter.grad();
        assert!(gradient.defined(), "{name}");
        assert!(gradient.abs().max().double_value(&[]) > 0.0, "{name}");
    }
}

#[test]
fn trained_parameters_are_as_published_and_as_counted() {
    let clip = clip(&support::b16_text_config());
    let rows = [
        (
            SifConfig::preset(Preset::Paper).ablated(Ablation::BASELINE),
            3_152_384,
        ),
        (
            SifConfig::preset(Preset::Paper).ablated(Ablation {
                mmb: true,
                map: true,
                mcb: false,
            }),
            6_340_640,
        ),
        (SifConfig::preset(Preset::Paper), 8_441_888),
        (SifConfig::preset(Preset::Best), 10_027_040),
    ];
    for (config, published) in rows {
        let trained: i64 = model(&config, &clip)
            .trained()
            .variables()
            .values()
            .map(|parameter| parameter.numel() as i64)
            .sum();
        assert_eq!(trained, published);
        let counted = cost::actual::trained(&config, clip.config(), 51).parameters;
        assert_eq!(counted, published);
    }
}

#[test]
fn every_row_of_the_ablation_trains_in_both_presets() {
    let clip = clip(&tiny_config());
    for preset in [Preset::Paper, Preset::Best] {
        for row in Row::ALL {
            let (name, Parts::Blocks(row)) = (row.name, row.parts) else {
                continue;
            };
            let model = model(&tiny(preset).ablated(row), &clip);
            let classifier = model.bind(&labels()).unwrap();
            let targets = Targets::classes(&Tensor::from_slice(&[0i64, 3, 1]));
            let loss = classifier
                .loss(&Clips::Features(frames()), &targets)
                .unwrap();
            let evidence = &loss.scores.evidence;
            let motion = evidence.motion.as_ref().unwrap();
            assert_eq!(motion.motion.is_some(), row.mmb, "{name}");
            assert_eq!(evidence.prompt_residual.is_some(), row.map, "{name}");
            let communicates = gap(&loss.scores.text, &evidence.text) > 0.0;
            assert_eq!(communicates, row.mcb && preset == Preset::Paper, "{name}");
            assert!(loss.value.double_value(&[]).is_finite());
            loss.backward(1.0).unwrap();
            let learns = |start: &str| {
                model
                    .trained()
                    .variables()
                    .keys()
                    .any(|name| name.starts_with(start))
            };
            assert_eq!(learns("tm."), row.mmb, "{name}");
            assert_eq!(learns("prompts"), row.map, "{name}");
            assert_eq!(learns("sma."), row.mcb, "{name}");
        }
    }
}

#[test]
fn a_share_of_the_loss_gives_a_share_of_the_gradient() {
    let clip = clip(&tiny_config());
    for chunk in [1, 1024] {
        let mut config = tiny(Preset::Paper);
        config.text = TextEncoding {
            path: TextPath::Packed,
            chunk,
        };
        let model = model(&config, &clip);
        let classifier = model.bind(&labels()).unwrap();
        let targets = Targets::classes(&Tensor::from_slice(&[0i64, 3, 1]));
        let gradient = |share: f64| {
            let mut prompts = model.trained().variables()["prompts"].shallow_clone();
            prompts.zero_grad();
            let loss = classifier
                .loss(&Clips::Features(frames()), &targets)
                .unwrap();
            loss.backward(share).unwrap();
            prompts.grad().copy()
        };
        let (whole, half) = (gradient(1.0), gradient(0.5));
        assert!(whole.abs().max().double_value(&[]) > 1e-3);
        assert!(gap(&whole, &(half * 2.0)) < 1e-5);
    }
}

#[test]
fn pixels_and_their_features_score_alike() {
    let clip = clip(&tiny_config());
    let model = model(&tiny(Preset::Paper), &clip);
    let classifier = model.bind(&labels()).unwrap();
    let pixels = stream("pixels", &[2, 8, 3, 64, 64], 2.0);
    let _guard = tch::no_grad_guard();
    let features = clip
        .vision
        .forward(&pixels.view([16, 3, 64, 64]))
        .unwrap()
        .view([2, 8, 32]);
    let from_pixels = classifier.score(&Clips::Pixels(pixels)).unwrap();
    let from_features = classifier.score(&Clips::Features(features)).unwrap();
    assert!(gap(&from_pixels.logits, &from_features.logits) < 1e-5);
}

#[test]
fn views_are_fused_by_the_mean_of_their_probabilities() {
    let clip = clip(&tiny_config());
    let model = model(&tiny(Preset::Paper), &clip);
    let classifier = model.bind(&labels()).unwrap();
    let view = |name: &str| Clips::Features(stream(name, &[2, 8, 32], 1.0));
    let one = |name: &str| classifier.probabilities(&[view(name)]).unwrap();
    let both = classifier.probabilities(&[view("a"), view("b")]).unwrap();
    assert!(gap(&both, &((one("a") + one("b")) / 2.0)) < 1e-6);
    assert!(
        gap(
            &both.sum_dim_intlist(1, false, Kind::Float),
            &Tensor::ones([2], FLOAT)
        ) < 1e-5
    );
    assert!(classifier.probabilities(&[]).is_err());
    let other = Clips::Features(stream("c", &[3, 8, 64], 1.0));
    assert!(matches!(
        classifier.probabilities(&[view("a"), other]),
        Err(Error::Shape { op: "views", .. })
    ));
}

#[test]
fn targets_may_be_classes_weights_or_smoothed() {
    let logits = stream("logits", &[3, 5], 2.0);
    let classes = Tensor::from_slice(&[0i64, 3, 1]);
    let hot = classes.one_hot(5).to_kind(Kind::Float);
    let loss = |targets: Targets| targets.cross_entropy(&logits).unwrap().double_value(&[]);
    let plain = loss(Targets::classes(&classes));
    assert!((plain - loss(Targets::weights(&hot))).abs() < 1e-6);
    let smooth = loss(Targets::weights(&(&hot * 0.9 + 0.1 / 5.0)));
    assert!((smooth - loss(Targets::classes(&classes).smoothed(0.1).unwrap())).abs() < 1e-5);

    let refused = |targets: Targets| targets.cross_entropy(&logits).unwrap_err();
    for (class, got) in [(5, 5), (-1, -1)] {
        let error = refused(Targets::classes(&Tensor::from_slice(&[0i64, class, 1])));
        assert!(matches!(error, Error::TargetClass { most: 4, got: g } if g == got));
    }
    let short = Tensor::from_slice(&[0i64, 1]);
    assert!(matches!(
        refused(Targets::classes(&short)),
        Error::Shape { .. }
    ));
    assert!(matches!(
        refused(Targets::weights(&hot.narrow(1, 0, 4))),
        Error::Shape { .. }
    ));
    for shape in [vec![0, 5], vec![3], vec![3, 0]] {
        let empty = Tensor::zeros(&shape, FLOAT);
        let error = Targets::classes(&classes)
            .cross_entropy(&empty)
            .unwrap_err();
        assert!(
            matches!(&error, Error::Shape { got, .. } if *got == shape),
            "{error}"
        );
    }
    for share in [f64::NAN, -0.1, 1.1] {
        assert!(Targets::classes(&classes).smoothed(share).is_err());
    }
}

#[test]
fn configurations_round_trip_and_unknown_keys_are_errors() {
    let configs = [
        ModelConfig::SeeingInFlowing(SifConfig::preset(Preset::Paper)),
        ModelConfig::SeeingInFlowing(SifConfig::preset(Preset::Best).ablated(Ablation::BASELINE)),
        ModelConfig::Clip(ZeroShotConfig {
            templates: vec![Template::a()],
        }),
    ];
    for config in configs {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(
            toml::from_str::<ModelConfig>(&text).unwrap(),
            config,
            "{text}"
        );
        let error = toml::from_str::<ModelConfig>(&format!("nonsense = 1\n{text}")).unwrap_err();
        assert!(error.to_string().contains("nonsense"), "{error}");
        build(&config, clip(&tiny_config()), Arc::new(Table::default())).unwrap();
    }
}

#[test]
fn impossible_models_are_refused() {
    let clip = clip(&tiny_config());
    let refused = |change: &dyn Fn(&mut SifConfig)| {
        let mut config = tiny(Preset::Best);
        change(&mut config);
        SeeingInFlowing::new(&config, clip.shallow_clone(), Arc::new(Table::default())).unwrap_err()
    };
    assert!(matches!(refused(&|c| c.frames = 4), Error::Motion(_)));
    assert!(matches!(
        refused(&|c| c.motion.dropout = f64::NAN),
        Error::Motion(_)
    ));
    assert!(matches!(
        refused(&|c| c.communication.heads = 5),
        Error::Mcb(_)
    ));
    assert!(matches!(
        refused(&|c| c.prompts.vectors = Some(0)),
        Error::Config { .. }
    ));
    assert!(matches!(
        refused(&|c| c.prompts.vectors = Some(7)),
        Error::Config {
            field: "prompts.init_words",
            ..
        }
    ));
    assert!(matches!(
        refused(&|c| {
            c.prompts.vectors = Some(7);
            c.prompts.init_words = Some("two words".into());
        }),
        Error::Config {
            field: "prompts.vectors",
            ..
        }
    ));
    for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = refused(&|c| c.temperature = Temperature::Fixed { tau });
        assert!(matches!(
            error,
            Error::Config {
                field: "temperature.tau",
                ..
            }
        ));
    }
    let no_motion = |c: &mut SifConfig| c.motion.motion_stream = false;
    assert!(matches!(
        refused(&no_motion),
        Error::Config {
            field: "prompts.motion_aware",
            ..
        }
    ));
    let no_tokens = |c: &mut SifConfig| {
        (c.motion.motion_stream, c.prompts.motion_aware) = (false, false);
        c.communication.sma_kv = SmaKeys::FramesAndMotion;
    };
    assert!(matches!(
        refused(&no_tokens),
        Error::Config {
            field: "communication.sma_kv",
            ..
        }
    ));
}

#[test]
fn wrong_inputs_are_refused_with_expected_and_got() {
    let clip = clip(&tiny_config());
    let model = model(&tiny(Preset::Best), &clip);
    let long = "climb ".repeat(70);
    for labels in [
        vec![],
        vec![String::new()],
        vec!["sit".into(), format!("{long}a"), format!("{long}b")],
    ] {
        let Err(error) = model.bind(&labels) else {
            panic!("{labels:?} was taken");
        };
        assert!(matches!(error, Error::Prompts(_)), "{error}");
        let said = error.to_string();
        assert!(
            labels.iter().skip(1).all(|label| said.contains(label)),
            "{said}"
        );
    }
    let cut = model.bind(&["sit".into(), long.clone()]).unwrap();
    assert!(cut.notes()[0].contains(&long), "{:?}", cut.notes());
    let classifier = model.bind(&labels()).unwrap();
    assert!(classifier.notes().is_empty());
    for shape in [vec![8, 32], vec![1, 7, 32], vec![1, 8, 31], vec![0, 8, 32]] {
        let error = classifier
            .score(&Clips::Features(Tensor::zeros(&shape, FLOAT)))
            .unwrap_err();
        assert!(
            matches!(&error, Error::Shape { .. } | Error::Motion(_)),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("{shape:?}")), "{error}");
    }
    for shape in [vec![1, 8, 3, 64, 63], vec![8, 3, 64, 64]] {
        let error = classifier
            .score(&Clips::Pixels(Tensor::zeros(&shape, FLOAT)))
            .unwrap_err();
        assert!(error.to_string().contains(&format!("{shape:?}")), "{error}");
    }
    let frozen = ZeroShotConfig {
        templates: vec![Template::c()],
    };
    let frozen = ZeroShot::new(&frozen, clip.shallow_clone(), Arc::new(Table::default()));
    let bound = frozen.bind(&labels()).unwrap();
    let targets = Targets::classes(&Tensor::from_slice(&[0i64, 3, 1]));
    let error = bound
        .loss(&Clips::Features(frames()), &targets)
        .unwrap_err();
    assert!(matches!(error, Error::Frozen { .. }));
    assert!(frozen.trained().is_empty());
}

#[test]
fn a_linear_probe_separates_classes_and_scores_only_those_it_was_fitted_to() {
    let clip = clip(&tiny_config());
    let probe = LinearProbe::new(clip, Penalty::One);
    assert_eq!(probe.learning(), Learning::Solved);
    let labels = labels();
    assert!(probe.bind(&labels).is_err(), "nothing is fitted yet");
    let classes: Vec<i64> = (0..20).map(|number| number % 5).collect();
    let place = Tensor::from_slice(&classes)
        .one_hot(32)
        .to_kind(Kind::Float);
    let features = stream("clips", &[20, 8, 64], 0.3) + place.unsqueeze(1).repeat([1, 1, 2]) * 3.0;
    let clips = Clips::Features(features);
    assert!(solve(&probe, &labels, &clips, &classes[1..]).is_err());
    assert!(solve(&probe, &labels, &clips, &classes).unwrap().is_none());
    let classifier = probe.bind(&labels).unwrap();
    let probabilities = classifier.probabilities(&[clips]).unwrap();
    assert_eq!(probabilities.kind(), Kind::Double);
    let nearest = probabilities.argmax(1, false);
    assert_eq!(nearest, Tensor::from_slice(&classes));
    assert!(probe.bind(&labels[1..]).is_err());
}

#[test]
fn every_published_head_separates_classes_and_scores_only_those_it_was_fitted_to() {
    let labels = labels();
    let classes: Vec<i64> = (0..20).map(|number| number % 5).collect();
    let place = Tensor::from_slice(&classes)
        .one_hot(32)
        .to_kind(Kind::Float);
    let features = stream("clips", &[20, 8, 32], 0.3) + place.unsqueeze(1) * 3.0;
    let clips = Clips::Features(features);
    for row in Row::HEADS {
        let config = row.model(&tiny(Preset::Best));
        let tokenizer = Arc::new(Table::default());
        let head = build(&config, clip(&tiny_config()), tokenizer).unwrap();
        assert_eq!(head.learning(), Learning::Solved, "{}", row.name);
        assert!(head.bind(&labels).is_err(), "nothing is fitted yet");
        assert!(solve(&*head, &labels, &clips, &classes[1..]).is_err());
        let only: Vec<i64> = classes.iter().map(|class| class % 4).collect();
        let error = solve(&*head, &labels, &clips, &only).unwrap_err();
        assert!(error.to_string().contains("\"sit\""), "{error}");
        assert!(solve(&*head, &labels, &clips, &classes).unwrap().is_none());
        let classifier = head.bind(&labels).unwrap();
        let probabilities = classifier
            .probabilities(std::slice::from_ref(&clips))
            .unwrap();
        let nearest = probabilities.argmax(1, false);
        assert_eq!(nearest, Tensor::from_slice(&classes), "{}", row.name);
        assert!(head.bind(&labels[1..]).is_err());
    }
}

#[test]
fn switches_are_refused_before_a_weight_is_read() {
    let refused = |change: &dyn Fn(&mut SifConfig), field: &str| {
        let mut config = tiny(Preset::Best);
        change(&mut config);
        let config = ModelConfig::SeeingInFlowing(config);
        let error = config.check_on(&tiny_config()).unwrap_err();
        let (key, expected, got) = error.field().unwrap();
        assert_eq!((key.as_str(), expected.is_empty()), (field, false));
        assert!(config.check().is_ok() == field.ends_with("heads"), "{got}");
    };
    refused(&|c| c.motion.heads = 7, "motion.heads");
    refused(&|c| c.communication.heads = 5, "communication.heads");
    refused(&|c| c.motion.max_step = 9, "motion.max_step");
    refused(&|c| c.prompts.vectors = Some(7), "prompts.init_words");
    let tau = Temperature::Fixed { tau: 0.0 };
    refused(&|c| c.temperature = tau, "temperature.tau");
}

#[test]
fn norms_biases_and_positions_do_not_decay() {
    let clip = clip(&tiny_config());
    let model = model(&tiny(Preset::Best), &clip);
    let still: Vec<String> = model
        .trained()
        .variables()
        .into_keys()
        .filter(|name| !model.group(name).decay)
        .collect();
    for name in [
        "ts.positions",
        "tm.gap_positions",
        "tm.norm1.weight",
        "sma.in_proj_bias",
        "ad1.bias",
    ] {
        assert!(still.iter().any(|n| n == name), "{name}");
    }
    for name in ["prompts", "ts.in_proj_weight", "ws.weight"] {
        assert!(!still.iter().any(|n| n == name), "{name}");
    }
}

#[test]
fn a_model_moves_to_a_thread_and_scores_there_with_the_same_bits() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let systems = [
        ModelConfig::SeeingInFlowing(tiny(Preset::Best)),
        ModelConfig::ActionClip(ActionClipConfig {
            head: Head::TransformerCls,
            ..ActionClipConfig::published()
        }),
        ModelConfig::Clip(ZeroShotConfig {
            templates: vec![Template::c()],
        }),
    ];
    let clip = clip(&tiny_config());
    let logits = |model: &dyn VideoTextModel| {
        let clips = Clips::Features(frames());
        let scores = tch::no_grad(|| model.bind(&labels()).unwrap().score(&clips).unwrap());
        Vec::<f32>::try_from(&scores.logits.flatten(0, -1)).unwrap()
    };
    for config in systems {
        let model = build(&config, clip.shallow_clone(), Arc::new(Table::default())).unwrap();
        let (here, model) = (logits(&*model), sent(model));
        let there = std::thread::spawn(move || logits(&*model));
        assert_eq!(here, there.join().unwrap(), "{config:?}");
    }
}
