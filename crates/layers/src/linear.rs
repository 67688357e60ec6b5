//! Linear maps.

use tch::Tensor;
use tch::nn::{Init, Path};

use crate::Result;
use crate::init::{ZERO, fan_in, normal};

/// y = x Wᵀ + b.
#[derive(Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Option<Tensor>,
}

/// The initial values of a linear map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LinearInit {
    /// Weight and bias uniform within 1 / √inputs, PyTorch's default.
    Uniform,
    /// A uniform weight as above, a zero bias.
    UniformZeroBias,
    /// A normal weight of this standard deviation, a zero bias.
    Normal(f64),
    /// All zeros: the map adds nothing at first.
    Zero,
}

impl LinearInit {
    fn weight_and_bias(self, inputs: i64) -> (Init, Init) {
        match self {
            Self::Uniform => (fan_in(inputs), fan_in(inputs)),
            Self::UniformZeroBias => (fan_in(inputs), ZERO),
            Self::Normal(stdev) => (normal(stdev), ZERO),
            Self::Zero => (ZERO, ZERO),
        }
    }
}

impl Linear {
    /// A trainable map with its parameters at `path.weight` and `path.bias`.
    ///
    /// # Errors
    /// [`Error::Torch`](crate::Error::Torch) if a parameter cannot be allocated.
    pub fn new(path: &Path<'_>, inputs: i64, outputs: i64, init: LinearInit) -> Result<Self> {
        let (weight, bias) = init.weight_and_bias(inputs);
        Ok(Self {
            weight: path.f_var("weight", &[outputs, inputs], weight)?,
            bias: Some(path.f_var("bias", &[outputs], bias)?),
        })
    }

    /// Maps `[.., in]` to `[.., out]`. A tensor of another width panics, as in all of tch's
    /// operators.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }

    /// The map to only the outputs `start .. start + length`, on the same storage.
    pub fn rows(&self, start: i64, length: i64) -> Self {
        let rows = |tensor: &Tensor| tensor.narrow(0, start, length);
        Self {
            weight: rows(&self.weight),
            bias: self.bias.as_ref().map(rows),
        }
    }

    /// Overwrites the weight, and the bias if one is given.
    ///
    /// # Errors
    /// [`Error::Torch`](crate::Error::Torch) for tensors that do not broadcast to the parameters'
    /// shapes.
    pub fn set(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.weight.shallow_clone().f_copy_(weight)?;
        if let (Some(to), Some(bias)) = (&self.bias, bias) {
            to.shallow_clone().f_copy_(bias)?;
        }
        Ok(())
    }

    /// The same parameters, shared.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
        }
    }
}
