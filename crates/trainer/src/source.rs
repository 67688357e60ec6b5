//! Where a training step takes its clips from.

use models::Clips;
use tch::{Kind, Tensor};

use crate::seed::{Purpose, Stream};
use crate::{Error, Result};

/// Labelled clips that can be asked for in batches.
pub trait ClipSource {
    /// The class of every clip, an index into the run's labels.
    fn classes(&self) -> &[i64];

    /// Every class of the clip at `position`, where clips show several; else none.
    fn shown(&self, _position: usize) -> &[i64] {
        &[]
    }

    /// A batch: the clips at `positions`, as training sees them in `epoch` of a run with
    /// `seed`, but for those that cannot be read.
    ///
    /// # Errors
    /// Whatever reading them meets.
    fn batch(&mut self, positions: &[usize], seed: u64, epoch: u64) -> Result<Drawn>;

    /// Says which batch will be asked for next, so that work on it can begin.
    ///
    /// # Errors
    /// Whatever keeps it from beginning.
    fn ahead(&mut self, _positions: &[usize], _seed: u64, _epoch: u64) -> Result<()> {
        Ok(())
    }
}

/// A batch as it was drawn.
#[derive(Debug)]
pub struct Drawn {
    /// The clips.
    pub clips: Clips,
    /// Which they are, in their order: those asked for, without those left out.
    pub positions: Vec<usize>,
    /// Ids of clips that could not be read.
    pub left_out: Vec<String>,
}

/// Clips whose frame features are in memory: `[N, V, T, D]`, V views a clip.
#[derive(Debug)]
pub struct CachedClips {
    features: Tensor,
    classes: Vec<i64>,
    shown: Vec<Vec<i64>>,
}

impl CachedClips {
    /// Features `[N, V, T, D]` with the class of each of the N clips.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the shape is another.
    pub fn new(features: Tensor, classes: Vec<i64>) -> Result<Self> {
        let size = features.size();
        if size.len() != 4 || size.first() != Some(&(classes.len() as i64)) {
            return Err(Error::mismatch(
                "training features",
                format!("[{}, V, T, D]", classes.len()),
                format!("{size:?}"),
            ));
        }
        Ok(Self {
            features,
            classes,
            shown: Vec::new(),
        })
    }

    /// The same of clips that show several classes each, `shown` in the clips' order.
    pub fn showing(self, shown: Vec<Vec<i64>>) -> Self {
        Self { shown, ..self }
    }
}

impl ClipSource for CachedClips {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn shown(&self, position: usize) -> &[i64] {
        self.shown.get(position).map_or(&[], Vec::as_slice)
    }

    fn batch(&mut self, positions: &[usize], seed: u64, epoch: u64) -> Result<Drawn> {
        let views = usize::try_from(self.features.size4()?.1).unwrap_or(1);
        let flat = self.features.flatten(0, 1); // (N V, T, D)
        let rows: Vec<i64> = positions
            .iter()
            .map(|position| {
                // Keyed by the clip, so that a clip's view does not depend on its batch.
                let view = Stream::new(seed, Purpose::View, epoch, *position as u64).below(views);
                (position * views + view) as i64
            })
            .collect();
        let batch = flat.f_index_select(0, &Tensor::from_slice(&rows))?;
        Ok(Drawn {
            clips: Clips::Features(batch.to_kind(Kind::Float)),
            positions: positions.to_vec(),
            left_out: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_batch_is_the_clips_asked_for_in_their_order() {
        let features = Tensor::arange(24, (Kind::Float, tch::Device::Cpu)).view([3, 2, 2, 2]);
        let mut source = CachedClips::new(features, vec![0, 1, 0]).unwrap();
        let mut views = std::collections::BTreeSet::new();
        for epoch in 0..20 {
            let Clips::Features(batch) = source.batch(&[2, 0], 7, epoch).unwrap().clips else {
                panic!("features expected");
            };
            assert_eq!(batch.size(), [2, 2, 2]);
            let first = batch.double_value(&[0, 0, 0]);
            assert!(first == 16.0 || first == 20.0);
            views.insert(first as i64);
            assert!(batch.double_value(&[1, 0, 0]) < 8.0);
        }
        assert_eq!(views.len(), 2, "both views are seen");
    }

    #[test]
    fn another_shape_is_refused() {
        let features = Tensor::zeros([3, 2, 2], (Kind::Float, tch::Device::Cpu));
        assert!(CachedClips::new(features, vec![0, 1, 0]).is_err());
    }
}
