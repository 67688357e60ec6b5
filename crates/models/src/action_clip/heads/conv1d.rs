//! [`Head::Conv1d`](super::Head::Conv1d).

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::{Temporal, mean_of};
use crate::Result;

#[derive(Debug)]
pub(super) struct Conv1d {
    /// `[D, 1, 3]`
    taps: Tensor,
}

impl Conv1d {
    /// The first quarter of the channels looks one frame back, the middle half at the frame itself,
    /// the last quarter one frame ahead.
    pub(super) fn new(path: &Path<'_>, width: i64) -> Result<Self> {
        let path = path / "shift";
        let shift = Tensor::zeros([width, 1, 3], (Kind::Float, path.device()));
        let (quarter, half) = (width / 4, width / 2);
        for (from, count, tap) in [
            (0, quarter, 0),
            (quarter, half, 1),
            (quarter + half, width - quarter - half, 2),
        ] {
            let _ = shift.narrow(0, from, count).select(2, tap).fill_(1.0);
        }
        let taps = path.f_var_copy("weight", &shift)?;
        Ok(Self { taps })
    }
}

impl Temporal for Conv1d {
    fn forward(&self, frames: &Tensor, _train: bool) -> Result<Tensor> {
        let by_channel = frames.transpose(1, 2); // (B, D, T)
        let groups = by_channel.size()[1];
        let shifted = by_channel
            .conv1d(&self.taps, None::<&Tensor>, 1, 1, 1, groups)
            .transpose(1, 2);
        Ok(mean_of(&(shifted + frames)))
    }
}
