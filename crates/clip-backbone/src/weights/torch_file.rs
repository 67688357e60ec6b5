//! The zip archives of `torch.save` and `torch.jit.save`.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Form, MAX_BYTES, Pickle, TensorSpec, Value};
use super::stored::{Mapped, StoredTensor};
use crate::{Error, Result};

/// The most files in an archive.
const MAX_ENTRIES: usize = 1 << 17;
/// The maximum nesting depth of modules.
const MAX_DEPTH: usize = 32;

/// An archive of `torch.save` or `torch.jit.save`: one object and its tensors.
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    file: Arc<Mapped>,
    pickle: Pickle,
    /// The position of each storage in the file.
    storages: HashMap<String, Range<usize>>,
    scripted: bool,
}

impl TorchFile {
    /// Opens the archive and reads its object, but no tensor. No code in it is run.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::Malformed`] if it is not such an
    /// archive, is cut off, or its pickle names anything but tensors and plain values.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Mapped::open(path)?;
        let malformed = |item: &str, reason: String| Error::Malformed {
            path: path.into(),
            item: item.into(),
            reason,
        };
        let bytes = file.bytes();
        if !bytes.starts_with(b"PK") {
            let reason = if bytes.first() == Some(&0x80) {
                "a bare pickle, as torch.save wrote before PyTorch 1.6; load and save it once with a newer one"
            } else {
                "not a zip archive, which torch.save and torch.jit.save write"
            };
            return Err(malformed("the first bytes", reason.into()));
        }
        let mut archive = ZipArchive::new(Cursor::new(bytes))
            .map_err(|e| malformed("zip directory", e.to_string()))?;
        if archive.len() > MAX_ENTRIES {
            let reason = format!("{} files; at most {MAX_ENTRIES} are read", archive.len());
            return Err(malformed("zip directory", reason));
        }

        let mut entries = HashMap::new();
        for index in 0..archive.len() {
            let zip_error =
                |e: zip::result::ZipError| malformed(&format!("zip entry {index}"), e.to_string());
            let entry = archive.by_index_raw(index).map_err(zip_error)?;
            let name = entry.name().map_err(zip_error)?.into_owned();
            // torch compresses only program text, which is skipped. Everything else is stored
            // as it is, so that a small archive cannot become a large one.
            if name.contains("/code/") {
                continue;
            }
            if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
                return Err(malformed(&name, "compressed or encrypted".into()));
            }
            let range = || {
                let start = usize::try_from(entry.data_start()?).ok()?;
                let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
                (end <= bytes.len() && entry.size() == entry.compressed_size())
                    .then_some(start..end)
            };
            let range =
                range().ok_or_else(|| malformed(&name, "reaches beyond the file".into()))?;
            if entries.insert(name.clone(), range).is_some() {
                return Err(malformed(&name, "appears twice".into()));
            }
        }

        let mut roots = entries
            .keys()
            .filter_map(|name| name.strip_suffix("/data.pkl"))
            .filter(|folder| !folder.contains('/'));
        let (Some(folder), None) = (roots.next(), roots.next()) else {
            return Err(malformed("data.pkl", "expected exactly one".into()));
        };
        let folder = folder.to_owned();
        let slice = |name: &str| {
            let range = entries.get(&format!("{folder}/{name}")).cloned()?;
            bytes.get(range)
        };
        if slice("byteorder").is_some_and(|order| order != b"little") {
            return Err(malformed("byteorder", "not little-endian".into()));
        }
        let item = format!("{folder}/data.pkl");
        // Read through the archive, which verifies the checksum of what is read.
        let mut object = Vec::new();
        archive
            .by_name(&item)
            .map_err(|e| malformed(&item, e.to_string()))?
            .take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut object)
            .map_err(|e| malformed(&item, e.to_string()))?;
        let pickle = Pickle::parse(&object).map_err(|e| malformed(&item, e.to_string()))?;
        let scripted = slice("constants.pkl").is_some();
        let prefix = format!("{folder}/data/");
        let storages = entries
            .into_iter()
            .filter_map(|(name, range)| Some((name.strip_prefix(&prefix)?.to_owned(), range)))
            .collect();
        Ok(Self {
            path: path.into(),
            file,
            pickle,
            storages,
            scripted,
        })
    }

    /// The object saved.
    pub fn root(&self) -> Value<'_> {
        self.pickle.root()
    }

    /// Whether this is a TorchScript program, as OpenAI's files are, not a dict.
    pub fn is_scripted(&self) -> bool {
        self.scripted
    }

    /// The tensors below `value`, named as PyTorch names a state dict's: keys joined by dots.
    ///
    /// Values of other types are skipped.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a tensor whose storage is missing or too short, and if
    /// modules are nested too deeply.
    pub fn tensors(&self, value: Value<'_>) -> Result<BTreeMap<String, StoredTensor>> {
        let mut found = BTreeMap::new();
        // Shared objects would be visited once for each path to them.
        let mut budget = super::pickle::MAX_INSTRUCTIONS;
        self.gather(value, "", 0, &mut budget, &mut found)?;
        Ok(found)
    }

    /// The tensor that `spec` describes; `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] if its storage is missing or too short.
    pub fn tensor(&self, name: &str, spec: &TensorSpec) -> Result<StoredTensor> {
        let malformed = |reason: String| Error::Malformed {
            path: self.path.clone(),
            item: name.into(),
            reason,
        };
        let Some(range) = self.storages.get(&spec.storage) else {
            return Err(malformed(format!(
                "its storage {} is missing",
                spec.storage
            )));
        };
        StoredTensor::new(
            &self.file,
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

    fn gather(
        &self,
        value: Value<'_>,
        name: &str,
        depth: usize,
        budget: &mut usize,
        found: &mut BTreeMap<String, StoredTensor>,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.endless(name));
        }
        if let Form::Tensor(spec) = value.form() {
            found.insert(name.into(), self.tensor(name, spec)?);
            return Ok(());
        }
        for (key, value) in value.entries() {
            *budget = budget.checked_sub(1).ok_or_else(|| self.endless(name))?;
            if let Form::Text(key) = key.form() {
                let name = match name {
                    "" => key.to_owned(),
                    _ => format!("{name}.{key}"),
                };
                self.gather(value, &name, depth + 1, budget, found)?;
            }
        }
        Ok(())
    }

    fn endless(&self, name: &str) -> Error {
        Error::Malformed {
            path: self.path.clone(),
            item: name.chars().take(200).collect(),
            reason: "modules are nested without end".into(),
        }
    }
}
