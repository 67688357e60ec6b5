//! A CLIP checkpoint on disk: its shape, its preprocessing, its tokenizer and its weights,
//! in any of the layouts in use.

mod architecture;
mod fields;
mod folder;
mod hugging_face;
mod open_clip;
mod save;

pub use save::transformers_config;

pub(crate) use fields::{Fields, read_json, read_limited};

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use tch::{Device, Kind};

use self::architecture::Architecture;
use self::folder::Files;
use crate::config::Config;
use crate::weights::naming::{Named, name_all};
use crate::weights::wrapper::{Unwrapped, unwrap};
use crate::weights::{StoredTensor, WeightFile};
use crate::{ClipModel, Error, Preprocess, Result, Tokenizer, Usage};

/// A checkpoint that has been opened and found consistent; no tensor is read yet.
///
/// Known layouts:
/// - a folder of Hugging Face's: `config.json` and `model.safetensors` or `pytorch_model.bin`,
///   either in one file or in several with an index;
/// - a folder of `open_clip`'s: `open_clip_config.json` and `open_clip_model.safetensors` or
///   `open_clip_pytorch_model.bin`;
/// - OpenAI's own `.pt`, a TorchScript archive;
/// - a bare safetensors file or state dict, with a given architecture;
/// - any of these folders on a hub, by its id.
///
/// Where a folder holds several, the first complete one in this order is read: Hugging Face's
/// before `open_clip`'s, safetensors before pickles, a single file before an index. Inside a file
/// the weights may be below any prefix and in any dict, such as `state_dict` or `module.`: of
/// several CLIPs the outermost is read, then those in `state_dict`, `model_state_dict` and
/// `model`, then the first by name; averages (`ema`) come last. [`Checkpoint::notes`] names what
/// was chosen and what was not.
#[derive(Debug)]
pub struct Checkpoint {
    place: PathBuf,
    /// The weight files, in the order of their names.
    files: Vec<PathBuf>,
    config: Config,
    preprocess: Preprocess,
    tensors: BTreeMap<String, StoredTensor>,
    /// A folder besides its own that may hold its tokenizer.
    tokenizer_folder: Option<PathBuf>,
    /// The name or the absolute path that it was opened with.
    architecture: Option<String>,
    notes: Vec<String>,
    sha256: OnceLock<String>,
}

impl Checkpoint {
    /// Opens a folder, a weight file of such a folder, a file that states its own shape, as OpenAI's
    /// `.pt` does, or the hub's repository with an id such as `openai/clip-vit-base-patch16`.
    ///
    /// A path takes precedence if it or its parent folder exists. An id may end in `@revision`; the
    /// hub is the one that the environment describes.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if there is none; [`Error::NoArchitecture`] for weights that do not
    /// state their shape; [`Error::Hub`] for an id that is neither cached nor can be fetched;
    /// [`Error::Unsupported`] for another architecture; [`Error::ConfigFile`],
    /// [`Error::WrongFile`], [`Error::CutOff`], [`Error::Malformed`] and [`Error::Io`] for files
    /// that are wrong, damaged or unreadable; [`Error::Parameters`] if weights and configuration
    /// do not match.
    pub fn open(place: impl AsRef<Path>) -> Result<Self> {
        let place = local(place.as_ref())?;
        if place.is_dir() {
            return Self::open_folder(&place);
        }
        match folder::of_file(&place)? {
            Some(files) => Self::open_files(&place, files),
            None => Self::assemble(&place, vec![place.clone()], None),
        }
    }

    /// Opens the repository `id` of `hub`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "hub")]
    pub fn open_from_hub(id: &hub::Id, hub: &hub::Hub) -> Result<Self> {
        Self::open_folder(&hub.snapshot(id, &hub::CLIP)?)
    }

    /// As [`open`](Self::open), or with an `architecture` for weights that do not state their
    /// shape: a file, or a folder without a configuration.
    ///
    /// It is the name of a preset (see [`Config::preset`]), or the path of a
    /// `config.json` or `open_clip_config.json`, or of a folder with one. Preprocessing is OpenAI's
    /// unless that states another.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Config`] for an unknown architecture, and for a folder
    /// that has a configuration of its own.
    pub fn open_as(place: impl AsRef<Path>, architecture: Option<&str>) -> Result<Self> {
        let Some(architecture) = architecture else {
            return Self::open(place);
        };
        let shape = Architecture::named(architecture)?;
        let place = local(place.as_ref())?;
        let mut note = None;
        let files = match place.is_dir() {
            false => vec![place.clone()],
            true => {
                let files = folder::find(&place, true)?;
                if let Some(config) = files.config {
                    return Err(Error::Config {
                        field: "architecture".into(),
                        expected: format!("none, because {} states it", config.display()),
                        got: architecture.into(),
                    });
                }
                note = files.note;
                files.weights
            }
        };
        let vision = &shape.config.vision;
        let read_as = format!(
            "{} is read as {architecture}: {} pixels, patches of {}, {} heads, {:?}",
            place.display(),
            vision.image_size,
            vision.patch_size,
            vision.heads,
            vision.activation,
        );
        let mut opened = Self::assemble(&place, files, Some(shape))?;
        opened.notes.splice(0..0, note.into_iter().chain([read_as]));
        opened.architecture = Some(match Config::preset(architecture) {
            Some(_) => architecture.into(),
            None => std::path::absolute(architecture)
                .unwrap_or_else(|_| architecture.into())
                .to_string_lossy()
                .into_owned(),
        });
        Ok(opened)
    }

    /// Opens bare weights of the shape `config`, such as a preset.
    ///
    /// Preprocessing is OpenAI's, since such a file does not state it; names may be Hugging
    /// Face's or OpenAI's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_config(file: impl AsRef<Path>, config: &Config) -> Result<Self> {
        let file = file.as_ref();
        Self::assemble(file, vec![file.into()], Some(bare(config)))
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
        let named = name_all(file, "", tensors)?;
        Self::of_named(
            file,
            vec![file.into()],
            named,
            false,
            Some(bare(config)),
            &[],
        )
    }

    /// The file or folder it was opened from.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Its weight files, in the order of their names.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The preprocessing of its frames.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The architecture it was opened with, if it does not state its own; a path is absolute.
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// The choices made in opening it, each a sentence: files and entries that were read and
    /// those beside them that were not, and an architecture that was named.
    pub fn notes(&self) -> &[String] {
        &self.notes
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
        let folders = folder.into_iter().chain(self.tokenizer_folder.as_deref());
        let path = folders
            .filter_map(Tokenizer::find)
            .next()
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
        Self::open_files(folder, folder::find(folder, false)?)
    }

    fn open_files(place: &Path, files: Files) -> Result<Self> {
        let shape = files
            .config
            .as_deref()
            .map(Architecture::read)
            .transpose()?;
        let mut opened = Self::assemble(place, files.weights, shape)?;
        opened.notes.splice(0..0, files.note);
        Ok(opened)
    }

    fn assemble(place: &Path, files: Vec<PathBuf>, shape: Option<Architecture>) -> Result<Self> {
        let mut raw = BTreeMap::new();
        let mut scripted = false;
        for path in &files {
            let file = WeightFile::open(path)?;
            scripted |= file.scripted;
            for (name, tensor) in file.tensors {
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
        let weights = subject(place, &files);
        let found = unwrap(raw);
        let notes = found.notes(weights);
        let Unwrapped {
            tensors,
            prefix,
            beside,
            ..
        } = found;
        let named = name_all(weights, &prefix, tensors)?;
        let mut opened = Self::of_named(place, files.clone(), named, scripted, shape, &beside)?;
        opened.notes = notes;
        Ok(opened)
    }

    /// The checkpoint of named tensors, beside which others were found.
    fn of_named(
        place: &Path,
        files: Vec<PathBuf>,
        named: Named,
        scripted: bool,
        shape: Option<Architecture>,
        beside: &[String],
    ) -> Result<Self> {
        let weights = subject(place, &files);
        let shape = match shape {
            Some(shape) => shape,
            None if (scripted && named.spelling.openai) || named.of_openai => {
                Architecture::of_openai(weights, &named)?
            }
            None => {
                let fits = |name: &&str| {
                    Config::preset(name).is_some_and(|preset| {
                        compare(weights, &fitted(preset, &named), &named, &[]).is_ok()
                    })
                };
                return Err(Error::NoArchitecture {
                    path: place.into(),
                    like: Config::PRESETS.into_iter().find(fits),
                });
            }
        };
        let config = fitted(shape.config, &named);
        config.check()?;
        compare(weights, &config, &named, beside)?;
        let size = config.vision.image_size;
        Ok(Self {
            place: place.into(),
            files,
            config,
            preprocess: shape.preprocess.unwrap_or_else(|| Preprocess::openai(size)),
            tensors: named.tensors,
            tokenizer_folder: shape.folder,
            architecture: None,
            notes: Vec::new(),
            sha256: OnceLock::new(),
        })
    }
}

/// The subject of messages about weights: a single file, or the folder of several.
fn subject<'a>(place: &'a Path, files: &'a [PathBuf]) -> &'a Path {
    match files {
        [only] => only,
        _ => place,
    }
}

fn bare(config: &Config) -> Architecture {
    Architecture {
        config: config.clone(),
        preprocess: None,
        folder: None,
    }
}

/// `config` with the options that only the weights state.
fn fitted(mut config: Config, named: &Named) -> Config {
    config.vision.patch_bias = named
        .tensors
        .contains_key("vision_model.embeddings.patch_embedding.bias");
    config
}

/// The path at which the checkpoint `place` is, fetched if it is a hub's id.
fn local(place: &Path) -> Result<PathBuf> {
    if place.exists() {
        return Ok(place.into());
    }
    let parent = place
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    #[cfg(feature = "hub")]
    if !parent.is_some_and(Path::is_dir)
        && let Some(id) = place.to_str().and_then(|text| text.parse().ok())
    {
        return Ok(hub::Hub::from_env()?.snapshot(&id, &hub::CLIP)?);
    }
    let missing = parent.filter(|parent| !parent.is_dir());
    let found = match missing {
        Some(parent) => format!("{} does not exist either", parent.display()),
        None => "it does not exist".into(),
    };
    Err(Error::NoCheckpoint {
        path: place.into(),
        expected: format!(
            "a folder, a file of weights, or a hub id such as openai/clip-vit-base-patch16; {found}"
        ),
    })
}

/// Checks that a checkpoint's parameters are exactly those of `config`. Differences are in the
/// file's own names; `beside` are those of tensors that are not the checkpoint's.
fn compare(path: &Path, config: &Config, named: &Named, beside: &[String]) -> Result<()> {
    let mut rest: BTreeSet<&str> = named.tensors.keys().map(String::as_str).collect();
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for (name, shape) in config.parameters() {
        rest.remove(name.as_str());
        let (own, own_shape) = named.spelling.of(&name, &shape);
        let Some(found) = named.tensors.get(&name) else {
            missing.push(format!("{own} {own_shape:?}"));
            continue;
        };
        if found.shape() != shape {
            let (_, got) = named.spelling.of(&name, found.shape());
            wrong.push(format!(
                "{} is {got:?} and should be {own_shape:?}",
                found.name()
            ));
        }
        if !matches!(found.kind(), Kind::Float | Kind::Half | Kind::BFloat16) {
            wrong.push(format!(
                "{} holds {:?} and should hold fp32, fp16 or bf16",
                found.name(),
                found.kind()
            ));
        }
    }
    // Three parameters may be one tensor in the file.
    missing.dedup();
    wrong.dedup();
    if missing.is_empty() && rest.is_empty() && named.unknown.is_empty() && wrong.is_empty() {
        return Ok(());
    }
    let rest = rest.into_iter().filter_map(|name| named.tensors.get(name));
    let mut unused: Vec<_> = rest.map(|tensor| tensor.name().to_owned()).collect();
    unused.extend(named.unknown.iter().chain(beside).cloned());
    unused.dedup();
    Err(Error::Parameters {
        path: path.into(),
        missing,
        unused,
        wrong,
    })
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
    use super::folder::FOLDERS;
    use crate::OPENAI_VOCABULARY;

    #[test]
    fn the_layouts_read_are_those_fetched() {
        assert_eq!(FOLDERS, hub::CLIP.layouts);
        assert!(hub::CLIP.companions.contains(&OPENAI_VOCABULARY));
    }
}
