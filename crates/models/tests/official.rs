//! Official ActionCLIP checkpoints, made by `official/make_official.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip_backbone::{ClipModel, Config, Usage};
use models::VideoTextModel as _;
use models::action_clip::{ActionClip, ActionClipConfig, Head, Official, VisualPrompt};
use support::Table;
use tch::{Device, Kind, Tensor};

const FILES: [(&str, Head, VisualPrompt); 5] = [
    ("mean", Head::Mean, VisualPrompt::PreNetwork),
    ("conv1d", Head::Conv1d, VisualPrompt::None),
    ("lstm", Head::Lstm, VisualPrompt::InNetwork),
    ("transformer", Head::Transformer, VisualPrompt::None),
    ("transformer_cls", Head::TransformerCls, VisualPrompt::None),
];

fn config() -> Config {
    let mut config = Config::vit_b_16();
    config.joint_width = 16;
    let v = &mut config.vision;
    (
        v.image_size,
        v.patch_size,
        v.width,
        v.layers,
        v.heads,
        v.mlp_width,
    ) = (16, 8, 16, 2, 2, 64);
    let t = &mut config.text;
    (t.vocabulary, t.width, t.layers, t.heads, t.mlp_width) = (64, 16, 2, 2, 64);
    config
}

fn unpacked(folder: &Path, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/official/{name}.pt.gz"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(from).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    let path = folder.join(format!("{name}.pt"));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The generator's tensor number `place`.
fn sequence(place: i64, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|i| ((place * 37 + i) % 512) as f32 / 64.0 - 4.0)
        .collect();
    Tensor::from_slice(&values).view(shape)
}

#[test]
fn every_parameter_of_every_head_finds_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for (name, head, visual_prompt) in FILES {
        let official = Official::read(&unpacked(folder.path(), name), &config()).unwrap();
        assert_eq!(
            (official.head, official.visual_prompt),
            (head, visual_prompt),
            "{name}"
        );
        let mut drawn = config()
            .parameters()
            .into_iter()
            .map(|(name, shape)| (name, Tensor::zeros(shape, (Kind::Float, Device::Cpu))))
            .collect::<std::collections::BTreeMap<_, _>>();
        let clip = ClipModel::new(
            &config(),
            &mut drawn,
            Usage::FineTuned,
            Device::Cpu,
            Kind::Float,
        );
        let model = ActionClip::new(
            &ActionClipConfig {
                frames: 4,
                head,
                visual_prompt,
                ..ActionClipConfig::published()
            },
            clip.unwrap(),
            Arc::new(Table::default()),
        );
        let own = model.unwrap().trained().variables();
        let names: Vec<&String> = official.parameters.keys().collect();
        let mut wanted: Vec<&String> = own.keys().collect();
        wanted.sort();
        assert_eq!(names, wanted, "{name}");
        for (parameter, tensor) in &own {
            let (found, own) = (official.parameters[parameter].size(), tensor.size());
            assert_eq!(found, own, "{name}: {parameter}");
        }
    }
}

#[test]
fn values_lie_where_the_file_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| {
        Official::read(&unpacked(folder.path(), name), &config())
            .unwrap()
            .parameters
    };
    // By the generator's order: positions, projection, scale, class, positions, projection.
    let conv1d = read("conv1d");
    for (name, place, shape, transposed) in [
        (
            "clip.text_model.embeddings.position_embedding.weight",
            0,
            &[77i64, 16][..],
            false,
        ),
        ("clip.text_projection.weight", 1, &[16, 16], true),
        ("clip.logit_scale", 2, &[], false),
        (
            "clip.vision_model.embeddings.class_embedding",
            3,
            &[16],
            false,
        ),
        ("clip.visual_projection.weight", 5, &[16, 16], true),
        (
            "clip.vision_model.embeddings.patch_embedding.weight",
            6,
            &[16, 192],
            false,
        ),
        // The first block of each tower, behind three norms: 7 to 12.
        (
            "clip.vision_model.encoder.layers.0.self_attn.qkv_proj.weight",
            13,
            &[48, 16],
            false,
        ),
        (
            "clip.text_model.encoder.layers.0.self_attn.qkv_proj.weight",
            25,
            &[48, 16],
            false,
        ),
    ] {
        let want = sequence(place, shape);
        let want = if transposed { want.tr() } else { want };
        assert_eq!(conv1d[name], want, "{name}");
    }
    // Two blocks of two towers and the token embedding later: positions that nothing reads,
    // and the convolution.
    assert_eq!(
        conv1d["shift.weight"],
        sequence(13 + 4 * 12 + 2, &[16, 1, 3])
    );
    // A shifted tower's blocks have another name and the same place.
    let lstm = read("lstm");
    let name = "clip.vision_model.encoder.layers.0.self_attn.qkv_proj.weight";
    assert_eq!(lstm[name], conv1d[name]);
    // An embedding of time behind the projection moves what follows by one.
    let mean = read("mean");
    assert_eq!(mean["temporal_embedding"], sequence(6, &[4, 16]));
    assert_eq!(mean[name], sequence(14, &[48, 16]));
}

#[test]
fn another_file_or_another_clip_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = unpacked(folder.path(), "transformer");
    let mut other = config();
    other.vision.layers = 3;
    let error = Official::read(&path, &other).unwrap_err().to_string();
    assert!(error.contains("resblocks.2"), "{error}");
    let plain = folder.path().join("plain.pt");
    std::fs::write(&plain, b"PK no zip").unwrap();
    assert!(Official::read(&plain, &config()).is_err());
    // A state dict alone is none of ActionCLIP's.
    let openai = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../clip-backbone/tests/checkpoints/openai_tiny.pt.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(openai).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    std::fs::write(&plain, bytes).unwrap();
    let error = Official::read(&plain, &config()).unwrap_err().to_string();
    assert!(error.contains("model_state_dict"), "{error}");
}
