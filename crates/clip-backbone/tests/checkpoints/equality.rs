//! The same tiny CLIP in every layout gives the same embeddings, bit for bit.
//!
//! Those of the Python libraries were written with them, by `make_layouts.py`: `layouts.zip`
//! holds folders of transformers and `open_clip`, `openai_tiny.pt.gz` is openai-clip's own
//! model, traced and saved by torch, less its program text. The other way was checked by hand:
//! what these tests write (kept with `SIF_KEEP_LAYOUTS=FOLDER`) loads there without a missing
//! or unexpected key and with equal outputs (`make_layouts.py --read FOLDER`).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::writers::{
    HUGGING_FACE_CONFIG, OPEN_CLIP_CONFIG, Object, Weights, config, embeddings, in_kind,
    openai_names, reference, state_dict, weights, write_safetensors, write_torch_save,
};
use clip_backbone::pixels::{Filter, Resize};
use clip_backbone::weights::TorchFile;
use clip_backbone::weights::pickle::Form;
use clip_backbone::{Checkpoint, ClipModel, Usage};
use tch::{Device, Kind, Tensor};

pub(crate) fn load(checkpoint: &Checkpoint) -> ClipModel {
    checkpoint
        .load(Usage::Frozen, Device::Cpu, Kind::Float)
        .unwrap()
}

#[track_caller]
pub(crate) fn same(what: &str, clip: &ClipModel) {
    let (image, text) = embeddings(&reference(&config()));
    let (other_image, other_text) = embeddings(clip);
    assert_eq!(image, other_image, "{what}");
    assert_eq!(text, other_text, "{what}");
    let scale = clip.logit_scale().double_value(&[]);
    assert!((scale - 2.6875).abs() < 1e-6, "{what}: {scale}");
}

/// A folder of its own, kept where `SIF_KEEP_LAYOUTS` names one.
fn folder(root: &Path, name: &str) -> PathBuf {
    let folder = root.join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// OpenAI's archive, unpacked.
fn openai_archive(root: &Path) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/openai_tiny.pt.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(packed).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    let path = root.join("ViT-tiny.pt");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn every_layout_gives_the_same_embeddings() {
    let scratch = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("SIF_KEEP_LAYOUTS").map(PathBuf::from);
    let root = kept.as_deref().unwrap_or(scratch.path());
    let hugging_face = weights(&config());
    let openai = openai_names(&hugging_face);

    let place = folder(root, "hugging_face");
    fs::write(place.join("config.json"), HUGGING_FACE_CONFIG).unwrap();
    write_safetensors(&place.join("model.safetensors"), &hugging_face);
    same("Hugging Face", &load(&Checkpoint::open(&place).unwrap()));

    let place = folder(root, "hugging_face_bin");
    fs::write(place.join("config.json"), HUGGING_FACE_CONFIG).unwrap();
    write_torch_save(&place.join("pytorch_model.bin"), &state_dict(&hugging_face));
    same(
        "Hugging Face, bin",
        &load(&Checkpoint::open(&place).unwrap()),
    );

    let place = folder(root, "hugging_face_shards");
    fs::write(place.join("config.json"), HUGGING_FACE_CONFIG).unwrap();
    let (mut first, mut second) = (Weights::new(), Weights::new());
    let mut map = serde_json::Map::new();
    for (index, (name, tensor)) in hugging_face.iter().enumerate() {
        let (shard, file) = match index % 2 {
            0 => (&mut first, "model-00001-of-00002.safetensors"),
            _ => (&mut second, "model-00002-of-00002.safetensors"),
        };
        shard.insert(name.clone(), tensor.shallow_clone());
        map.insert(name.clone(), file.into());
    }
    write_safetensors(&place.join("model-00001-of-00002.safetensors"), &first);
    write_safetensors(&place.join("model-00002-of-00002.safetensors"), &second);
    let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
    fs::write(
        place.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    same(
        "Hugging Face, shards",
        &load(&Checkpoint::open(&place).unwrap()),
    );

    let place = folder(root, "open_clip");
    fs::write(place.join("open_clip_config.json"), OPEN_CLIP_CONFIG).unwrap();
    write_safetensors(&place.join("open_clip_model.safetensors"), &openai);
    let checkpoint = Checkpoint::open(&place).unwrap();
    same("open_clip", &load(&checkpoint));
    let preprocess = checkpoint.preprocess();
    assert_eq!((preprocess.mean, preprocess.std), ([0.5; 3], [0.25; 3]));
    assert_eq!(preprocess.geometry.filter, Filter::Bilinear);
    assert_eq!(preprocess.geometry.resize, Resize::Squash);

    let place = folder(root, "open_clip_bin");
    fs::write(place.join("open_clip_config.json"), OPEN_CLIP_CONFIG).unwrap();
    write_torch_save(
        &place.join("open_clip_pytorch_model.bin"),
        &state_dict(&openai),
    );
    same("open_clip, bin", &load(&Checkpoint::open(&place).unwrap()));

    // open_clip's CustomTextCLIP keeps the text tower below `text.`.
    let custom: Weights = openai
        .iter()
        .map(|(name, tensor)| {
            let own = name.starts_with("visual.") || name == "logit_scale";
            let name = if own {
                name.clone()
            } else {
                format!("text.{name}")
            };
            (name, tensor.shallow_clone())
        })
        .collect();
    let bare = write_safetensors(&scratch.path().join("custom.safetensors"), &custom);
    let checkpoint = Checkpoint::open_with_config(&bare, &config()).unwrap();
    same("open_clip, custom text", &load(&checkpoint));

    for (what, weights) in [("bare", &hugging_face), ("bare, OpenAI's names", &openai)] {
        let bare = write_safetensors(&scratch.path().join("bare.safetensors"), weights);
        let checkpoint = Checkpoint::open_with_config(&bare, &config()).unwrap();
        same(what, &load(&checkpoint));
        assert!(Checkpoint::open(&bare).is_err(), "{what}: no preset");
    }
}

#[test]
fn openais_archive_gives_the_same_embeddings() {
    let scratch = tempfile::tempdir().unwrap();
    let path = openai_archive(scratch.path());
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(*checkpoint.config(), config());
    same("OpenAI", &load(&checkpoint));
    assert!(TorchFile::open(&path).unwrap().is_scripted());
}

#[test]
fn halves_are_widened_exactly() {
    let scratch = tempfile::tempdir().unwrap();
    for kind in [Kind::Half, Kind::BFloat16] {
        let narrow = in_kind(&weights(&config()), kind);
        let path = write_safetensors(&scratch.path().join("narrow.safetensors"), &narrow);
        let clip = load(&Checkpoint::open_with_config(&path, &config()).unwrap());
        same(&format!("{kind:?}"), &clip);
        let path = write_torch_save(&scratch.path().join("narrow.bin"), &state_dict(&narrow));
        let clip = load(&Checkpoint::open_with_config(&path, &config()).unwrap());
        same(&format!("{kind:?} pickled"), &clip);
    }
}

#[test]
fn a_training_checkpoint_is_found_inside_and_read_as_plain_values() {
    let scratch = tempfile::tempdir().unwrap();
    let wrapped: Weights = openai_names(&weights(&config()))
        .into_iter()
        .map(|(name, tensor)| (format!("module.{name}"), tensor))
        .collect();
    let root = Object::Dict(vec![
        ("epoch".into(), Object::Int(7)),
        ("name".into(), Object::Text("run".into())),
        ("state_dict".into(), state_dict(&wrapped)),
    ]);
    let path = write_torch_save(&scratch.path().join("epoch_7.pt"), &root);
    same(
        "state_dict with module.",
        &load(&Checkpoint::open_with_config(&path, &config()).unwrap()),
    );

    let file = TorchFile::open(&path).unwrap();
    assert!(!file.is_scripted());
    assert!(matches!(
        file.root().get("epoch").unwrap().form(),
        Form::Int(7)
    ));
    let tensors = file
        .tensors(file.root().get("state_dict").unwrap())
        .unwrap();
    assert_eq!(tensors.len(), wrapped.len());
    let name = "module.visual.proj";
    let tensor = tensors[name].read(Device::Cpu, Kind::Float).unwrap();
    assert_eq!(tensor, wrapped[name]);
}

#[test]
fn a_patch_bias_and_a_missing_norm_are_honoured() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = config();
    config.vision.patch_bias = true;
    config.vision.norm_before = false;
    let weights = openai_names(&weights(&config));
    let place = folder(scratch.path(), "variant");
    let json = OPEN_CLIP_CONFIG.replace(
        "\"layers\": 1, \"width\"",
        "\"no_ln_pre\": true, \"layers\": 1, \"width\"",
    );
    fs::write(place.join("open_clip_config.json"), json).unwrap();
    write_safetensors(&place.join("open_clip_model.safetensors"), &weights);
    let checkpoint = Checkpoint::open(&place).unwrap();
    assert_eq!(*checkpoint.config(), config);
    assert_eq!(
        embeddings(&load(&checkpoint)).0,
        embeddings(&reference(&config)).0
    );
}

#[test]
fn fine_tuned_weights_are_leaves_and_the_hash_is_the_files() {
    let scratch = tempfile::tempdir().unwrap();
    let path = write_safetensors(&scratch.path().join("w.safetensors"), &weights(&config()));
    let checkpoint = Checkpoint::open_with_config(&path, &config()).unwrap();
    let clip = checkpoint
        .load(Usage::FineTuned, Device::Cpu, Kind::Float)
        .unwrap();
    assert!(clip.parameters().iter().all(|(_, t)| t.requires_grad()));
    same(
        "fine-tuned",
        &checkpoint
            .load(Usage::Frozen, Device::Cpu, Kind::Float)
            .unwrap(),
    );

    let first = checkpoint.sha256().unwrap().to_owned();
    let mut other = weights(&config());
    let scale = Tensor::from(1.0f32);
    other.insert("logit_scale".into(), scale);
    write_safetensors(&scratch.path().join("w2.safetensors"), &other);
    let other = Checkpoint::open_with_config(scratch.path().join("w2.safetensors"), &config());
    assert_ne!(first, other.unwrap().sha256().unwrap());
    assert!(matches!(
        checkpoint.load(Usage::Frozen, Device::Cpu, Kind::Half),
        Err(clip_backbone::Error::Precision { .. })
    ));
}

#[test]
fn folders_of_the_python_libraries() {
    let scratch = tempfile::tempdir().unwrap();
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/layouts.zip");
    let mut packed = zip::ZipArchive::new(fs::File::open(packed).unwrap()).unwrap();
    packed.extract(scratch.path()).unwrap();
    for name in [
        "hugging_face",
        "hugging_face_bin",
        "open_clip",
        "open_clip_bin",
    ] {
        let checkpoint = Checkpoint::open(scratch.path().join(name)).unwrap();
        same(name, &load(&checkpoint));
    }
}
