//! The files of `torch.save` and `torch.jit.save`.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_kind::{FileKind, recognise};
use super::pickle::{Form, MAX_INSTRUCTIONS, Pickle, TensorSpec, Value};
use super::stored::{Mapped, StoredTensor};
use super::{torch_archive, torch_legacy};
use crate::{Error, Result};

/// The longest name of a tensor, in bytes; longer ones are skipped.
const MAX_NAME: usize = 256;
/// The dicts of a pickled module, which its tensors' names leave out.
const MODULE_DICTS: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// A file of `torch.save` or `torch.jit.save`: one object and its tensors.
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    file: Arc<Mapped>,
    content: Content,
}

/// What a reader of one format finds.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) pickle: Pickle,
    /// The position of each storage in the file.
    pub(super) storages: HashMap<String, Range<usize>>,
    pub(super) scripted: bool,
}

/// A tensor and the dict that holds it.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) tensor: StoredTensor,
    /// The length of the dict's part of the name, with its final dot: the dict is the innermost one
    /// that is not part of a module.
    pub(crate) dict: usize,
}

impl TorchFile {
    /// Opens the file and reads its object, but no tensor. No code in it is run.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::Malformed`] and [`Error::CutOff`] if it
    /// is damaged; [`Error::WrongFile`] if it is something else.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Mapped::open(path)?;
        match recognise(&file)? {
            FileKind::Torch => Self::read(file),
            FileKind::Safetensors => Err(Error::WrongFile {
                path: path.into(),
                found: "a safetensors file, not one of torch.save".into(),
            }),
        }
    }

    pub(super) fn read(file: Arc<Mapped>) -> Result<Self> {
        let content = match torch_legacy::is_legacy(file.bytes()) {
            true => torch_legacy::read(&file)?,
            false => torch_archive::read(&file)?,
        };
        Ok(Self {
            path: file.path().into(),
            file,
            content,
        })
    }

    /// The object saved.
    pub fn root(&self) -> Value<'_> {
        self.content.pickle.root()
    }

    /// Whether this is a TorchScript program, as OpenAI's files are, not a dict.
    pub fn is_scripted(&self) -> bool {
        self.content.scripted
    }

    /// The tensors below `value`, named as PyTorch names a state dict's: keys joined by dots.
    ///
    /// Values of other types are skipped. An object that is reached in several ways is named after
    /// the shortest.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a tensor whose storage is missing or too short, and for objects that
    /// share their entries more often than a checkpoint's do.
    pub fn tensors(&self, value: Value<'_>) -> Result<BTreeMap<String, StoredTensor>> {
        let found = self.located(value)?.into_iter();
        Ok(found.map(|(name, found)| (name, found.tensor)).collect())
    }

    /// The same, each with its dict.
    pub(crate) fn located(&self, value: Value<'_>) -> Result<BTreeMap<String, Located>> {
        let mut found = BTreeMap::new();
        let mut seen = HashSet::from([value.id()]);
        let mut pending = VecDeque::from([Part {
            value,
            name: String::new(),
            dict: 0,
            of_module: false,
        }]);
        // Several objects may have the same dict as attributes, each to be gone through.
        let mut budget = MAX_INSTRUCTIONS;
        while let Some(part) = pending.pop_front() {
            for (key, value) in part.children() {
                budget = budget.checked_sub(1).ok_or_else(|| Error::Malformed {
                    path: self.path.clone(),
                    item: part.name.clone(),
                    reason: format!("more than {MAX_INSTRUCTIONS} entries"),
                })?;
                let name = format!("{}{key}", part.name);
                if name.len() > MAX_NAME {
                    continue;
                }
                if let Form::Tensor(spec) = value.form() {
                    let tensor = self.tensor(&name, spec)?;
                    let dict = part.dict;
                    found.insert(name, Located { tensor, dict });
                } else if let Some(child) = part.child(&key, value)
                    && seen.insert(value.id())
                {
                    pending.push_back(child);
                }
            }
        }
        Ok(found)
    }

    /// The tensor that `spec` describes, under the given name.
    ///
    /// # Errors
    /// [`Error::Malformed`] if its storage is missing or too short.
    pub fn tensor(&self, name: &str, spec: &TensorSpec) -> Result<StoredTensor> {
        let malformed = |reason: String| Error::Malformed {
            path: self.path.clone(),
            item: name.into(),
            reason,
        };
        let Some(range) = self.content.storages.get(&spec.storage) else {
            return Err(malformed(format!(
                "its storage {} is missing",
                spec.storage
            )));
        };
        StoredTensor::new(
            &self.file,
            name,
            range.clone(),
            spec.kind,
            spec.offset,
            spec.shape.clone(),
            spec.strides.clone(),
        )
        .ok_or_else(|| {
            malformed(format!(
                "shape {:?} of {:?} does not fit its storage of {} bytes",
                spec.shape,
                spec.kind,
                range.len()
            ))
        })
    }
}

/// An object whose tensors are to be named.
struct Part<'a> {
    value: Value<'a>,
    /// Its name with a final dot; empty for the outermost.
    name: String,
    dict: usize,
    /// Whether it is one of a pickled module's dicts.
    of_module: bool,
}

impl<'a> Part<'a> {
    /// Its entries or items, by name or number.
    fn children(&self) -> impl Iterator<Item = (String, Value<'a>)> + use<'a> {
        let entries = self.value.entries().filter_map(|(key, value)| {
            let Form::Text(key) = key.form() else {
                return None;
            };
            (key.len() <= MAX_NAME).then(|| (key.to_owned(), value))
        });
        let items = self.value.items().enumerate();
        entries.chain(items.map(|(index, value)| (index.to_string(), value)))
    }

    /// Its child of this name, if that may hold tensors.
    fn child(&self, key: &str, value: Value<'a>) -> Option<Self> {
        if !matches!(
            value.form(),
            Form::Dict | Form::Object { .. } | Form::Sequence
        ) {
            return None;
        }
        let of_object = matches!(self.value.form(), Form::Object { .. });
        if of_object && MODULE_DICTS.contains(&key) {
            return Some(Self {
                value,
                name: self.name.clone(),
                dict: self.dict,
                of_module: true,
            });
        }
        let name = format!("{}{key}.", self.name);
        let dict = match of_object || self.of_module {
            true => self.dict,
            false => name.len(),
        };
        Some(Self {
            value,
            name,
            dict,
            of_module: false,
        })
    }
}
