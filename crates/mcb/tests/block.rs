//! The block against its equations, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mcb::{Attention, Communicated, CommunicationBlock, Error, McbConfig, SmaKeys, VideoTokens};
use tch::{Device, Kind, Tensor, nn};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

struct Inputs {
    text: Tensor,
    vector: Tensor,
    frames: Tensor,
    motion: Tensor,
}

impl Inputs {
    fn new() -> Self {
        let random = |size: &[i64]| Tensor::randn(size, FLOAT);
        Self {
            text: random(&[2, 5, 16]),
            vector: random(&[2, 16]),
            frames: random(&[2, 8, 16]),
            motion: random(&[2, 22, 16]),
        }
    }

    fn video(&self) -> VideoTokens<'_> {
        VideoTokens {
            vector: &self.vector,
            frames: Some(&self.frames),
            motion: Some(&self.motion),
        }
    }
}

fn block(store: &nn::VarStore, config: McbConfig) -> CommunicationBlock {
    let config = McbConfig { heads: 4, ..config };
    CommunicationBlock::new(&store.root(), &config.check(16).unwrap()).unwrap()
}

fn run(config: McbConfig, inputs: &Inputs) -> Communicated {
    let store = nn::VarStore::new(Device::Cpu);
    block(&store, config)
        .forward(&inputs.text, &inputs.video())
        .unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn over_one_vector_every_class_receives_the_same() {
    let inputs = Inputs::new();
    let heard = run(McbConfig::paper(), &inputs).text - &inputs.text;
    assert!(gap(&heard, &heard.narrow(1, 0, 1).expand_as(&heard)) < 1e-5);
    assert!(heard.abs().max().double_value(&[]) > 1e-2);
    for sma_kv in [SmaKeys::Frames, SmaKeys::FramesAndMotion] {
        let heard = run(
            McbConfig {
                sma_kv,
                ..McbConfig::paper()
            },
            &inputs,
        )
        .text
            - &inputs.text;
        assert!(
            gap(&heard, &heard.narrow(1, 0, 1).expand_as(&heard)) > 1e-3,
            "{sma_kv:?}"
        );
    }
}

#[test]
fn a_silent_start_changes_nothing_yet_learns() {
    let inputs = Inputs::new();
    let store = nn::VarStore::new(Device::Cpu);
    let out = block(&store, McbConfig::best())
        .forward(&inputs.text, &inputs.video())
        .unwrap();
    assert_eq!(gap(&out.text, &inputs.text), 0.0);
    assert_eq!(gap(&out.video, &inputs.vector), 0.0);
    (out.text.square().mean(Kind::Float) + out.video.square().mean(Kind::Float)).backward();
    for (name, parameter) in store.variables() {
        if name.contains("out_proj") {
            assert!(
                parameter.grad().abs().max().double_value(&[]) > 0.0,
                "{name}"
            );
        }
    }
}

#[test]
fn off_is_the_identity_and_learns_nothing() {
    let inputs = Inputs::new();
    let store = nn::VarStore::new(Device::Cpu);
    let config = McbConfig {
        attention: Attention::Off,
        ..McbConfig::best()
    };
    let out = block(&store, config)
        .forward(&inputs.text, &inputs.video())
        .unwrap();
    assert!(store.is_empty());
    assert_eq!(
        gap(&out.text, &inputs.text) + gap(&out.video, &inputs.vector),
        0.0
    );
}

#[test]
fn parameter_free_attention_is_the_written_formula() {
    let inputs = Inputs::new();
    let config = McbConfig {
        attention: Attention::ParameterFree,
        sma_kv: SmaKeys::FramesAndMotion,
        ..McbConfig::paper()
    };
    let out = run(config, &inputs);
    let tokens = Tensor::cat(&[&inputs.frames, &inputs.motion], 1);
    let weights = (inputs.text.matmul(&tokens.transpose(1, 2)) / 4.0).softmax(-1, Kind::Float);
    assert!(gap(&out.text, &(&inputs.text + weights.matmul(&tokens))) < 1e-5);
    let v = inputs.vector.unsqueeze(1);
    let weights = (v.matmul(&inputs.text.transpose(1, 2)) / 4.0).softmax(-1, Kind::Float);
    assert!(
        gap(
            &out.video,
            &(v + weights.matmul(&inputs.text)).squeeze_dim(1)
        ) < 1e-5
    );
}

#[test]
fn scores_depend_on_the_candidate_classes() {
    let inputs = Inputs::new();
    let store = nn::VarStore::new(Device::Cpu);
    let block = block(&store, McbConfig::paper());
    let fewer = inputs.text.narrow(1, 0, 4);
    let all = block.forward(&inputs.text, &inputs.video()).unwrap();
    let some = block.forward(&fewer, &inputs.video()).unwrap();
    assert!(gap(&all.video, &some.video) > 1e-4);
    assert!(gap(&all.text.narrow(1, 0, 4), &some.text) < 1e-6);
}

#[test]
fn wrong_inputs_are_refused_with_expected_and_got() {
    for (width, heads) in [(16, 3), (16, 0), (0, 1)] {
        let config = McbConfig {
            heads,
            ..McbConfig::best()
        };
        assert!(matches!(config.check(width), Err(Error::Config { .. })));
    }
    let inputs = Inputs::new();
    let store = nn::VarStore::new(Device::Cpu);
    let block = block(&store, McbConfig::best());
    let zeros = |shape: &[i64]| Tensor::zeros(shape, FLOAT);
    for shape in [vec![5, 16], vec![2, 0, 16], vec![2, 5, 15], vec![0, 5, 16]] {
        let error = block.forward(&zeros(&shape), &inputs.video()).unwrap_err();
        assert!(
            matches!(&error, Error::Shape { got, .. } if *got == shape),
            "{error}"
        );
    }
    let bad = zeros(&[1, 8, 16]);
    let video = VideoTokens {
        frames: Some(&bad),
        ..inputs.video()
    };
    assert!(matches!(
        block.forward(&inputs.text, &video),
        Err(Error::Shape { .. })
    ));
    let bad = zeros(&[2, 15]);
    let video = VideoTokens {
        vector: &bad,
        ..inputs.video()
    };
    assert!(matches!(
        block.forward(&inputs.text, &video),
        Err(Error::Shape { .. })
    ));
    let video = VideoTokens {
        motion: None,
        ..inputs.video()
    };
    assert!(matches!(
        block.forward(&inputs.text, &video),
        Err(Error::MissingTokens {
            missing: "motion",
            ..
        })
    ));
}
