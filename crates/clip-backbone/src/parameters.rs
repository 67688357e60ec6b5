//! The source of a tower's parameters, and their usage.

use layers::LayerNorm;
use tch::{Device, Kind, Tensor};

use crate::weights::StoredTensor;
use crate::{Error, Result};

/// The usage of a model's parameters.
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

/// A parameter with its name, for messages.
#[derive(Debug)]
pub(crate) struct Found {
    name: String,
    parameter: Parameter,
}

impl Found {
    /// Writes it, times `factor` if there is one, to a tensor of its shape.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a number in `to` is not finite then; [`Error::Torch`] if out of
    /// memory.
    pub(crate) fn write(&self, to: &mut Tensor, factor: Option<f64>) -> Result<()> {
        self.parameter.write(to, factor)?;
        if is_finite(to)? {
            return Ok(());
        }
        let (path, name) = match &self.parameter {
            Parameter::Tensor(_) => (None, self.name.as_str()),
            Parameter::Stored(stored) => (Some(stored.path().into()), stored.name()),
        };
        Err(Error::NotFinite {
            path,
            name: name.into(),
            kind: to.kind(),
        })
    }
}

/// Whether no number is NaN or infinite.
fn is_finite(tensor: &Tensor) -> Result<bool> {
    if tensor.numel() == 0 {
        return Ok(true);
    }
    // Both ends are NaN if any number is. One pass and no copy.
    let (low, high) = tensor.detach().f_aminmax(None, false)?;
    Ok(low.double_value(&[]).is_finite() && high.double_value(&[]).is_finite())
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
        match self {
            Self::Tensor(tensor) => place(&tensor.detach(), to, factor),
            Self::Stored(stored) => stored.write(to, factor),
        }
    }
}

/// Writes `numbers`, times `factor` if there is one, to `to`, a tensor of their shape. A product is
/// computed in fp32 and rounded once, whatever the source precision. From fp32 to fp32 on the CPU
/// and without a factor, it is one pass.
pub(crate) fn place(numbers: &Tensor, to: &mut Tensor, factor: Option<f64>) -> Result<()> {
    debug_assert_eq!(numbers.size(), to.size());
    // Another device receives the numbers as they are, to convert them there.
    let numbers = numbers.f_to_device(to.device())?;
    let Some(factor) = factor.map(Tensor::from) else {
        return Ok(to.f_copy_(&numbers)?);
    };
    let float = |tensor: &Tensor| tensor.kind() == Kind::Float;
    if float(&numbers) && float(to) {
        let _ = numbers.f_mul_out(to, &factor)?;
    } else {
        to.f_copy_(&numbers.f_to_kind(Kind::Float)?.f_mul(&factor)?)?;
    }
    Ok(())
}

/// Named parameters in Hugging Face's spelling (`vision_model.…`, `text_model.…`).
pub trait ParameterSource {
    /// The parameter `name`, or `None`. Called once for each parameter.
    ///
    /// # Errors
    /// Any error in finding it.
    fn take(&mut self, name: &str) -> Result<Option<Parameter>>;
}

impl ParameterSource for std::collections::BTreeMap<String, Tensor> {
    fn take(&mut self, name: &str) -> Result<Option<Parameter>> {
        Ok(self.remove(name).map(Parameter::from))
    }
}

/// A checkpoint's parameters, still in their files.
impl ParameterSource for std::collections::BTreeMap<String, StoredTensor> {
    fn take(&mut self, name: &str) -> Result<Option<Parameter>> {
        Ok(self.remove(name).map(Parameter::from))
    }
}

/// Takes checked parameters for one model, with one device and one precision.
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
        let found = self.find(name, shape)?;
        self.make(name, shape, self.kind, |to| found.write(to, None))
    }

    /// The same times `factor`.
    pub(crate) fn scaled(&mut self, name: &str, shape: &[i64], factor: f64) -> Result<Tensor> {
        let found = self.find(name, shape)?;
        self.make(name, shape, self.kind, |to| found.write(to, Some(factor)))
    }

    /// The norm `name` over `width` channels.
    pub(crate) fn norm(&mut self, name: &str, width: i64, eps: f64) -> Result<LayerNorm> {
        Ok(LayerNorm {
            weight: self.take(&format!("{name}.weight"), &[width])?,
            bias: self.take(&format!("{name}.bias"), &[width])?,
            eps,
        })
    }

    /// The parameter `name` of exactly `shape`, if the source has it.
    pub(crate) fn find(&mut self, name: &str, shape: &[i64]) -> Result<Found> {
        let Some(found) = self.source.take(name)? else {
            return Err(Error::MissingParameter {
                name: name.into(),
                shape: shape.to_vec(),
            });
        };
        if found.shape() != shape {
            return Err(Error::ParameterShape {
                name: name.into(),
                expected: shape.to_vec(),
                got: found.shape(),
            });
        }
        Ok(Found {
            name: name.into(),
            parameter: found,
        })
    }

    /// A tensor of `shape` that `fill` writes to, on the device in precision `kind`; a fine-tuned
    /// model gets it as a leaf, registered under `name`.
    pub(crate) fn make(
        &mut self,
        name: &str,
        shape: &[i64],
        kind: Kind,
        fill: impl FnOnce(&mut Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut tensor = Tensor::f_empty(shape, (kind, self.device))?;
        fill(&mut tensor)?;
        if self.usage == Usage::FineTuned {
            tensor = tensor.f_set_requires_grad(true)?;
            self.taken.push((name.into(), tensor.shallow_clone()));
        }
        Ok(tensor)
    }

    /// Every parameter taken so far, with its name, if the model is fine-tuned.
    pub(crate) fn into_taken(self) -> Vec<(String, Tensor)> {
        self.taken
    }
}
