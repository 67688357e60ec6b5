//! A CLIP checkpoint on disk: its shape, its preprocessing, its tokenizer and its weights,
//! in any of the layouts in use.

mod fields;
mod hugging_face;
mod open_clip;

pub(crate) use fields::{Fields, read_json, read_limited};

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use tch::{Device, Kind};

use crate::config::{Config, TextConfig, VisionConfig};
use crate::weights::naming::{Named, name_all};
use crate::weights::pickle::{Form, Value};
use crate::weights::{StoredTensor, TorchFile, open_safetensors};
use crate::{ClipModel, Error, Preprocess, Result, Tokenizer, Usage};
use layers::Activation;

/// The layouts of a folder: its configuration file, and the weight files that may go with it
/// in order of preference.
pub(crate) const FOLDERS: [(&str, &[&str]); 2] = [
    (
        "config.json",
        &[
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ],
    ),
    (
        "open_clip_config.json",
        &["open_clip_model.safetensors", "open_clip_pytorch_model.bin"],
    ),
];

/// The width of an attention head in OpenAI's models, whose files do not state it.
const OPENAI_HEAD_WIDTH: i64 = 64;

/// A checkpoint that has been opened and found consistent; no tensor is read yet.
///
/// Known layouts:
/// - a folder of Hugging Face's: `config.json` and `model.safetensors` or `pytorch_model.bin`,
///   either in one file or in several with an index;
/// - a folder of `open_clip`'s: `open_clip_config.json` and `open_clip_model.safetensors` or
///   `open_clip_pytorch_model.bin`;
/// - OpenAI's own `.pt`, a TorchScript archive;
/// - a bare safetensors file or state dict, with a given [`Config`];
/// - any of these folders on a hub, by its id.
#[derive(Debug)]
pub struct Checkpoint {
    place: PathBuf,
    /// The weight files, in the order of their names.
    files: Vec<PathBuf>,
    config: Config,
    preprocess: Preprocess,
    tensors: BTreeMap<String, StoredTensor>,
    sha256: OnceLock<String>,
}

impl Checkpoint {
    /// Opens a folder, a file that states its own shape, as OpenAI's `.pt` does, or the
    /// hub's repository with an id such as `openai/clip-vit-base-patch16`.
    ///
    /// An existing path takes precedence. An id may end in `@revision`; the hub is the one that
    /// the environment describes.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if there is none; [`Error::Hub`] for an id that is
    /// neither cached nor can be fetched; [`Error::Unsupported`] for another architecture;
    /// [`Error::ConfigFile`], [`Error::Malformed`] and [`Error::Io`] for files that are wrong,
    /// damaged or unreadable; [`Error::Parameters`] if weights and configuration do not
    /// match.
    pub fn open(place: impl AsRef<Path>) -> Result<Self> {
        let place = place.as_ref();
        if place.is_dir() {
            return Self::open_folder(place);
        }
        #[cfg(feature = "hub")]
        if !place.exists()
            && let Some(id) = place.to_str().and_then(|text| text.parse().ok())
        {
            return Self::open_from_hub(&id, &hub::Hub::from_env()?);
        }
        Self::open_file(place, None)
    }

    /// Opens the repository `id` of `hub`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "hub")]
    pub fn open_from_hub(id: &hub::Id, hub: &hub::Hub) -> Result<Self> {
        Self::open_folder(&hub.snapshot(id, &hub::CLIP)?)
    }

    /// Opens bare weights of the shape `config`, such as a preset.
    ///
    /// Preprocessing is OpenAI's, since such a file does not state it; names may be Hugging
    /// Face's or OpenAI's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_config(file: impl AsRef<Path>, config: &Config) -> Result<Self> {
        Self::open_file(file.as_ref(), Some(config))
    }

    /// Takes tensors of the shape `config` from a `file` that also holds others; names may be
    /// Hugging Face's or OpenAI's. Preprocessing is OpenAI's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_tensors(
        file: &Path,
        config: &Config,
        tensors: BTreeMap<String, StoredTensor>,
    ) -> Result<Self> {
        Self::of_tensors(file, vec![file.into()], tensors, false, Some(config), None)
    }

    /// The file or folder it was opened from.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The preprocessing of its frames.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The checkpoint's own tokenizer, or else OpenAI's from the per-user data
    /// folder, [`Tokenizer::default_path`].
    ///
    /// # Errors
    /// [`Error::NoTokenizer`] if neither exists; [`Error::Malformed`] if the vocabulary
    /// is damaged or larger than the model's.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let folder = match self.place.is_dir() {
            true => Some(self.place.as_path()),
            false => self.place.parent(),
        };
        let path = folder
            .and_then(Tokenizer::find)
            .unwrap_or_else(Tokenizer::default_path);
        if !path.is_file() {
            return Err(Error::NoTokenizer { path });
        }
        self.tokenizer_from(&path)
    }

    /// A tokenizer from a given vocabulary; see [`Tokenizer::open`].
    ///
    /// # Errors
    /// As [`tokenizer`](Self::tokenizer).
    pub fn tokenizer_from(&self, path: &Path) -> Result<Tokenizer> {
        let tokenizer = Tokenizer::open(path, self.config.text.context)?;
        let (last, vocabulary) = (tokenizer.end_of_text(), self.config.text.vocabulary);
        if last >= vocabulary {
            return Err(Error::Malformed {
                path: path.into(),
                item: "vocabulary".into(),
                reason: format!("ids up to {last}, but the model knows {vocabulary} tokens"),
            });
        }
        Ok(tokenizer)
    }

    /// The SHA-256 of the weight files, one after another, in hexadecimal. Read once.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read.
    pub fn sha256(&self) -> Result<&str> {
        if let Some(known) = self.sha256.get() {
            return Ok(known);
        }
        let mut hash = Sha256::new();
        for path in &self.files {
            hash_file(path, |bytes| hash.update(bytes))?;
        }
        let hex = disk::hex(hash.finalize());
        Ok(self.sha256.get_or_init(|| hex))
    }

    /// Reads the weights and builds both towers.
    ///
    /// # Errors
    /// [`Error::Precision`] for fp16 on the CPU and for anything but fp32, bf16 and fp16;
    /// [`Error::Torch`] if out of memory.
    pub fn load(&self, usage: Usage, device: Device, kind: Kind) -> Result<ClipModel> {
        let computes = match kind {
            Kind::Float | Kind::BFloat16 => true,
            Kind::Half => matches!(device, Device::Cuda(_)),
            _ => false,
        };
        if !computes {
            return Err(Error::Precision { kind, device });
        }
        let mut source = self.tensors.clone();
        ClipModel::new(&self.config, &mut source, usage, device, kind)
    }

    fn open_folder(folder: &Path) -> Result<Self> {
        let present: Vec<_> = FOLDERS
            .iter()
            .filter(|(config, _)| folder.join(config).is_file())
            .collect();
        let complete = present.iter().find_map(|(config, weights)| {
            let weights = weights.iter().map(|name| folder.join(name));
            let weights = weights.into_iter().find(|path| path.is_file())?;
            Some((*config, weights))
        });
        let Some((config_name, weights)) = complete else {
            let expected = match present.first() {
                Some((config, weights)) => format!("{} beside {config}", weights.join(" or ")),
                None => "config.json or open_clip_config.json, with weights beside it".into(),
            };
            return Err(Error::NoCheckpoint {
                path: folder.into(),
                expected,
            });
        };
        let config_path = folder.join(config_name);
        let (config, preprocess) = if config_name == "config.json" {
            let config = hugging_face::read_config(&config_path)?;
            let size = config.vision.image_size;
            let path = folder.join("preprocessor_config.json");
            let preprocess = match path.is_file() {
                true => hugging_face::read_preprocess(&path, size)?,
                false => Preprocess::openai(size),
            };
            (config, preprocess)
        } else {
            open_clip::read(&config_path)?
        };
        let files = match weights.extension() {
            Some(extension) if extension == "json" => shards(&weights)?,
            _ => vec![weights],
        };
        Self::assemble(folder, files, Some(&config), Some(preprocess))
    }

    fn open_file(path: &Path, config: Option<&Config>) -> Result<Self> {
        if !path.exists() {
            return Err(Error::NoCheckpoint {
                path: path.into(),
                expected:
                    "a folder, a file of weights, or a hub id such as openai/clip-vit-base-patch16"
                        .into(),
            });
        }
        Self::assemble(path, vec![path.into()], config, None)
    }

    fn assemble(
        place: &Path,
        files: Vec<PathBuf>,
        config: Option<&Config>,
        preprocess: Option<Preprocess>,
    ) -> Result<Self> {
        let mut raw = BTreeMap::new();
        let mut scripted = false;
        for path in &files {
            let (tensors, is_script) = open_weights(path)?;
            scripted |= is_script;
            for (name, tensor) in tensors {
                if raw.contains_key(&name) {
                    return Err(Error::Malformed {
                        path: path.clone(),
                        item: name,
                        reason: "is in another file of this checkpoint too".into(),
                    });
                }
                raw.insert(name, tensor);
            }
        }
        Self::of_tensors(place, files, raw, scripted, config, preprocess)
    }

    fn of_tensors(
        place: &Path,
        files: Vec<PathBuf>,
        raw: BTreeMap<String, StoredTensor>,
        scripted: bool,
        config: Option<&Config>,
        preprocess: Option<Preprocess>,
    ) -> Result<Self> {
        // Messages about all files name the folder.
        let weights = match files.as_slice() {
            [only] => only,
            _ => place,
        };
        let named = name_all(weights, raw)?;
        let mut config = match config {
            Some(config) => config.clone(),
            None if scripted && named.openai => openai_config(weights, &named)?,
            None => {
                return Err(Error::NoCheckpoint {
                    path: place.into(),
                    expected: "a preset to go with it (ViT-B/32, ViT-B/16, ViT-L/14, \
                        ViT-L/14@336px): bare weights do not say their heads and activation"
                        .into(),
                });
            }
        };
        config.vision.patch_bias = named
            .tensors
            .contains_key("vision_model.embeddings.patch_embedding.bias");
        config.check()?;
        compare(weights, &config, &named)?;
        let preprocess = preprocess.unwrap_or_else(|| Preprocess::openai(config.vision.image_size));
        Ok(Self {
            place: place.into(),
            files,
            config,
            preprocess,
            tensors: named.tensors,
            sha256: OnceLock::new(),
        })
    }
}

/// The tensors of one weight file, and whether it is a TorchScript program.
fn open_weights(path: &Path) -> Result<(BTreeMap<String, StoredTensor>, bool)> {
    let mut first = [0; 2];
    let read = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first))
        }
        _ => Ok(()),
    };
    // The first bytes determine the format; the name may be anything. A short or missing file
    // is left to the reader that its name suggests.
    let is_torch = match read {
        Ok(()) if first != [0; 2] => first == *b"PK" || first == [0x80, 0x02],
        _ => false,
    };
    let named_torch = path
        .extension()
        .is_some_and(|extension| ["bin", "pt", "pth"].iter().any(|&known| extension == known));
    if !(is_torch || named_torch) {
        return Ok((open_safetensors(path)?, false));
    }
    let file = TorchFile::open(path)?;
    let tensors = file.tensors(state_dict(file.root()))?;
    Ok((tensors, file.is_scripted()))
}

/// The state dict in the saved object: itself, or an entry of a training checkpoint.
fn state_dict(root: Value<'_>) -> Value<'_> {
    ["state_dict", "model_state_dict", "model"]
        .into_iter()
        .filter_map(|key| root.get(key))
        .find(|value| matches!(value.form(), Form::Dict))
        .unwrap_or(root)
}

/// The files that an index lists, each a plain name in the index's folder.
pub(crate) fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let value = read_json(index)?;
    let root = Fields::of(index, &value)?;
    let Some(serde_json::Value::Object(map)) = root.present("weight_map") else {
        return Err(root.wrong("weight_map", "an object", "absent"));
    };
    let mut names = BTreeSet::new();
    for (parameter, file) in map {
        let plain = file.as_str().filter(|name| {
            Path::new(name).file_name() == Some(std::ffi::OsStr::new(name)) && !name.contains('\\')
        });
        match plain {
            Some(name) => names.insert(name),
            None => {
                let field = format!("weight_map.{parameter}");
                return Err(root.wrong(&field, "a file in the same folder", file));
            }
        };
    }
    Ok(names
        .into_iter()
        .map(|name| index.with_file_name(name))
        .collect())
}

/// Checks that a checkpoint's parameters are exactly those of `config`.
fn compare(path: &Path, config: &Config, named: &Named) -> Result<()> {
    let mut rest: BTreeSet<&str> = named.tensors.keys().map(String::as_str).collect();
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for (name, shape) in config.parameters() {
        rest.remove(name.as_str());
        let Some(found) = named.tensors.get(&name) else {
            missing.push(format!("{name} {shape:?}"));
            continue;
        };
        if found.shape() != shape {
            wrong.push(format!(
                "{name} is {:?} and should be {shape:?}",
                found.shape()
            ));
        }
        if !matches!(found.kind(), Kind::Float | Kind::Half | Kind::BFloat16) {
            wrong.push(format!(
                "{name} holds {:?} and should hold fp32, fp16 or bf16",
                found.kind()
            ));
        }
    }
    let unused: Vec<_> = rest
        .into_iter()
        .map(str::to_owned)
        .chain(named.unknown.iter().cloned())
        .collect();
    if missing.is_empty() && unused.is_empty() && wrong.is_empty() {
        return Ok(());
    }
    Err(Error::Parameters {
        path: path.into(),
        missing,
        unused,
        wrong,
    })
}

/// The shape of an OpenAI model, read off its parameters as OpenAI's own code does.
fn openai_config(path: &Path, named: &Named) -> Result<Config> {
    let shape = |name: &str, rank: usize| -> Result<&[i64]> {
        match named.tensors.get(name).map(StoredTensor::shape) {
            Some(shape) if shape.len() == rank => Ok(shape),
            Some(shape) => Err(Error::Malformed {
                path: path.into(),
                item: name.into(),
                reason: format!("of shape {shape:?}"),
            }),
            None => Err(Error::Parameters {
                path: path.into(),
                missing: vec![name.into()],
                unused: Vec::new(),
                wrong: Vec::new(),
            }),
        }
    };
    let layers = |tower: &str| {
        let prefix = format!("{tower}.encoder.layers.");
        let indices: BTreeSet<&str> = named
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix)?.split('.').next())
            .collect();
        indices.len() as i64
    };
    let mlp_width = |tower: &str| {
        let name = format!("{tower}.encoder.layers.0.mlp.fc1.bias");
        shape(&name, 1).map(|shape| shape[0])
    };
    let kernel = shape("vision_model.embeddings.patch_embedding.weight", 4)?;
    let patches = shape("vision_model.embeddings.position_embedding.weight", 2)?[0] - 1;
    let grid = (patches.max(0) as f64).sqrt().round() as i64;
    let context = shape("text_model.embeddings.position_embedding.weight", 2)?[0];
    let tokens = shape("text_model.embeddings.token_embedding.weight", 2)?;
    let (width, patch) = (kernel[0], kernel[3]);
    let config = Config {
        vision: VisionConfig {
            image_size: patch.saturating_mul(grid),
            patch_size: patch,
            width,
            layers: layers("vision_model"),
            heads: width / OPENAI_HEAD_WIDTH,
            mlp_width: mlp_width("vision_model")?,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
            patch_bias: false,
            norm_before: true,
        },
        text: TextConfig {
            context,
            vocabulary: tokens[0],
            width: tokens[1],
            layers: layers("text_model"),
            heads: tokens[1] / OPENAI_HEAD_WIDTH,
            mlp_width: mlp_width("text_model")?,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
        },
        joint_width: shape("text_projection.weight", 2)?[0],
    };
    config.check().map_err(|e| e.in_file(path))?;
    Ok(config)
}

/// Passes a file's bytes to `update`, in chunks.
fn hash_file(path: &Path, mut update: impl FnMut(&[u8])) -> Result<()> {
    let fault = |source| Error::Io {
        op: "read",
        path: path.into(),
        source,
    };
    let mut file = std::fs::File::open(path).map_err(fault)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(fault)? {
            0 => return Ok(()),
            read => update(&buffer[..read]),
        }
    }
}

#[cfg(all(test, feature = "hub"))]
mod tests {
    use super::FOLDERS;
    use crate::OPENAI_VOCABULARY;

    #[test]
    fn the_layouts_read_are_those_fetched() {
        assert_eq!(FOLDERS, hub::CLIP.layouts);
        assert!(hub::CLIP.companions.contains(&OPENAI_VOCABULARY));
    }
}
