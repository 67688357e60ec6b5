//! The whole model against tensors computed in Python: every intermediate, every gradient, and
//! the parameters after three steps of SGD.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip_backbone::ClipModel;
use mcb::{Attention, SmaKeys};
use models::{
    Clips, Preset, SeeingInFlowing, SifConfig, Targets, Temperature, TextEncoding, TextPath,
    VideoTextModel,
};
use motion::{Activation, NormOrder};
use support::{Table, read, stream, tiny_config};
use tch::nn::OptimizerConfig;
use tch::{Kind, Tensor, nn};

const OUTPUT: f64 = 2e-5;
const LOSS: f64 = 1e-5;
const GRADIENT: f64 = 2e-5;
const PARAMETER: f64 = 5e-5;

#[track_caller]
fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.size(), want.size(), "{what}");
    let gap = support::gap(got, want);
    assert!(
        gap <= tolerance,
        "{what}: differs by {gap:e}, allowed {tolerance:e}"
    );
}

/// The sizes every case has: T = 8, H = 3, 4 heads, FFN 64, bottleneck 4.
fn tiny(preset: Preset) -> SifConfig {
    let mut config = SifConfig::preset(preset);
    (
        config.motion.heads,
        config.motion.ffn_dim,
        config.communication.heads,
    ) = (4, 64, 4);
    config.prompts.vectors = Some(3);
    config.prompts.adapter.bottleneck = Some(4);
    config
}

/// A task: frames, labels' tokens, targets, and the file of what is expected.
struct Case {
    config: SifConfig,
    clip: ClipModel,
    frames: Tensor,
    targets: Tensor,
    classes: Vec<Vec<i64>>,
    expected: PathBuf,
    /// The step before which outputs and gradients were taken.
    at: usize,
}

impl Case {
    fn run(&self) {
        let expected = read(&self.expected);
        let labels: Vec<String> = (0..self.classes.len())
            .map(|k| format!("label {k}"))
            .collect();
        let mut table: BTreeMap<String, Vec<i64>> = labels
            .iter()
            .cloned()
            .zip(self.classes.iter().cloned())
            .collect();
        table.insert("human action of".into(), vec![343; 3]);
        let tokenizer = Arc::new(Table(table));
        let mut model =
            SeeingInFlowing::new(&self.config, self.clip.shallow_clone(), tokenizer).unwrap();
        fill(model.trained_mut(), self.config.motion.zero_init);

        let names: Vec<String> = sorted(model.trained().variables())
            .into_iter()
            .map(|v| v.0)
            .collect();
        let wanted: Vec<String> = expected
            .keys()
            .filter_map(|key| key.strip_prefix("grad.").map(str::to_owned))
            .collect();
        assert_eq!(names.len(), wanted.len(), "{names:?} against {wanted:?}");

        let mut optimizer = nn::sgd(0.9, 0.0, 0.0, false)
            .build(model.trained(), 0.01)
            .unwrap();
        let classifier = model.bind(&labels).unwrap();
        let clips = Clips::Features(self.frames.shallow_clone());
        let targets = Targets::classes(&self.targets);
        for step in 0..3 {
            optimizer.zero_grad();
            let loss = classifier.loss(&clips, &targets).unwrap();
            if step == self.at {
                let (scores, evidence) = (&loss.scores, &loss.scores.evidence);
                let motion = evidence.motion.as_ref().unwrap();
                let cues = motion.motion.as_ref().unwrap();
                let outputs = [
                    ("diff", &cues.differences),
                    ("M", &cues.states),
                    ("S", &motion.spatial),
                    ("m", &cues.pooled),
                    ("V", &evidence.video),
                    ("resid", evidence.prompt_residual.as_ref().unwrap()),
                    ("T", &evidence.text),
                    ("T2", &scores.text),
                    ("V2", &scores.video),
                    ("logits", &scores.logits),
                ];
                for (name, got) in outputs {
                    close(name, got, &expected[&format!("out.{name}")], OUTPUT);
                }
                close("loss", &loss.value.view([1]), &expected["out.loss"], LOSS);
            }
            loss.backward(1.0).unwrap();
            if step == self.at {
                for (name, parameter) in sorted(model.trained().variables()) {
                    let want = &expected[&format!("grad.{name}")];
                    close(
                        &format!("gradient of {name}"),
                        &parameter.grad(),
                        want,
                        GRADIENT,
                    );
                }
            }
            optimizer.step();
        }
        for (name, parameter) in sorted(model.trained().variables()) {
            let want = &expected[&format!("after3.{name}")];
            close(
                &format!("{name} after 3 steps"),
                &parameter,
                want,
                PARAMETER,
            );
        }
    }
}

fn sorted(variables: HashMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    variables.into_iter().collect()
}

/// Parameters by the formula, but for those that start at zero.
fn fill(store: &mut nn::VarStore, zero_init: bool) {
    let silent = ["ws.", "wm.", "ad2.", "sma.out_proj.", "saa.out_proj."];
    tch::no_grad(|| {
        for (name, mut parameter) in store.variables() {
            if zero_init && silent.iter().any(|start| name.starts_with(start)) {
                assert_eq!(parameter.abs().max().double_value(&[]), 0.0, "{name}");
                continue;
            }
            let shape = parameter.size();
            let values = testkit::formula::parameter(&format!("sif.{name}"), &shape);
            parameter.copy_(&Tensor::from_slice(&values).view(shape.as_slice()));
        }
    });
}

/// A case of the first reference: `paper` with one switch or another.
fn paper_case(name: &str, change: impl Fn(&mut SifConfig)) {
    let params = read(&testkit::golden("tiny_sif_params.safetensors"));
    let ids = &read(&testkit::golden("tiny_towers.safetensors"))["input.ids"];
    let classes = (0..ids.size()[0])
        .map(|k| {
            let row = Vec::<i64>::try_from(ids.get(k)).unwrap();
            row[4..]
                .iter()
                .copied()
                .take_while(|&id| id != 269)
                .collect()
        })
        .collect();
    for text in every_path() {
        let mut config = tiny(Preset::Paper);
        change(&mut config);
        config.text = text;
        Case {
            config,
            clip: support::clip(&tiny_config(), Kind::Float),
            frames: params["input.image_embeds"].shallow_clone(),
            targets: params["input.labels"].shallow_clone(),
            classes: Vec::clone(&classes),
            expected: testkit::golden(&format!("tiny_sif_{name}.safetensors")),
            at: 0,
        }
        .run();
    }
}

/// A case of the extended reference, whose tensors lie beside its generator.
fn own_case(name: &str, config: SifConfig, at: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for text in every_path() {
        Case {
            config: SifConfig {
                text,
                ..config.clone()
            },
            clip: support::clip(&tiny_config(), Kind::Float),
            frames: stream("golden.frames", &[3, 8, 32], 1.0),
            targets: Tensor::from_slice(&[2i64, 0, 5]),
            classes: vec![
                vec![301],
                vec![302, 303],
                vec![304, 305, 306],
                vec![307],
                vec![308, 309, 310, 311],
                vec![312, 313],
                vec![314, 315, 316, 317, 318],
            ],
            expected: folder.join(format!("{name}.safetensors")),
            at,
        }
        .run();
    }
}

/// Every path whole, and the fastest one piece by piece.
fn every_path() -> Vec<TextEncoding> {
    let whole = |path| TextEncoding { path, chunk: 1024 };
    vec![
        whole(TextPath::Literal),
        whole(TextPath::CutAtEos),
        whole(TextPath::SharedPrefix),
        whole(TextPath::Packed),
        TextEncoding {
            path: TextPath::Packed,
            chunk: 5,
        },
    ]
}

#[test]
fn one_step() {
    paper_case("s1", |config| config.motion.max_step = 1);
}

#[test]
fn four_steps() {
    paper_case("s4", |_| {});
}

#[test]
fn parameter_free_communication() {
    paper_case("s4_mcbnone", |config| {
        config.communication.attention = Attention::ParameterFree;
    });
}

#[test]
fn no_communication() {
    paper_case("s4_mcboff", |config| {
        config.communication.attention = Attention::Off
    });
}

/// Without the statistics that the reference program lacks.
fn of_the_paper(mut config: SifConfig) -> SifConfig {
    config.tokens = clip_backbone::FrameTokens::Class;
    config.motion.time_statistics = false;
    config
}

#[test]
fn best_from_its_silent_start() {
    own_case("best", of_the_paper(tiny(Preset::Best)), 2);
}

#[test]
fn best_with_every_parameter_awake() {
    let mut config = of_the_paper(tiny(Preset::Best));
    config.motion.zero_init = false;
    config.communication.zero_init = false;
    config.prompts.adapter.zero_init = false;
    own_case("best_awake", config, 0);
}

#[test]
fn frames_as_keys_and_a_detached_adapter() {
    let mut config = tiny(Preset::Paper);
    config.motion.norm = NormOrder::Pre;
    config.motion.positions = true;
    config.prompts.adapter.detach = true;
    config.communication.sma_kv = SmaKeys::Frames;
    own_case("frames_detached", config, 0);
}

#[test]
fn two_layers_and_an_outer_residual() {
    let mut config = tiny(Preset::Paper);
    config.motion.activation = Activation::Gelu;
    config.motion.layers = 2;
    config.motion.outer_residual = true;
    config.communication.attention = Attention::ParameterFree;
    config.communication.sma_kv = SmaKeys::FramesAndMotion;
    config.temperature = Temperature::Fixed { tau: 0.07 };
    own_case("two_layers", config, 0);
}
