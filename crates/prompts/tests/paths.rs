//! The four text paths give the same features and the same gradients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use clip_backbone::ClipModel;
use prompts::{ClassTokens, Error, TextEncoder, TextEncoding, TextPath};
use proptest::prelude::*;
use support::{clip, stream, tiny_config};
use tch::{Kind, Tensor};

const PATHS: [TextPath; 4] = [
    TextPath::Literal,
    TextPath::CutAtEos,
    TextPath::SharedPrefix,
    TextPath::Packed,
];

thread_local! {
    static CLIP: ClipModel = {
        let mut config = tiny_config();
        config.text.layers = 2;
        clip(&config, Kind::Float)
    };
}

fn classes(lengths: &[usize]) -> ClassTokens {
    let labels = lengths.iter().enumerate().map(|(class, &length)| {
        let ids = (0..length).map(|i| 300 + ((class * 31 + i * 7) % 200) as i64);
        (format!("class {class}"), ids.collect())
    });
    ClassTokens::from_ids(labels, 510, 269, 511).unwrap()
}

/// Features, and the gradient of a fixed function of them, at the prompts.
fn encode(
    clip: &ClipModel,
    lengths: &[usize],
    prompts: &Tensor,
    encoding: TextEncoding,
) -> (Tensor, Tensor) {
    let leaf = prompts.copy().set_requires_grad(true);
    let vectors = prompts.size()[prompts.dim() - 2];
    let encoder = TextEncoder::new(&clip.text, &classes(lengths), vectors, encoding).unwrap();
    // The prompts reach the loss by a second way, as a model's motion features do.
    let upstream = leaf.tanh() * 2.0;
    let text = encoder.encode(&clip.text, &upstream).unwrap();
    let features = text.features.shallow_clone();
    let weights = stream("weights", &features.size(), 1.0);
    let loss = (features.sin() * weights).sum(Kind::Float) + upstream.square().mean(Kind::Float);
    text.backward(&loss).unwrap();
    (features.detach(), leaf.grad())
}

#[track_caller]
fn same(what: &str, got: &Tensor, want: &Tensor) {
    let relative = support::gap(got, want) / want.abs().max().double_value(&[]).max(1e-12);
    assert!(relative <= 1e-5, "{what}: relative difference {relative:e}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn all_paths_agree_forward_and_backward(
        vectors in 1i64..=16,
        videos in 1i64..=3,
        shared in any::<bool>(),
        shape in proptest::collection::vec((0usize..5, 1usize..=73), 1..=7),
        chunk in 1usize..=24,
    ) {
        // Mostly short labels, now and then one as long as the context allows.
        let most = (74 - vectors) as usize;
        let lengths: Vec<usize> = shape
            .iter()
            .map(|&(which, length)| if which == 0 { length.min(most) } else { 1 + length % 5 })
            .collect();
        let size = if shared { vec![vectors, 64] } else { vec![videos, vectors, 64] };
        let prompts = stream("prompts", &size, 0.5);
        CLIP.with(|clip| {
            let whole = |path| encode(clip, &lengths, &prompts, TextEncoding { path, chunk: 1 << 20 });
            let (features, gradient) = whole(TextPath::Literal);
            for path in PATHS {
                let (f, g) = whole(path);
                same(&format!("{path:?} features"), &f, &features);
                same(&format!("{path:?} gradient"), &g, &gradient);
            }
            for path in [TextPath::CutAtEos, TextPath::Packed] {
                let (f, g) = encode(clip, &lengths, &prompts, TextEncoding { path, chunk });
                same(&format!("{path:?} features, chunks of {chunk}"), &f, &features);
                same(&format!("{path:?} gradient, chunks of {chunk}"), &g, &gradient);
            }
        });
    }
}

#[test]
fn a_label_that_is_too_long_is_cut_to_the_longest_that_fits() {
    CLIP.with(|clip| {
        for vectors in [1, 5, 16, 73] {
            let most = 74 - vectors;
            for path in PATHS {
                let encoding = TextEncoding {
                    path,
                    ..TextEncoding::default()
                };
                let encode = |length: i64| {
                    // All tokens differ, so that a cut in the wrong place would show.
                    let tokens = (0..length).map(|token| 300 + token).collect();
                    let two = [("long".to_owned(), tokens), ("x".to_owned(), vec![330])];
                    let classes = ClassTokens::from_ids(two, 510, 269, 511).unwrap();
                    let cut = classes.truncated(vectors, 77).unwrap();
                    assert_eq!(cut.is_empty(), length <= most);
                    let encoder = TextEncoder::new(&clip.text, &classes, vectors, encoding);
                    let prompts = stream("prompts", &[vectors, 64], 0.5);
                    let encoder = encoder.unwrap();
                    let text = encoder.encode(&clip.text, &prompts).unwrap();
                    text.features.shallow_clone()
                };
                assert_eq!(encode(most + 9), encode(most));
            }
        }
        let of = |rows: &[(&str, Vec<i64>)]| {
            let rows = rows
                .iter()
                .map(|(label, ids)| ((*label).to_owned(), ids.clone()));
            ClassTokens::from_ids(rows, 510, 269, 511)
                .unwrap()
                .truncated(72, 77)
        };
        let twins = of(&[
            ("x", vec![9]),
            ("left", vec![5, 6, 7]),
            ("right", vec![5, 6, 8]),
        ]);
        let error = twins.unwrap_err().to_string();
        assert!(error.contains("\"left\" and \"right\""), "{error}");
        assert!(of(&[("a", vec![5]), ("A", vec![5])]).unwrap().is_empty());
        let empty = of(&[("", vec![])]).unwrap_err();
        assert!(matches!(empty, Error::EmptyLabel { .. }));
    });
}

#[test]
fn the_chunk_recomputes_only_where_it_is_smaller_than_the_batch() {
    CLIP.with(|clip| {
        let prompts = stream("prompts", &[4, 3, 64], 0.5).set_requires_grad(true);
        let encoder = |chunk| {
            let encoding = TextEncoding {
                chunk,
                ..TextEncoding::default()
            };
            TextEncoder::new(&clip.text, &classes(&[1, 2, 3]), 3, encoding).unwrap()
        };
        assert!(
            !encoder(12)
                .encode(&clip.text, &prompts)
                .unwrap()
                .recomputes()
        );
        assert!(
            encoder(11)
                .encode(&clip.text, &prompts)
                .unwrap()
                .recomputes()
        );
        assert!(
            encoder(1)
                .encode(&clip.text, &prompts)
                .unwrap()
                .recomputes()
        );
        let still = prompts.detach();
        assert!(!encoder(1).encode(&clip.text, &still).unwrap().recomputes());
        let _guard = tch::no_grad_guard();
        assert!(
            !encoder(1)
                .encode(&clip.text, &prompts)
                .unwrap()
                .recomputes()
        );
    });
}

#[test]
fn halved_precisions_follow_fp32_in_features_and_gradients() {
    let mut config = tiny_config();
    config.text.layers = 2;
    let prompts = stream("prompts", &[2, 3, 64], 0.5);
    let lengths = [1, 4, 2, 2, 9];
    let run = |kind, path| {
        let encoding = TextEncoding {
            path,
            ..TextEncoding::default()
        };
        encode(&clip(&config, kind), &lengths, &prompts, encoding)
    };
    let (features, gradient) = run(Kind::Float, TextPath::Packed);
    for (kind, path) in [Kind::BFloat16, Kind::Half]
        .into_iter()
        .flat_map(|kind| PATHS.map(|path| (kind, path)))
    {
        let (f, g) = run(kind, path);
        assert_eq!((f.kind(), g.kind()), (Kind::Float, Kind::Float));
        for (got, want) in [(f, &features), (g, &gradient)] {
            let flat = |x: &Tensor| x.reshape([-1]);
            let cosine = flat(&got).dot(&flat(want)) / (got.norm() * want.norm());
            let cosine = cosine.double_value(&[]);
            assert!(cosine > 0.999, "{kind:?} {path:?}: {cosine}");
            let scale = (got.norm() / want.norm()).double_value(&[]);
            assert!((scale - 1.0).abs() < 0.02, "{kind:?} {path:?}: {scale}");
        }
    }
}

/// Where they are below the smallest number that fp16 has.
#[test]
fn small_gradients_pass_through_fp16() {
    let prompts = stream("prompts", &[2, 3, 64], 0.5);
    let gradient = |kind| {
        let clip = clip(&tiny_config(), kind);
        let leaf = prompts.copy().set_requires_grad(true);
        let encoder = TextEncoder::new(&clip.text, &classes(&[1, 4, 2]), 3, Default::default());
        let encoder = encoder.unwrap();
        let text = encoder.encode(&clip.text, &leaf).unwrap();
        let loss = (text.features.sin() * 1e-7).sum(Kind::Float);
        text.backward(&loss).unwrap();
        leaf.grad().reshape([-1]) * 1e7
    };
    let (got, want) = (gradient(Kind::Half), gradient(Kind::Float));
    let cosine = got.dot(&want) / (got.norm() * want.norm());
    assert!(cosine.double_value(&[]) > 0.999, "{cosine:?}");
}

#[test]
fn wrong_inputs_are_refused_with_expected_and_got() {
    CLIP.with(|clip| {
        let float = (Kind::Float, tch::Device::Cpu);
        let classes = classes(&[1, 2]);
        for vectors in [0, 74, -1] {
            let error = TextEncoder::new(&clip.text, &classes, vectors, TextEncoding::default())
                .unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Config {
                        field: "vectors",
                        ..
                    }
                ),
                "{error}"
            );
        }
        let nothing = TextEncoding {
            chunk: 0,
            ..TextEncoding::default()
        };
        let error = TextEncoder::new(&clip.text, &classes, 3, nothing).unwrap_err();
        assert!(
            matches!(error, Error::Config { field: "chunk", .. }),
            "{error}"
        );
        let none = Vec::<(String, Vec<i64>)>::new();
        assert!(matches!(
            ClassTokens::from_ids(none, 510, 269, 511),
            Err(Error::NoClasses)
        ));
        let unknown = ClassTokens::from_ids([("x".into(), vec![512])], 510, 269, 511).unwrap();
        let error = TextEncoder::new(&clip.text, &unknown, 3, TextEncoding::default()).unwrap_err();
        assert!(error.to_string().contains("512"), "{error}");

        let encoder = TextEncoder::new(&clip.text, &classes, 3, TextEncoding::default()).unwrap();
        for shape in [
            vec![3, 63],
            vec![2, 64],
            vec![0, 3, 64],
            vec![1, 4, 64],
            vec![64],
            vec![],
        ] {
            let error = encoder
                .encode(&clip.text, &Tensor::zeros(&shape, float))
                .unwrap_err();
            assert!(
                matches!(&error, Error::Shape { got, .. } if *got == shape),
                "{error}"
            );
        }
        let other = support::clip(&tiny_config(), Kind::BFloat16);
        let prompts = Tensor::zeros([3, 64], float);
        assert!(matches!(
            encoder.encode(&other.text, &prompts),
            Err(Error::Config { field: "tower", .. })
        ));
    });
}
