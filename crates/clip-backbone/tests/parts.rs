//! Towers in parts give the features of the whole batch.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use clip_backbone::Config;
use tch::{Kind, Tensor};

/// A small CLIP of the usual proportions.
fn small() -> Config {
    let mut config = Config::vit_b_16();
    let (image, text) = (&mut config.vision, &mut config.text);
    (image.image_size, image.width, image.layers) = (32, 64, 3);
    (image.heads, image.mlp_width) = (4, 128);
    (text.vocabulary, text.width, text.layers) = (512, 64, 3);
    (text.heads, text.mlp_width) = (4, 128);
    config.joint_width = 32;
    config
}

#[test]
fn towers_in_parts_are_the_towers_whatever_the_number_of_threads() {
    tch::set_num_threads(1);
    let config = small();
    let clip = support::clip(&config, Kind::Float);
    let pixels = testkit::formula::values("frames", 11 * 3 * 32 * 32, 0.0, 1.0);
    let frames = Tensor::from_slice(&pixels).view([11, 3, 32, 32]);
    let rows = (0..37i64).flat_map(|text| {
        let end = 2 + text as usize % 6;
        (0..9usize).map(move |place| match place == end {
            true => config.text.vocabulary - 1,
            false => (text * 13 + place as i64 * 7) % 200,
        })
    });
    let texts = Tensor::from_slice(&rows.collect::<Vec<_>>()).view([37, 9]);
    let towers = || {
        let _guard = tch::no_grad_guard();
        let image = clip.vision.forward(&frames).unwrap();
        (image, clip.text.forward(&texts).unwrap())
    };
    let whole = towers();
    let gap = |one: &Tensor, other: &Tensor| (one - other).abs().max().double_value(&[]);
    parallel::use_threads(1).unwrap();
    let parts = towers();
    assert!(gap(&parts.0, &whole.0) < 1e-5 && gap(&parts.1, &whole.1) < 1e-5);
    let literal = clip.vision.forward_literal(&frames).unwrap().features;
    assert!(gap(&parts.0, &literal) < 1e-4);
    for threads in [2, 3] {
        parallel::use_threads(threads).unwrap();
        let again = towers();
        assert!(
            again.0.equal(&parts.0) && again.1.equal(&parts.1),
            "{threads} threads"
        );
    }

    // Gradients pass as ever.
    let leaf = frames.set_requires_grad(true);
    clip.vision
        .forward(&leaf)
        .unwrap()
        .sum(Kind::Float)
        .backward();
    assert!(leaf.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0);
}
