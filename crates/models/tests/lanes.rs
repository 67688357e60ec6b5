//! A batch in lanes is the same step, and the number of threads does not change a bit of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use models::{
    Alone, Clips, Lane, Lanes, Piece, Preset, SeeingInFlowing, SifConfig, Targets, VideoTextModel,
};
use support::{Table, stream, tiny_config};
use tch::{Kind, Tensor};

const CLIPS: i64 = 11;

fn model(dropout: f64) -> SeeingInFlowing {
    let mut config = SifConfig::preset(Preset::Best);
    (
        config.motion.heads,
        config.motion.ffn_dim,
        config.communication.heads,
    ) = (4, 64, 4);
    config.motion.dropout = dropout;
    tch::manual_seed(1);
    let clip = support::clip(&tiny_config(), Kind::Float);
    let model = SeeingInFlowing::new(&config, clip, Arc::new(Table::default())).unwrap();
    // Out of the zeros that parts of it start with, so that every parameter has a gradient.
    tch::no_grad(|| {
        for mut parameter in model.trained().variables().into_values() {
            let _ = parameter.g_add_(&(parameter.randn_like() * 0.05));
        }
    });
    model
}

fn labels() -> Vec<String> {
    ["wave", "ride bike", "climb", "shake hand", "sit"]
        .map(String::from)
        .to_vec()
}

fn features() -> Tensor {
    stream("frames", &[CLIPS, 8, 64], 1.0)
}

/// A batch in lanes of as many clips and micro-batches as they say.
fn lanes(sizes: &[&[i64]]) -> Lanes {
    let classes: Vec<i64> = (0..CLIPS).map(|clip| clip % 5).collect();
    let (features, classes) = (features(), Tensor::from_slice(&classes));
    let mut start = 0;
    let mut piece = |count: i64| {
        start += count;
        let cut = |x: &Tensor| x.narrow(0, start - count, count);
        Piece {
            clips: Clips::Features(cut(&features)),
            targets: Targets::classes(&cut(&classes)),
        }
    };
    let lane = |(number, sizes): (usize, &&[i64])| Lane {
        number,
        seed: (number > 0).then_some(40 + number as i64),
        pieces: sizes.iter().map(|count| piece(*count)).collect(),
    };
    Lanes {
        count: sizes.len(),
        own: sizes.iter().enumerate().map(lane).collect(),
        targets: Targets::classes(&classes),
        start: 0,
    }
}

/// The loss, the predictions and all gradients of one step, as numbers.
fn step(model: &SeeingInFlowing, sizes: &[&[i64]]) -> (f64, Vec<i64>, Vec<f32>) {
    let mut parameters: Vec<_> = model.trained().variables().into_iter().collect();
    parameters.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (_, parameter) in &mut parameters {
        parameter.zero_grad();
    }
    tch::manual_seed(3);
    let labels = labels();
    let classifier = model.bind(&labels).unwrap();
    let learned = classifier.learn_lanes(lanes(sizes), &Alone).unwrap();
    let flat: Vec<Tensor> = parameters
        .iter()
        .map(|(name, parameter)| {
            assert!(parameter.grad().defined(), "{name} has no gradient");
            parameter.grad().reshape([-1])
        })
        .collect();
    (
        learned.loss.double_value(&[]),
        Vec::try_from(learned.predicted).unwrap(),
        Vec::try_from(Tensor::cat(&flat, 0)).unwrap(),
    )
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn lanes_are_the_same_step_whatever_the_number_of_threads() {
    tch::set_num_threads(1);
    let model = model(0.0);
    let whole = step(&model, &[&[CLIPS]]);
    let most = whole.2.iter().fold(0f32, |most, x| most.max(x.abs()));
    assert!(most > 1e-3);
    let splits: [&[&[i64]]; 3] = [
        &[&[6], &[5]],
        &[&[3], &[3], &[3], &[2]],
        &[&[2, 4], &[4, 1]],
    ];
    for sizes in splits {
        let alone = step(&model, sizes);
        assert!((alone.0 - whole.0).abs() < 1e-6, "{sizes:?}");
        assert_eq!(alone.1, whole.1);
        for (one, other) in alone.2.iter().zip(&whole.2) {
            assert!(
                (one - other).abs() <= 1e-5 * most,
                "{sizes:?}: {one} {other}"
            );
        }
        for threads in [1, 2, 3] {
            parallel::use_threads(threads).unwrap();
            // Lanes of libtorch with several threads each round in another order.
            if threads <= sizes.len() {
                let again = step(&model, sizes);
                assert_eq!((again.0, &again.1), (alone.0, &alone.1));
                assert_eq!(
                    bits(&again.2),
                    bits(&alone.2),
                    "{sizes:?}, {threads} threads"
                );
            }
        }
        parallel::use_threads(1).unwrap();
    }
}

#[test]
fn dropout_draws_the_same_in_lanes_on_any_number_of_threads() {
    tch::set_num_threads(1);
    let model = model(0.3);
    let sizes: &[&[i64]] = &[&[6], &[5]];
    let first = step(&model, sizes);
    parallel::use_threads(2).unwrap();
    assert_eq!(step(&model, sizes), first);
    assert_ne!(step(&model, &[&[CLIPS]]).0, first.0);
}

#[test]
fn a_batch_scores_the_same_in_parts() {
    tch::set_num_threads(1);
    let model = model(0.0);
    let labels = labels();
    let score = || -> Vec<f32> {
        let clips = Clips::Features(features());
        let classifier = model.bind(&labels).unwrap();
        let scores = tch::no_grad(|| classifier.score(&clips)).unwrap();
        Vec::try_from(scores.logits.reshape([-1])).unwrap()
    };
    let whole = score();
    parallel::use_threads(1).unwrap();
    let parts = score();
    for (one, other) in whole.iter().zip(&parts) {
        assert!((one - other).abs() < 1e-4, "{one} {other}");
    }
    parallel::use_threads(2).unwrap();
    assert_eq!(bits(&score()), bits(&parts));
}
