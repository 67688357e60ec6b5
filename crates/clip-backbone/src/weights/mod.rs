//! Weight files, and the names under which the towers find their parameters.
//!
//! [`open_safetensors`] and [`TorchFile`] read the two kinds of file; both give
//! [`StoredTensor`]s, which know where their numbers lie and read them when asked.

pub(crate) mod naming;
pub mod pickle;
mod safetensors_file;
mod stored;
mod torch_file;

pub use safetensors_file::open_safetensors;
pub use stored::StoredTensor;
pub use torch_file::TorchFile;

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::{ParameterSource, Result};

/// Parameters in Hugging Face's names that lie in files.
pub(crate) struct StoredParameters {
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
    pub(crate) device: Device,
    pub(crate) kind: Kind,
}

impl ParameterSource for StoredParameters {
    fn take(&mut self, name: &str) -> Result<Option<Tensor>> {
        let Some(stored) = self.tensors.remove(name) else {
            return Ok(None);
        };
        // The temperature stays in fp32 whatever the towers compute in.
        let kind = if stored.shape().is_empty() {
            Kind::Float
        } else {
            self.kind
        };
        stored.read(self.device, kind).map(Some)
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}
