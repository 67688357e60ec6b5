//! Both towers against tensors computed with Hugging Face's implementation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, HashMap};

use clip_backbone::Activation;
use clip_backbone::{ClipModel, Config, Error, NoHook, Usage};
use support::Generated;
use tch::{Device, Kind, Tensor};

fn read(file: &str) -> HashMap<String, Tensor> {
    Tensor::read_safetensors(testkit::golden(file))
        .unwrap()
        .into_iter()
        .collect()
}

fn tiny_config() -> Config {
    let mut config = Config::vit_b_16();
    config.joint_width = 32;
    let v = &mut config.vision;
    (v.image_size, v.width, v.layers, v.heads, v.mlp_width) = (64, 64, 4, 4, 256);
    let t = &mut config.text;
    (t.vocabulary, t.width, t.layers, t.heads, t.mlp_width) = (512, 64, 3, 4, 256);
    config
}

fn tiny(usage: Usage) -> ClipModel {
    let mut weights: BTreeMap<_, _> = read("tiny_clip.safetensors").into_iter().collect();
    ClipModel::new(
        &tiny_config(),
        &mut weights,
        usage,
        Device::Cpu,
        Kind::Float,
    )
    .unwrap()
}

fn pixels(name: &str, frames: i64, side: i64) -> Tensor {
    let values = testkit::formula::values(name, (frames * 3 * side * side) as usize, 0.0, 2.0);
    Tensor::from_slice(&values).view([frames, 3, side, side])
}

#[track_caller]
fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.size(), want.size(), "{what}");
    let gap = (got - want).abs().max().double_value(&[]);
    assert!(
        gap <= tolerance,
        "{what}: differs by {gap:e}, allowed {tolerance:e}"
    );
}

fn unit(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2, [-1], true)
}

#[test]
fn tiny_towers_match_layer_by_layer() {
    let golden = read("tiny_towers.safetensors");
    let _guard = tch::no_grad_guard();
    for usage in [Usage::Frozen, Usage::FineTuned] {
        let clip = tiny(usage);
        let frames = pixels("tiny.pixels", 24, 64);
        close(
            "pixels",
            &frames.narrow(0, 0, 2),
            &golden["input.pixels_first2"],
            0.0,
        );

        let vision = clip.vision.forward_literal(&frames).unwrap();
        let first = |x: &Tensor| x.narrow(0, 0, 2);
        close(
            "embeddings",
            &first(&vision.embeddings),
            &golden["vision.embeddings"],
            2e-5,
        );
        close(
            "ln_pre",
            &first(&vision.states[0]),
            &golden["vision.pre_ln"],
            2e-5,
        );
        for layer in 0..4 {
            let name = format!("vision.layer.{layer}");
            close(
                &name,
                &first(&vision.states[layer + 1]),
                &golden[&name],
                2e-5,
            );
        }
        close(
            "image",
            &vision.features,
            &golden["vision.image_embeds_raw"],
            2e-5,
        );
        let fast = clip.vision.forward(&frames).unwrap();
        close(
            "image, class token only",
            &fast,
            &golden["vision.image_embeds_raw"],
            2e-5,
        );
        close(
            "image, unit",
            &unit(&fast),
            &golden["vision.image_embeds_l2"],
            2e-5,
        );

        let ids = &golden["input.ids"];
        let text = clip.text.forward_literal(ids).unwrap();
        let head = |x: &Tensor| x.narrow(1, 0, 16);
        close(
            "text embeddings",
            &head(&text.states[0]),
            &golden["text.embeddings"],
            2e-5,
        );
        for layer in 0..3 {
            let name = format!("text.layer.{layer}");
            close(&name, &head(&text.states[layer + 1]), &golden[&name], 2e-5);
        }
        close(
            "text norm",
            &head(&text.normed),
            &golden["text.final_ln"],
            2e-5,
        );
        close(
            "text",
            &text.features,
            &golden["text.text_embeds_raw"],
            2e-5,
        );
        let cut = clip.text.forward(ids).unwrap();
        close("text, cut", &cut, &golden["text.text_embeds_raw"], 2e-5);

        let logits = unit(&fast).matmul(&unit(&cut).tr()) * clip.logit_scale().exp();
        close("logits", &logits, &golden["logits_per_image"], 1e-4);
    }
}

#[test]
fn b16_towers_match_with_generated_weights() {
    let golden = read("b16_towers.safetensors");
    let meta: serde_json::Value =
        serde_json::from_slice(&std::fs::read(testkit::golden("meta.json")).unwrap()).unwrap();
    let shapes: BTreeMap<String, Vec<i64>> =
        serde_json::from_value(meta["b16"]["parameters"].clone()).unwrap();
    let total: i64 = shapes
        .values()
        .map(|shape| shape.iter().product::<i64>())
        .sum();
    assert_eq!(total, 149_620_737);

    let _guard = tch::no_grad_guard();
    let load = |kind| {
        let mut weights = Generated(shapes.clone());
        let config = Config::vit_b_16();
        let clip = ClipModel::new(&config, &mut weights, Usage::Frozen, Device::Cpu, kind).unwrap();
        assert!(weights.0.is_empty(), "unused: {:?}", weights.0.keys());
        clip
    };
    let bf16 = load(Kind::BFloat16).vision;
    let bf16 = bf16.forward(&pixels("b16.pixels", 2, 224)).unwrap();
    let both = unit(&bf16.to_kind(Kind::Float)) * unit(&golden["vision.image_embeds_raw"]);
    let cosines = both.sum_dim_intlist(-1, false, Kind::Float);
    assert!(cosines.min().double_value(&[]) > 0.999, "{cosines:?}");

    let clip = load(Kind::Float);
    let vision = clip
        .vision
        .forward_literal(&pixels("b16.pixels", 2, 224))
        .unwrap();
    let text = clip.text.forward_literal(&golden["input.ids"]).unwrap();
    let corner = |x: &Tensor, token: i64| x.select(1, token).narrow(1, 0, 64);
    for token in [0, 4] {
        for layer in 0..12 {
            for (tower, states) in [("vision", &vision.states), ("text", &text.states)] {
                let name = format!("{tower}.layer.{layer}@tok{token}_first64");
                close(
                    &name,
                    &corner(&states[layer + 1], token),
                    &golden[&name],
                    1e-4,
                );
            }
        }
    }
    let fast = clip.vision.forward(&pixels("b16.pixels", 2, 224)).unwrap();
    close("image", &fast, &golden["vision.image_embeds_raw"], 1e-4);
    let cut = clip.text.forward(&golden["input.ids"]).unwrap();
    close("text", &cut, &golden["text.text_embeds_raw"], 1e-4);
    let logits = unit(&fast).matmul(&unit(&cut).tr()) * clip.logit_scale().exp();
    close("logits", &logits, &golden["logits_per_image"], 1e-3);
}

#[test]
fn a_fine_tuned_clip_learns_in_every_parameter() {
    let clip = tiny(Usage::FineTuned);
    let golden = read("tiny_towers.safetensors");
    let image = unit(&clip.vision.forward(&pixels("tiny.pixels", 7, 64)).unwrap());
    let text = unit(&clip.text.forward(&golden["input.ids"]).unwrap());
    let logits = image.matmul(&text.tr()) * clip.logit_scale().exp();
    let targets = Tensor::arange(7, (Kind::Int64, Device::Cpu));
    logits.cross_entropy_for_logits(&targets).backward();
    for (name, parameter) in clip.parameters() {
        let gradient = parameter.grad();
        assert!(gradient.defined(), "{name} has no gradient");
        assert!(
            gradient.abs().sum(Kind::Float).double_value(&[]) > 0.0,
            "{name}: zero"
        );
    }
}

#[test]
fn bf16_embeddings_stay_close_to_fp32() {
    let _guard = tch::no_grad_guard();
    let load = |kind| {
        let mut weights: BTreeMap<_, _> = read("tiny_clip.safetensors").into_iter().collect();
        ClipModel::new(
            &tiny_config(),
            &mut weights,
            Usage::Frozen,
            Device::Cpu,
            kind,
        )
        .unwrap()
    };
    let frames = pixels("tiny.pixels", 8, 64);
    let feature = |kind| {
        unit(
            &load(kind)
                .vision
                .forward(&frames)
                .unwrap()
                .to_kind(Kind::Float),
        )
    };
    let cosine = (feature(Kind::Float) * feature(Kind::BFloat16))
        .sum_dim_intlist(-1, false, Kind::Float)
        .min()
        .double_value(&[]);
    assert!(cosine > 0.999, "cosine {cosine}");
}

#[test]
fn wrong_inputs_are_refused_with_expected_and_got() {
    let clip = tiny(Usage::Frozen);
    let float = (Kind::Float, Device::Cpu);
    let int = (Kind::Int64, Device::Cpu);
    for shape in [
        vec![3, 64, 64],
        vec![1, 3, 63, 64],
        vec![0, 3, 64, 64],
        vec![1, 1, 64, 64],
    ] {
        let error = clip
            .vision
            .forward(&Tensor::zeros(&shape, float))
            .unwrap_err();
        assert!(
            matches!(&error, Error::Shape { got, .. } if *got == shape),
            "{error}"
        );
    }
    for shape in [vec![77], vec![1, 78], vec![0, 77]] {
        let error = clip.text.forward(&Tensor::zeros(&shape, int)).unwrap_err();
        assert!(
            matches!(&error, Error::Shape { got, .. } if *got == shape),
            "{error}"
        );
    }
    let error = clip
        .text
        .forward(&Tensor::full([1, 3], 512, int))
        .unwrap_err();
    assert!(error.to_string().contains("512"), "{error}");
    let embeddings = Tensor::zeros([2, 5, 64], float);
    for eos in [Tensor::from_slice(&[1i64]), Tensor::from_slice(&[1i64, 5])] {
        assert!(matches!(
            clip.text.forward_embeddings(&embeddings, &eos),
            Err(Error::Shape { .. })
        ));
    }
}

#[test]
fn a_missing_or_misshapen_parameter_is_named() {
    let name = "text_model.encoder.layers.1.self_attn.k_proj.bias";
    let build = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut weights: BTreeMap<_, _> = read("tiny_clip.safetensors").into_iter().collect();
        change(&mut weights);
        ClipModel::new(
            &tiny_config(),
            &mut weights,
            Usage::Frozen,
            Device::Cpu,
            Kind::Float,
        )
        .unwrap_err()
    };
    let missing = build(&|weights| drop(weights.remove(name)));
    assert!(matches!(&missing, Error::MissingParameter { name: n, .. } if n == name));
    let misshapen = build(&|weights| {
        weights.insert(name.into(), Tensor::zeros([63], (Kind::Float, Device::Cpu)));
    });
    assert!(matches!(&misshapen, Error::ParameterShape { name: n, .. } if n == name));
}

#[test]
fn a_hook_sees_every_block() {
    struct Counting(Vec<usize>);
    impl clip_backbone::BlockHook for Counting {
        fn before_block(&mut self, block: usize, tokens: Tensor) -> Tensor {
            self.0.push(block);
            tokens
        }
    }
    let _guard = tch::no_grad_guard();
    let clip = tiny(Usage::Frozen);
    let frames = pixels("tiny.pixels", 2, 64);
    let mut hook = Counting(Vec::new());
    let hooked = clip.vision.forward_hooked(&frames, &mut hook).unwrap();
    assert_eq!(hook.0, [0, 1, 2, 3]);
    close(
        "hooked",
        &hooked,
        &clip.vision.forward_hooked(&frames, &mut NoHook).unwrap(),
        0.0,
    );
}

#[test]
fn presets_have_the_published_sizes() {
    for config in [
        Config::vit_b_32(),
        Config::vit_b_16(),
        Config::vit_l_14(),
        Config::vit_l_14_336(),
    ] {
        config.check().unwrap();
    }
    let mut broken = Config::vit_b_16();
    broken.vision.heads = 7;
    broken.vision.activation = Activation::Gelu;
    assert!(matches!(broken.check(), Err(Error::Config { field, .. }) if field == "vision.heads"));
}
