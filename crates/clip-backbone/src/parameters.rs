//! Where a tower takes its parameters from, and what it will do with them.

use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// What a model's parameters are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Read only: no gradients, constant factors folded into the weights.
    Frozen,
    /// Every parameter is a leaf that collects gradients.
    FineTuned,
}

/// Named parameters in Hugging Face's spelling (`vision_model.…`, `text_model.…`).
pub trait ParameterSource {
    /// The parameter `name`, or `None`. Asked once for each parameter.
    ///
    /// # Errors
    /// Whatever reading it meets.
    fn take(&mut self, name: &str) -> Result<Option<Tensor>>;

    /// Whether [`take`](Self::take) would find `name`.
    fn has(&self, name: &str) -> bool;
}

impl ParameterSource for std::collections::BTreeMap<String, Tensor> {
    fn take(&mut self, name: &str) -> Result<Option<Tensor>> {
        Ok(self.remove(name))
    }

    fn has(&self, name: &str) -> bool {
        self.contains_key(name)
    }
}

/// Takes checked parameters for one model on one device in one precision.
pub(crate) struct Builder<'a> {
    source: &'a mut dyn ParameterSource,
    pub(crate) usage: Usage,
    pub(crate) device: Device,
    pub(crate) kind: Kind,
    taken: Vec<(String, Tensor)>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        source: &'a mut dyn ParameterSource,
        usage: Usage,
        device: Device,
        kind: Kind,
    ) -> Self {
        Self {
            source,
            usage,
            device,
            kind,
            taken: Vec::new(),
        }
    }

    /// The parameter `name` of exactly `shape`, ready for use.
    pub(crate) fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let raw = self.read(name, shape)?;
        Ok(self.finish(name, &raw))
    }

    /// The parameter as the source holds it, checked.
    pub(crate) fn read(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let Some(found) = self.source.take(name)? else {
            return Err(Error::MissingParameter {
                name: name.into(),
                shape: shape.to_vec(),
            });
        };
        if found.size() != shape {
            return Err(Error::ParameterShape {
                name: name.into(),
                expected: shape.to_vec(),
                got: found.size(),
            });
        }
        Ok(found.detach())
    }

    /// Puts a tensor on the device in the model's precision; a fine-tuned model gets a leaf
    /// of its own, registered under `name`.
    pub(crate) fn finish(&mut self, name: &str, raw: &Tensor) -> Tensor {
        let kind = self.kind;
        self.finish_as(name, raw, kind)
    }

    /// As [`finish`](Self::finish), in a precision of its own.
    pub(crate) fn finish_as(&mut self, name: &str, raw: &Tensor, kind: Kind) -> Tensor {
        let tensor = raw.to_device(self.device).to_kind(kind).contiguous();
        if self.usage == Usage::Frozen {
            return tensor;
        }
        // A copy: the source's memory may be a mapped file.
        let leaf = tensor.copy().set_requires_grad(true);
        self.taken.push((name.into(), leaf.shallow_clone()));
        leaf
    }

    /// Every parameter taken so far, named, where the model is fine-tuned.
    pub(crate) fn into_taken(self) -> Vec<(String, Tensor)> {
        self.taken
    }
}
