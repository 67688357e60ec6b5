//! Each transform against a picture that Pillow made (`reference/transforms.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pixels::{Augment, ColourJitter, Filter, Geometry, MultiScale, Picture, Positions};
use pixels::{RandAugment, RandOp, Resizer, View, crop, flip};
use random::Stream;
use safetensors::SafeTensors;

struct Reference(Vec<u8>);

impl Reference {
    fn read() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/reference/transforms.safetensors"
        );
        Self(std::fs::read(path).unwrap())
    }

    fn picture(&self, name: &str) -> Picture {
        picture_of(&self.0, name)
    }
}

fn picture_of(file: &[u8], name: &str) -> Picture {
    let file = SafeTensors::deserialize(file).unwrap();
    let tensor = file.tensor(name).unwrap();
    let [height, width, 3] = *tensor.shape() else {
        panic!("{name}: {:?}", tensor.shape())
    };
    Picture::new(width, height, tensor.data().to_vec()).unwrap()
}

/// Largest and mean difference.
fn difference(a: &Picture, b: &Picture) -> (u8, f64) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let differences = a.rgb().iter().zip(b.rgb()).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = differences.clone().map(f64::from).sum();
    (differences.max().unwrap(), sum / a.rgb().len() as f64)
}

fn assert_equal(name: &str, ours: &Picture, theirs: &Picture, most: u8) {
    let (max, mean) = difference(ours, theirs);
    assert!(
        max <= most,
        "{name}: differs by up to {max} levels, {mean:.3} in the mean"
    );
}

#[test]
fn colours_are_pillows_level_for_level() {
    let reference = Reference::read();
    type Op = fn(&mut Picture);
    let ops: [(&str, Op); 20] = [
        ("brightness_low", |p| pixels::brightness(p, 0.6)),
        ("brightness_high", |p| pixels::brightness(p, 1.4)),
        ("brightness_none", |p| pixels::brightness(p, 0.0)),
        ("contrast_low", |p| pixels::blend_contrast(p, 0.6)),
        ("contrast_high", |p| pixels::blend_contrast(p, 1.4)),
        ("contrast_none", |p| pixels::blend_contrast(p, 0.0)),
        ("saturation_low", |p| pixels::saturation(p, 0.6)),
        ("saturation_high", |p| pixels::saturation(p, 1.4)),
        ("saturation_none", |p| pixels::saturation(p, 0.0)),
        ("sharpness_low", |p| pixels::sharpness(p, 0.6)),
        ("sharpness_high", |p| pixels::sharpness(p, 1.4)),
        ("sharpness_none", |p| pixels::sharpness(p, 0.0)),
        ("hue_plus", |p| pixels::hue(p, 0.1)),
        ("hue_minus", |p| pixels::hue(p, -0.07)),
        ("grey", pixels::grey),
        ("posterize_4", |p| pixels::posterize(p, 4)),
        ("posterize_7", |p| pixels::posterize(p, 7)),
        ("solarize", |p| pixels::solarize(p, 178.5)),
        ("autocontrast", pixels::autocontrast),
        ("equalize", pixels::equalize),
    ];
    for (name, op) in ops {
        let mut ours = reference.picture("input");
        op(&mut ours);
        assert_ne!(ours, reference.picture("input"), "{name} did nothing");
        assert_equal(name, &ours, &reference.picture(name), 0);
    }
}

#[test]
fn shapes_are_pillows_pixel_for_pixel() {
    let reference = Reference::read();
    type Op = fn(&mut Picture);
    let ops: [(&str, Op); 7] = [
        ("flip", flip),
        ("shear_x", |p| pixels::shear_x(p, 0.09)),
        ("shear_y", |p| pixels::shear_y(p, -0.21)),
        ("translate_x", |p| pixels::translate(p, 7, 0)),
        ("translate_y", |p| pixels::translate(p, 0, -5)),
        ("rotate", |p| pixels::rotate(p, 9.0)),
        ("rotate_back", |p| pixels::rotate(p, -24.0)),
    ];
    for (name, op) in ops {
        let mut ours = reference.picture("input");
        op(&mut ours);
        assert_equal(name, &ours, &reference.picture(name), 0);
    }
}

#[test]
fn views_are_within_two_levels_of_pillow() {
    let reference = Reference::read();
    let resizer = &mut Resizer::new();
    let input = reference.picture("input");
    for (name, size, place, of) in [
        ("view_left", 32, 0, 3),
        ("view_centre", 32, 1, 3),
        ("view_centre", 32, 0, 1),
        ("view_right", 32, 2, 3),
        ("view_large", 96, 0, 1),
    ] {
        let geometry = Geometry::openai(size);
        let ours = geometry.view(resizer, &input, View { place, of }).unwrap();
        assert_equal(name, &ours, &reference.picture(name), 2);
    }
    let tall = reference.picture("tall");
    let bottom = View { place: 2, of: 3 };
    let bottom = Geometry::openai(32).view(resizer, &tall, bottom).unwrap();
    assert_equal("view_bottom", &bottom, &reference.picture("view_bottom"), 2);
    let part = crop(&input, 22, 10, 30, 30).unwrap();
    let ours = resizer.resize(&part, [24, 24], Filter::Bicubic).unwrap();
    assert_equal("crop_resized", &ours, &reference.picture("crop_resized"), 2);
}

#[test]
fn the_centre_view_is_within_two_levels_of_the_golden_picture() {
    let file = std::fs::read(testkit::golden("preprocess.safetensors")).unwrap();
    let input = picture_of(&file, "input_rgb_u8_240x320");
    let ours = Geometry::openai(224)
        .view(&mut Resizer::new(), &input, View::CENTRE)
        .unwrap();
    assert_equal("golden", &ours, &picture_of(&file, "pil_bicubic_u8"), 2);
    // The check can tell: another cubic is far off.
    assert!(difference(&ours, &picture_of(&file, "cv2_cubic_u8")).0 > 5);
}

fn noisy(width: usize, height: usize) -> Picture {
    let mut stream = Stream::new(1, &["noise"]);
    let rgb = (0..width * height * 3)
        .map(|_| stream.next_u64() as u8)
        .collect();
    Picture::new(width, height, rgb).unwrap()
}

fn everything() -> Augment {
    Augment {
        multi_scale: Some(MultiScale {
            positions: Positions::Thirteen,
            ..MultiScale::default()
        }),
        flip: 0.5,
        jitter: Some(ColourJitter::default()),
        grey: 0.2,
        rand_augment: Some(RandAugment {
            ops: 2,
            magnitude: 9,
        }),
        each_frame: false,
    }
}

#[test]
fn one_draw_treats_all_frames_alike_and_seeds_repeat() {
    let augment = everything();
    augment.check().unwrap();
    let picture = noisy(80, 60);
    let geometry = Geometry::openai(48);
    let resizer = &mut Resizer::new();
    let mut distinct = std::collections::HashSet::new();
    for seed in 0..40 {
        let draw = augment.draw(&mut Stream::new(seed, &[]));
        assert_eq!(draw, augment.draw(&mut Stream::new(seed, &[])));
        let first = draw.apply(resizer, &picture, &geometry).unwrap();
        assert_eq!(first, draw.apply(resizer, &picture, &geometry).unwrap());
        assert_eq!((first.width(), first.height()), (48, 48));
        distinct.insert(first.into_rgb());
    }
    assert!(distinct.len() > 35, "{}", distinct.len());
}

#[test]
fn without_anything_random_training_sees_the_centre_view() {
    let plain = Augment {
        multi_scale: None,
        flip: 0.0,
        ..Augment::default()
    };
    let picture = noisy(80, 60);
    let geometry = Geometry::openai(48);
    let resizer = &mut Resizer::new();
    let ours = plain
        .draw(&mut Stream::new(0, &[]))
        .apply(resizer, &picture, &geometry)
        .unwrap();
    assert_eq!(
        ours,
        geometry.view(resizer, &picture, View::CENTRE).unwrap()
    );
}

#[test]
fn strips_are_resized_where_they_are_seen() {
    // Whole, these would have 336,000 x 224 pixels.
    let geometry = Geometry::openai(224);
    for (width, height) in [(3000, 2), (2, 3000), (65_535, 1), (1, 65_535)] {
        let middle = |at: usize, side: usize| side > 2 && at.abs_diff(side / 2) < 400;
        let rgb = (0..width * height).flat_map(|i| {
            let seen = middle(i % width, width) || middle(i / width, height);
            [if seen { 200 } else { 9 }; 3]
        });
        let strip = Picture::new(width, height, rgb.collect()).unwrap();
        for mut resizer in [Resizer::new(), Resizer::plain()] {
            let view = geometry.view(&mut resizer, &strip, View::CENTRE).unwrap();
            assert!(view.rgb().iter().all(|byte| byte.abs_diff(200) <= 2));
        }
    }
}

#[test]
fn tiny_pictures_survive_every_operation() {
    for (width, height) in [(1, 1), (2, 1), (1, 3), (3, 3), (2, 5)] {
        for op in [
            RandOp::ShearX(0.3),
            RandOp::Rotate(30.0),
            RandOp::Sharpness(1.9),
            RandOp::Equalize,
            RandOp::AutoContrast,
            RandOp::TranslateX(0.5),
            RandOp::Contrast(0.1),
        ] {
            op.apply(&mut noisy(width, height));
        }
        let draw = everything().draw(&mut Stream::new(3, &[]));
        let out = draw
            .apply(
                &mut Resizer::new(),
                &noisy(width, height),
                &Geometry::openai(48),
            )
            .unwrap();
        assert_eq!(out.rgb().len(), 48 * 48 * 3);
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let bad = [
        Augment {
            flip: 1.5,
            ..everything()
        },
        Augment {
            grey: f64::NAN,
            ..everything()
        },
        Augment {
            jitter: Some(ColourJitter {
                hue: 0.6,
                ..ColourJitter::default()
            }),
            ..everything()
        },
        Augment {
            multi_scale: Some(MultiScale {
                scales: vec![],
                ..MultiScale::default()
            }),
            ..everything()
        },
        Augment {
            multi_scale: Some(MultiScale {
                scales: vec![1.0, 0.0],
                ..MultiScale::default()
            }),
            ..everything()
        },
        Augment {
            rand_augment: Some(RandAugment {
                ops: 2,
                magnitude: 31,
            }),
            ..everything()
        },
    ];
    let names = ["flip", "grey", "hue", "scales", "scales", "magnitude"];
    for (augment, name) in bad.iter().zip(names) {
        let error = augment.check().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(crop(&noisy(4, 4), 2, 0, 3, 1).is_err());
    assert!(crop(&noisy(4, 4), usize::MAX, 0, 3, 1).is_err());
    assert!(crop(&noisy(4, 4), 0, 0, 0, 1).is_err());
    assert!(Picture::new(2, 2, vec![0; 11]).is_err());
    assert!(Picture::new(0, 2, vec![]).is_err());
    assert!(
        Resizer::new()
            .resize(&noisy(4, 4), [0, 3], Filter::Bicubic)
            .is_err()
    );
    assert!(
        Resizer::new()
            .resize(&noisy(4, 4), [1 << 20, 3], Filter::Bicubic)
            .is_err()
    );
}
