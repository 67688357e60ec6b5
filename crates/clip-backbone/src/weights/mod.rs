//! Weight files, and the parameter names used by the towers.
//!
//! [`open_safetensors`] and [`TorchFile`] read the two kinds of file; both give
//! [`StoredTensor`]s, which know the location of their data and read it on demand.

mod file_kind;
pub(crate) mod naming;
pub mod pickle;
mod safetensors_file;
mod stored;
mod torch_archive;
mod torch_file;
mod torch_legacy;
pub(crate) mod wrapper;

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use file_kind::expect_text;
pub use safetensors_file::open_safetensors;
pub use stored::StoredTensor;
pub(crate) use stored::not_a_file;
pub use torch_file::TorchFile;

use self::file_kind::{FileKind, recognise};
use self::stored::Mapped;
use self::torch_file::Located;
use crate::{Error, Result};

/// The tensors of one weight file.
pub(crate) struct WeightFile {
    pub(crate) tensors: BTreeMap<String, Located>,
    /// Whether it is a TorchScript program.
    pub(crate) scripted: bool,
}

impl WeightFile {
    /// Opens a file of any kind that is read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = Mapped::open(path)?;
        if recognise(&file)? == FileKind::Safetensors {
            let tensors = safetensors_file::read(&file)?.into_iter();
            let located = |(name, tensor)| (name, Located { tensor, dict: 0 });
            return Ok(Self {
                tensors: tensors.map(located).collect(),
                scripted: false,
            });
        }
        let file = TorchFile::read(file)?;
        let tensors = file.located(file.root())?;
        if tensors.is_empty() {
            return Err(Error::Malformed {
                path: path.into(),
                item: "weights".into(),
                reason: format!("no tensors in it, only {}", file.root().description()),
            });
        }
        Ok(Self {
            tensors,
            scripted: file.is_scripted(),
        })
    }
}
