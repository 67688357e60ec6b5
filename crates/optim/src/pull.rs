//! A pull of the parameters towards where they started.

use tch::Tensor;

use crate::Result;

/// The penalty μ / 2 |θ − θ₀|² on the distance of the parameters θ from their start θ₀: "Explicit
/// Inductive Bias for Transfer Learning" (Li et al., ICML 2018) calls it L2-SP.
#[derive(Debug)]
pub(crate) struct Pull {
    strength: f64,
    /// Each parameter and its start.
    parameters: Vec<[Tensor; 2]>,
}

impl Pull {
    /// A pull of strength μ towards the present values of `parameters`.
    pub(crate) fn new<'a>(strength: f64, parameters: impl Iterator<Item = &'a Tensor>) -> Self {
        Self {
            strength,
            parameters: parameters
                .map(|tensor| [tensor.shallow_clone(), tensor.detach().copy()])
                .collect(),
        }
    }

    /// Adds the penalty's gradient, μ (θ − θ₀), to those that the parameters have.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if a libtorch operation fails.
    pub(crate) fn add_gradients(&self) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for [tensor, start] in &self.parameters {
            let mut gradient = tensor.grad();
            if gradient.defined() {
                let away = (tensor.detach() - start) * self.strength;
                let _ = gradient.f_add_(&away)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tch::{Device, Kind, nn};

    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_penalty() {
        let store = nn::VarStore::new(Device::Cpu);
        let mut tensor = store.root().f_var("x", &[3], nn::Init::Const(2.0)).unwrap();
        let still = store.root().f_var("y", &[1], nn::Init::Const(1.0)).unwrap();
        let pull = Pull::new(0.5, [&tensor, &still].into_iter());
        tch::no_grad(|| {
            let _ = tensor.g_add_scalar_(3.0);
        });
        // The sum has the gradient 1; the pull adds 0.5 x 3.
        tensor.sum(Kind::Float).backward();
        pull.add_gradients().unwrap();
        let gradient = Vec::<f32>::try_from(tensor.grad()).unwrap();
        assert_eq!(gradient, [2.5; 3]);
        assert!(!still.grad().defined());
    }
}
