//! A tiny CLIP with weights by formula, and writers of the layouts.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use clip_backbone::Activation;
use clip_backbone::{ClipModel, Config, TextConfig, Usage, VisionConfig};
use tch::{Device, Kind, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Named tensors.
pub(crate) type Weights = BTreeMap<String, Tensor>;

/// Head width 64, as OpenAI's layout implies.
pub(crate) fn config() -> Config {
    Config {
        vision: VisionConfig {
            image_size: 16,
            patch_size: 8,
            width: 64,
            layers: 1,
            heads: 1,
            mlp_width: 256,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
            patch_bias: false,
            norm_before: true,
        },
        text: TextConfig {
            context: 77,
            vocabulary: 64,
            width: 64,
            layers: 1,
            heads: 1,
            mlp_width: 256,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
        },
        joint_width: 32,
    }
}

/// Weights of `config` by the formula, rounded to sixteenths: exact in every precision but for
/// the temperature.
pub(crate) fn weights(config: &Config) -> Weights {
    config
        .parameters()
        .into_iter()
        .map(|(name, shape)| {
            let values = testkit::formula::parameter(&name, &shape);
            let values: Vec<f32> = values
                .iter()
                .map(|v| (v * 16.0).round_ties_even() / 16.0)
                .collect();
            let tensor = Tensor::from_slice(&values).view(shape.as_slice());
            (name, tensor)
        })
        .collect()
}

/// What a model says of the test's pictures and texts.
pub(crate) fn embeddings(clip: &ClipModel) -> (Tensor, Tensor) {
    let _guard = tch::no_grad_guard();
    let config = clip.config();
    let side = config.vision.image_size;
    let count = 2 * 3 * side * side;
    let pixels = Tensor::linspace(-2.0, 2.0, count, (Kind::Float, Device::Cpu));
    let pixels = pixels.view([2, 3, side, side]);
    let mut ids = vec![0i64; 2 * 77];
    ids[..4].copy_from_slice(&[62, 5, 9, 63]);
    ids[77..83].copy_from_slice(&[62, 1, 2, 3, 4, 63]);
    let ids = Tensor::from_slice(&ids).view([2, 77]);
    (
        clip.vision.forward(&pixels).unwrap(),
        clip.text.forward(&ids).unwrap(),
    )
}

/// The model straight from memory.
pub(crate) fn reference(config: &Config) -> ClipModel {
    let mut source = weights(config);
    ClipModel::new(config, &mut source, Usage::Frozen, Device::Cpu, Kind::Float).unwrap()
}

/// The same weights under OpenAI's and open_clip's names.
pub(crate) fn openai_names(source: &Weights) -> Weights {
    let renamed = [
        (
            "vision_model.encoder.layers",
            "visual.transformer.resblocks",
        ),
        ("text_model.encoder.layers", "transformer.resblocks"),
        ("layer_norm1", "ln_1"),
        ("layer_norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
        ("self_attn.out_proj", "attn.out_proj"),
        ("vision_model.pre_layrnorm", "visual.ln_pre"),
        ("vision_model.post_layernorm", "visual.ln_post"),
        ("text_model.final_layer_norm", "ln_final"),
        (
            "vision_model.embeddings.class_embedding",
            "visual.class_embedding",
        ),
        ("vision_model.embeddings.patch_embedding", "visual.conv1"),
        (
            "vision_model.embeddings.position_embedding.weight",
            "visual.positional_embedding",
        ),
        ("text_model.embeddings.token_embedding", "token_embedding"),
        (
            "text_model.embeddings.position_embedding.weight",
            "positional_embedding",
        ),
    ];
    let mut target = Weights::new();
    for (name, tensor) in source {
        let mut new = name.clone();
        for (from, to) in renamed {
            new = new.replace(from, to);
        }
        let mut tensor = tensor.shallow_clone();
        if name == "visual_projection.weight" || name == "text_projection.weight" {
            new = new
                .replace("visual_projection.weight", "visual.proj")
                .replace(".weight", "");
            tensor = tensor.tr().contiguous();
        } else if name.contains("self_attn.q_proj") {
            let parts = ["q_proj", "k_proj", "v_proj"]
                .map(|which| source[&name.replace("q_proj", which)].shallow_clone());
            tensor = Tensor::cat(&parts, 0);
            new = new.replace("self_attn.q_proj.", "attn.in_proj_");
        } else if name.contains("self_attn.") && !name.contains("out_proj") {
            continue;
        }
        target.insert(new, tensor);
    }
    target
}

pub(crate) fn in_kind(source: &Weights, kind: Kind) -> Weights {
    source
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.to_kind(kind)))
        .collect()
}

pub(crate) fn write_safetensors(path: &Path, weights: &Weights) -> PathBuf {
    let list: Vec<(&str, &Tensor)> = weights.iter().map(|(n, t)| (n.as_str(), t)).collect();
    Tensor::write_safetensors(&list, path).unwrap();
    path.into()
}

pub(crate) const HUGGING_FACE_CONFIG: &str = r#"{
    "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 32,
    "logit_scale_init_value": 2.6592,
    "text_config": {"model_type": "clip_text_model", "hidden_size": 64, "intermediate_size": 256,
        "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 64, "eos_token_id": 2},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 64,
        "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 1,
        "image_size": 16, "patch_size": 8}
}"#;

pub(crate) const OPEN_CLIP_CONFIG: &str = r#"{
    "model_cfg": {"embed_dim": 32, "quick_gelu": true,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}},
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
        "interpolation": "bilinear", "resize_mode": "squash"}
}"#;

/// What `torch.save` wrote before PyTorch 1.6: five pickles, then length and data of each storage.
pub(crate) fn write_legacy_save(path: &Path, root: &Object) -> PathBuf {
    let mut object = Pickler::default();
    object.object(root);
    let mut bytes = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    bytes.extend(b"\x80\x02}X\r\x00\x00\x00little_endian\x88s.\x80\x02");
    bytes.extend(object.bytes);
    let mut keys = Pickler::default();
    (0..object.storages.len()).for_each(|key| keys.text(&key.to_string()));
    bytes.extend(b".\x80\x02](");
    bytes.extend(keys.bytes);
    bytes.extend(b"e.");
    for storage in object.storages {
        bytes.extend((storage.len() as u64 / 4).to_le_bytes());
        bytes.extend(storage);
    }
    std::fs::write(path, bytes).unwrap();
    path.into()
}

/// What `torch.save` writes: a pickle, and a file for each storage.
pub(crate) fn write_torch_save(path: &Path, root: &Object) -> PathBuf {
    let mut pickle = Pickler::default();
    pickle.bytes.extend(b"\x80\x02");
    pickle.object(root);
    pickle.bytes.push(b'.');
    let mut files = vec![
        ("archive/data.pkl".to_owned(), pickle.bytes),
        ("archive/byteorder".to_owned(), b"little".to_vec()),
    ];
    for (index, storage) in pickle.storages.into_iter().enumerate() {
        files.push((format!("archive/data/{index}"), storage));
    }
    files.push(("archive/version".to_owned(), b"3\n".to_vec()));
    write_zip(path, &files, CompressionMethod::Stored);
    path.into()
}

pub(crate) fn write_zip(path: &Path, files: &[(String, Vec<u8>)], method: CompressionMethod) {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in files {
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    std::fs::write(path, zip.finish().unwrap().into_inner()).unwrap();
}

/// A Python object to pickle.
pub(crate) enum Object {
    Int(i32),
    Text(String),
    Tensor(Tensor),
    Dict(Vec<(String, Object)>),
    /// An object of a class, with the entries of a subclass of dict, and with attributes.
    Instance(&'static str, Vec<(String, Object)>, Vec<(String, Object)>),
    /// Instructions that leave one object.
    Raw(&'static [u8]),
}

pub(crate) fn state_dict(weights: &Weights) -> Object {
    Object::Dict(
        weights
            .iter()
            .map(|(name, tensor)| (name.clone(), Object::Tensor(tensor.shallow_clone())))
            .collect(),
    )
}

/// Writes the instructions `torch.save` uses, without its memo.
#[derive(Default)]
pub(crate) struct Pickler {
    pub(crate) bytes: Vec<u8>,
    pub(crate) storages: Vec<Vec<u8>>,
}

impl Pickler {
    pub(crate) fn object(&mut self, object: &Object) {
        match object {
            Object::Int(value) => self.int(*value),
            Object::Text(text) => self.text(text),
            Object::Tensor(tensor) => self.tensor(tensor),
            Object::Dict(entries) => {
                self.bytes.extend(b"ccollections\nOrderedDict\n)R");
                self.entries(entries);
            }
            Object::Instance(class, entries, attributes) => {
                let (module, name) = class.rsplit_once('.').unwrap();
                self.bytes.extend(format!("c{module}\n{name}\n)").bytes());
                self.bytes.push(0x81);
                self.entries(entries);
                self.bytes.push(b'}');
                self.entries(attributes);
                self.bytes.push(b'b');
            }
            Object::Raw(bytes) => self.bytes.extend(*bytes),
        }
    }

    fn entries(&mut self, entries: &[(String, Object)]) {
        self.bytes.push(b'(');
        for (key, value) in entries {
            self.text(key);
            self.object(value);
        }
        self.bytes.push(b'u');
    }

    pub(crate) fn int(&mut self, value: i32) {
        self.bytes.push(b'J');
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn tensor(&mut self, tensor: &Tensor) {
        let storage = match tensor.kind() {
            Kind::Float => "FloatStorage",
            Kind::Half => "HalfStorage",
            Kind::BFloat16 => "BFloat16Storage",
            Kind::Int64 => "LongStorage",
            other => panic!("{other:?}"),
        };
        let tensor = tensor.contiguous();
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        self.bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.bytes.extend(format!("ctorch\n{storage}\n").bytes());
        self.text(&self.storages.len().to_string());
        self.text("cpu");
        self.int(tensor.numel() as i32);
        self.bytes.extend(b"tQ");
        self.int(0);
        for list in [tensor.size(), tensor.stride()] {
            self.bytes.push(b'(');
            list.iter().for_each(|&n| self.int(n as i32));
            self.bytes.push(b't');
        }
        self.bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        self.storages.push(bytes);
    }
}
