//! [`Head::Mean`](super::Head::Mean).

use tch::Tensor;

use super::{Temporal, mean_of};
use crate::Result;

#[derive(Debug)]
pub(super) struct Mean;

impl Temporal for Mean {
    fn forward(&self, frames: &Tensor, _train: bool) -> Result<Tensor> {
        Ok(mean_of(frames))
    }
}
