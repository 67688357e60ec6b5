//! A group of one.

use tch::Tensor;

use crate::{Group, Result};

/// The group of a process that works alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Solo;

impl Group for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn member(&self, _rank: usize) -> String {
        "this process".into()
    }

    fn all_gather(&self, own: &Tensor) -> Result<Tensor> {
        Ok(own.f_unsqueeze(0)?)
    }

    fn all_to_all(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(rows.shallow_clone())
    }

    fn sum(&self, own: &Tensor) -> Result<Tensor> {
        Ok(own.shallow_clone())
    }

    fn claim(&self, _what: &str) -> Result<bool> {
        Ok(true)
    }

    fn meet(&self) -> Result<()> {
        Ok(())
    }

    fn fail(&self, _reason: &str) {}

    fn leave(&self) -> Result<()> {
        Ok(())
    }
}
