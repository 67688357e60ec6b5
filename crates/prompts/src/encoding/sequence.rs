//! Every class as a separate sequence.

use clip_backbone::{Mask, TextTower};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Whole sequences, all of one length.
#[derive(Debug)]
pub(super) struct Sequences {
    /// The embedding of \[SOS\], `[1, 1, 1, W]`.
    start: Tensor,
    /// CLASS "." \[EOS\] and padding, `[1, k, L - 1 - H, W]`.
    tails: Tensor,
    /// `[L, W]`
    positions: Tensor,
    /// The position of each class's \[EOS\], `[k]`.
    ends: Tensor,
}

impl Sequences {
    /// Sequences padded to `length`, or to the longest of them.
    pub(super) fn new(
        tower: &TextTower,
        start: i64,
        suffixes: &[Vec<i64>],
        prompts: i64,
        length: Option<i64>,
    ) -> Result<Self> {
        let longest = suffixes.iter().map(Vec::len).max().unwrap_or(0) as i64;
        let tail = length.map_or(longest, |length| length - 1 - prompts);
        let ids: Vec<i64> = suffixes
            .iter()
            .flat_map(|suffix| {
                let padding = tail as usize - suffix.len();
                suffix
                    .iter()
                    .copied()
                    .chain(std::iter::repeat_n(0, padding))
            })
            .collect();
        let ends: Vec<i64> = suffixes
            .iter()
            .map(|suffix| prompts + suffix.len() as i64)
            .collect();
        let tails = tower.embed(&Tensor::from_slice(&ids).view([1, -1, tail]))?;
        Ok(Self {
            start: tower.embed(&Tensor::from_slice(&[start]).view([1, 1, 1]))?,
            tails,
            positions: tower.positions().narrow(0, 0, 1 + prompts + tail),
            ends: Tensor::from_slice(&ends).to_device(tower.device()),
        })
    }

    /// Prompt vectors `[b, H, W]` to features `[b, k, D]`.
    pub(super) fn forward(&self, tower: &TextTower, prompts: &Tensor) -> Result<Tensor> {
        let (_, k, tail, width) = self.tails.size4().map_err(Error::Torch)?;
        let (b, h) = (prompts.size()[0], prompts.size()[1]);
        let prompts = prompts.to_kind(tower.kind()).unsqueeze(1); // (b, 1, H, W)
        let parts = [
            self.start.expand([b, k, 1, width], false),
            prompts.expand([b, k, h, width], false),
            self.tails.expand([b, k, tail, width], false),
        ];
        let length = 1 + h + tail;
        let x = Tensor::f_cat(&parts, 2)?.view([b * k, length, width]);
        let mut x = x + &self.positions;
        for block in tower.blocks() {
            x = block.forward(&x, Mask::Causal);
        }
        let rows =
            Tensor::arange(b * k, (Kind::Int64, x.device())) * length + self.ends.repeat([b]);
        let ends = x.view([b * k * length, width]).index_select(0, &rows); // (b k, W)
        Ok(tower.project(&ends).view([b, k, -1]))
    }
}
