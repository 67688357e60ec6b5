//! [`Head::Lstm`](super::Head::Lstm).

use layers::init::fan_in;
use tch::Tensor;
use tch::nn::Path;

use super::{Temporal, mean_of};
use crate::Result;

#[derive(Debug)]
pub(super) struct Lstm {
    /// PyTorch's parameters of an LSTM, in its order.
    parameters: [Tensor; 4],
    width: i64,
}

impl Lstm {
    pub(super) fn new(path: &Path<'_>, width: i64) -> Result<Self> {
        let path = path / "lstm_visual";
        let make = |name: &str, shape: &[i64]| path.f_var(name, shape, fan_in(width));
        Ok(Self {
            parameters: [
                make("weight_ih_l0", &[4 * width, width])?,
                make("weight_hh_l0", &[4 * width, width])?,
                make("bias_ih_l0", &[4 * width])?,
                make("bias_hh_l0", &[4 * width])?,
            ],
            width,
        })
    }
}

impl Temporal for Lstm {
    fn forward(&self, frames: &Tensor, train: bool) -> Result<Tensor> {
        let zero = Tensor::zeros(
            [1, frames.size()[0], self.width],
            (frames.kind(), frames.device()),
        );
        let (states, _, _) = frames.lstm(
            &[&zero, &zero],
            &self.parameters.each_ref(),
            true,
            1,
            0.0,
            train,
            false,
            true,
        );
        Ok(mean_of(&(states + frames)))
    }
}
