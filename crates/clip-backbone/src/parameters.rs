//! Where a tower takes its parameters from, and what it will do with them.

use tch::{Device, Kind, Tensor};

use crate::weights::StoredTensor;
use crate::{Error, Result};

/// What a model's parameters are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Read only: no gradients, constant factors folded into the weights.
    Frozen,
    /// Every parameter is a leaf that collects gradients.
    FineTuned,
}

/// A parameter, in memory or still in its file.
#[derive(Debug)]
pub enum Parameter {
    /// In memory.
    Tensor(Tensor),
    /// In a file.
    Stored(StoredTensor),
}

impl From<Tensor> for Parameter {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl From<StoredTensor> for Parameter {
    fn from(stored: StoredTensor) -> Self {
        Self::Stored(stored)
    }
}

impl Parameter {
    /// Extent of each dimension.
    fn shape(&self) -> Vec<i64> {
        match self {
            Self::Tensor(tensor) => tensor.size(),
            Self::Stored(stored) => stored.shape().to_vec(),
        }
    }

    /// Writes it, times `factor` if there is one, to a tensor of its shape.
    fn write(&self, to: &mut Tensor, factor: Option<f64>) -> Result<()> {
        match (self, factor) {
            (Self::Stored(stored), _) => stored.write(to, factor)?,
            (Self::Tensor(tensor), None) => to.f_copy_(&tensor.detach())?,
            (Self::Tensor(tensor), Some(factor)) => {
                to.f_copy_(&tensor.detach())?;
                let _ = to.f_mul_scalar_(factor)?;
            }
        }
        Ok(())
    }
}

/// Named parameters in Hugging Face's spelling (`vision_model.…`, `text_model.…`).
pub trait ParameterSource {
    /// The parameter `name`, or `None`. Asked once for each parameter.
    ///
    /// # Errors
    /// Whatever finding it meets.
    fn take(&mut self, name: &str) -> Result<Option<Parameter>>;
}

impl ParameterSource for std::collections::BTreeMap<String, Tensor> {
    fn take(&mut self, name: &str) -> Result<Option<Parameter>> {
        Ok(self.remove(name).map(Parameter::from))
    }
}

/// Parameters in Hugging Face's names that lie in files.
impl ParameterSource for std::collections::BTreeMap<String, StoredTensor> {
    fn take(&mut self, name: &str) -> Result<Option<Parameter>> {
        Ok(self.remove(name).map(Parameter::from))
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
        self.make(name, shape, self.kind, |builder, to| {
            builder.fill(to, name, None)
        })
    }

    /// The same times `factor`.
    pub(crate) fn scaled(&mut self, name: &str, shape: &[i64], factor: f64) -> Result<Tensor> {
        self.make(name, shape, self.kind, |builder, to| {
            builder.fill(to, name, Some(factor))
        })
    }

    /// A tensor of `shape` that `fill` writes to, on the device in precision `kind`; a fine-tuned
    /// model gets it as a leaf, registered under `name`. Nothing is copied twice on its way from a
    /// file.
    pub(crate) fn make(
        &mut self,
        name: &str,
        shape: &[i64],
        kind: Kind,
        fill: impl FnOnce(&mut Self, &mut Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut tensor = Tensor::f_empty(shape, (kind, self.device))?;
        fill(self, &mut tensor)?;
        if self.usage == Usage::FineTuned {
            tensor = tensor.f_set_requires_grad(true)?;
            self.taken.push((name.into(), tensor.shallow_clone()));
        }
        Ok(tensor)
    }

    /// Writes the parameter `name`, of exactly the shape of `to`, there.
    pub(crate) fn fill(&mut self, to: &mut Tensor, name: &str, factor: Option<f64>) -> Result<()> {
        let shape = to.size();
        let Some(found) = self.source.take(name)? else {
            return Err(Error::MissingParameter {
                name: name.into(),
                shape,
            });
        };
        if found.shape() != shape {
            return Err(Error::ParameterShape {
                name: name.into(),
                expected: shape,
                got: found.shape(),
            });
        }
        found.write(to, factor)
    }

    /// Every parameter taken so far, named, where the model is fine-tuned.
    pub(crate) fn into_taken(self) -> Vec<(String, Tensor)> {
        self.taken
    }
}
