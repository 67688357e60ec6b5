//! The block's switches, its symmetries, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use motion::{
    Activation, DifferenceSet, Error, MotionConfig, MotionFeatures, MotionModellingBlock,
    NormOrder, TimeStatistics,
};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor, nn};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn small(config: MotionConfig) -> MotionConfig {
    MotionConfig {
        heads: 2,
        ffn_dim: 24,
        ..config
    }
}

fn run(config: &MotionConfig, frames: &Tensor) -> MotionFeatures {
    tch::manual_seed(7);
    let store = nn::VarStore::new(Device::Cpu);
    let size = frames.size();
    let checked = config.check(size[1], size[2]).unwrap();
    let block = MotionModellingBlock::new(&store.root(), &checked).unwrap();
    block.forward(frames, false).unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

proptest! {
    #[test]
    fn every_pair_at_most_s_apart_is_there_once_gap_major(frames in 2i64..20, step in 1i64..19) {
        prop_assume!(step < frames);
        let set = DifferenceSet::new(frames, step).unwrap();
        // Frame t holds t and t², so a difference tells both of its frames.
        let t = Tensor::arange(frames, FLOAT);
        let values = Tensor::stack(&[&t, &(&t * &t)], 1).unsqueeze(0); // (1, T, 2)
        let differences = set.forward(&values).unwrap();
        prop_assert_eq!(differences.size(), vec![1, set.count(), 2]);
        let mut row = 0;
        for gap in 1..=step {
            for start in 0..frames - gap {
                let end = start + gap;
                prop_assert_eq!(differences.double_value(&[0, row, 0]), gap as f64);
                prop_assert_eq!(
                    differences.double_value(&[0, row, 1]),
                    (end * end - start * start) as f64
                );
                row += 1;
            }
        }
        prop_assert_eq!(row, set.count());
        prop_assert_eq!(set.pairs().count() as i64, set.count());
    }
}

#[test]
fn without_positions_the_spatial_stream_sees_no_order_and_motion_sees_signs() {
    let frames = Tensor::randn([2, 6, 16], FLOAT);
    let reversed = frames.flip([1]);
    let (a, b) = (
        run(&small(MotionConfig::paper()), &frames),
        run(&small(MotionConfig::paper()), &reversed),
    );
    assert!(gap(&a.spatial, &b.spatial.flip([1])) < 1e-5);
    let pooled = |out: &MotionFeatures| out.motion.as_ref().unwrap().pooled.shallow_clone();
    assert!(gap(&pooled(&a), &pooled(&b)) > 1e-3);

    let config = MotionConfig {
        positions: true,
        ..small(MotionConfig::paper())
    };
    let (a, b) = (run(&config, &frames), run(&config, &reversed));
    assert!(gap(&a.spatial, &b.spatial.flip([1])) > 1e-4);
}

#[test]
fn best_starts_as_the_mean_of_the_frames() {
    let frames = Tensor::randn([3, 8, 16], FLOAT);
    let out = run(&small(MotionConfig::best()), &frames);
    assert!(gap(&out.video, &frames.mean_dim(1, false, Kind::Float)) < 1e-6);
    // Yet the streams themselves are awake.
    assert!(out.motion.unwrap().states.abs().max().double_value(&[]) > 0.1);
}

#[test]
fn the_spatial_stream_of_best_starts_as_the_frames_with_their_positions() {
    let frames = Tensor::randn([1, 8, 16], FLOAT);
    let zeros = Tensor::zeros([1, 8, 16], FLOAT);
    let config = small(MotionConfig::best());
    let store = nn::VarStore::new(Device::Cpu);
    let block = MotionModellingBlock::new(&store.root(), &config.check(8, 16).unwrap()).unwrap();
    let spatial = |frames: &Tensor| block.forward(frames, false).unwrap().spatial;
    assert!(gap(&(spatial(&frames) - spatial(&zeros)), &frames) < 1e-6);
}

#[test]
fn a_residual_takes_first_values_where_there_is_one() {
    let frames = Tensor::randn([3, 8, 32], FLOAT);
    let (weight, bias) = (Tensor::randn([16, 16], FLOAT), Tensor::randn([16], FLOAT));
    let start = |config: MotionConfig, moving: Option<&Tensor>, time: Option<&Tensor>, further| {
        let store = nn::VarStore::new(Device::Cpu);
        let checked = small(config).check(8, 16).unwrap();
        let checked = checked.with_further_features(further).unwrap();
        let block = MotionModellingBlock::new(&store.root(), &checked).unwrap();
        block.start_residual(&weight, &bias, moving, time)?;
        let width = checked.frame_width();
        block.forward(&frames.narrow(2, 0, width), false)
    };
    let mean = |x: &Tensor| x.mean_dim(1, false, Kind::Float);
    let (own, moving) = (frames.narrow(2, 0, 16), frames.narrow(2, 16, 16));
    let over_time = Tensor::randn([16, 48], FLOAT);
    let out = start(MotionConfig::best(), Some(&weight), Some(&over_time), 1).unwrap();
    let statistics = TimeStatistics::new(8).forward(&own).flatten(1, 2);
    let expected = mean(&own)
        + (mean(&out.spatial) + mean(&moving)).matmul(&weight.tr())
        + statistics.matmul(&over_time.tr())
        + &bias;
    assert!(gap(&out.video, &expected) < 1e-4);

    let baseline = MotionConfig {
        motion_stream: false,
        ..MotionConfig::best()
    };
    for (config, moving, time, missing) in [
        (MotionConfig::paper(), None, None, "outer_residual"),
        (baseline, None, Some(&over_time), "time_statistics"),
        (MotionConfig::best(), Some(&weight), None, "frames"),
    ] {
        let refused = start(config, moving, time, 0);
        let named =
            matches!(&refused, Err(motion::Error::Config { field, .. }) if *field == missing);
        assert!(named, "{missing}: {:?}", refused.err());
    }
}

#[test]
fn the_baseline_has_no_motion_stream() {
    let config = MotionConfig {
        motion_stream: false,
        // Of no meaning here, and so not refused.
        max_step: 99,
        ..small(MotionConfig::paper())
    };
    let frames = Tensor::randn([2, 8, 16], FLOAT);
    let out = run(&config, &frames);
    assert!(out.motion.is_none());
    assert!(gap(&out.video, &out.spatial.mean_dim(1, false, Kind::Float)) < 1e-6);
}

#[test]
fn dropout_acts_in_training_only() {
    let store = nn::VarStore::new(Device::Cpu);
    let config = MotionConfig {
        dropout: 0.5,
        ..small(MotionConfig::paper())
    };
    let block = MotionModellingBlock::new(&store.root(), &config.check(8, 16).unwrap()).unwrap();
    let frames = Tensor::randn([2, 8, 16], FLOAT);
    let video = |train| block.forward(&frames, train).unwrap().video;
    assert!(gap(&video(false), &video(false)) == 0.0);
    assert!(gap(&video(true), &video(true)) > 1e-3);
}

#[test]
fn every_switch_has_gradients_everywhere() {
    for (layers, norm, activation) in [
        (1, NormOrder::Post, Activation::Relu),
        (2, NormOrder::Pre, Activation::Gelu),
        (3, NormOrder::Pre, Activation::QuickGelu),
    ] {
        let config = MotionConfig {
            layers,
            norm,
            activation,
            dropout: 0.1,
            zero_init: false,
            spatial_identity: false,
            ..small(MotionConfig::best())
        };
        let store = nn::VarStore::new(Device::Cpu);
        let block =
            MotionModellingBlock::new(&store.root(), &config.check(5, 16).unwrap()).unwrap();
        let out = block
            .forward(&Tensor::randn([2, 5, 16], FLOAT), true)
            .unwrap();
        (out.video * Tensor::randn([2, 16], FLOAT))
            .sum(Kind::Float)
            .backward();
        for (name, parameter) in store.variables() {
            assert!(parameter.grad().defined(), "{name}");
            assert!(
                parameter.grad().abs().max().double_value(&[]) > 0.0,
                "{name}"
            );
        }
    }
}

#[test]
fn bf16_features_are_taken() {
    let frames = Tensor::randn([1, 8, 16], FLOAT).to_kind(Kind::BFloat16);
    assert_eq!(
        run(&small(MotionConfig::best()), &frames).video.kind(),
        Kind::Float
    );
}

#[test]
fn wrong_configurations_are_refused() {
    let refused = |field: &str, config: MotionConfig, frames: i64, width: i64| {
        let error = config.check(frames, width).unwrap_err();
        assert!(
            matches!(&error, Error::Config { field: f, .. } if *f == field),
            "{error}"
        );
    };
    let best = MotionConfig::best;
    refused("max_step", best(), 4, 512);
    refused(
        "max_step",
        MotionConfig {
            max_step: 0,
            ..best()
        },
        8,
        512,
    );
    refused("frames", best(), 0, 512);
    refused("width", best(), 8, -1);
    refused("heads", best(), 8, 511);
    refused("heads", MotionConfig { heads: 0, ..best() }, 8, 512);
    refused(
        "ffn_dim",
        MotionConfig {
            ffn_dim: 0,
            ..best()
        },
        8,
        512,
    );
    refused(
        "layers",
        MotionConfig {
            layers: 0,
            ..best()
        },
        8,
        512,
    );
    for dropout in [f64::NAN, 1.0, -0.1, f64::INFINITY] {
        refused("dropout", MotionConfig { dropout, ..best() }, 8, 512);
    }
    assert!(matches!(
        DifferenceSet::new(8, 8),
        Err(Error::Config {
            field: "max_step",
            ..
        })
    ));
    assert!(matches!(
        DifferenceSet::new(1, 1),
        Err(Error::Config {
            field: "frames",
            ..
        })
    ));
}

#[test]
fn wrong_shapes_are_refused_with_expected_and_got() {
    let store = nn::VarStore::new(Device::Cpu);
    let checked = small(MotionConfig::best()).check(8, 16).unwrap();
    let block = MotionModellingBlock::new(&store.root(), &checked).unwrap();
    for shape in [
        vec![8, 16],
        vec![1, 7, 16],
        vec![1, 8, 15],
        vec![0, 8, 16],
        vec![],
    ] {
        let error = block
            .forward(&Tensor::zeros(&shape, FLOAT), false)
            .unwrap_err();
        assert!(
            matches!(&error, Error::Shape { got, .. } if *got == shape),
            "{error}"
        );
    }
}

#[test]
fn configurations_round_trip_and_unknown_keys_are_errors() {
    for config in [MotionConfig::paper(), MotionConfig::best()] {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<MotionConfig>(&text).unwrap(), config);
        assert!(toml::from_str::<MotionConfig>(&format!("{text}\nlength = 3")).is_err());
    }
}
