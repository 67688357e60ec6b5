//! The features of the frames of a clip: the class token's, and further ones of the frozen tower.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Power of a patch's change in its weight: with 8, a handful of patches counts.
const SHARPNESS: f64 = 8.0;
/// Change that does not count: where nothing moves, all patches count the same.
const STILL: f64 = 1e-9;
/// Blocks whose class tokens are [`FrameTokens::Layers`].
const LAYERS: usize = 3;
/// Blocks after the patch tokens of [`FrameTokens::Moving`].
const AFTER_MOVING: usize = 2;

/// The features that are computed of each frame.
///
/// All but the first are read from states within the tower, normalised and projected into the joint
/// space as the last class token is. The patches of the last block are never computed: nothing that the
/// tower was trained for reads them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameTokens {
    /// That of the class token, D numbers.
    #[default]
    Class,
    /// The same, and after it that of the moving patches: 2 D numbers.
    ///
    /// Of the patch tokens two blocks before the end of the tower, the mean
    /// weighted by the 8th power of each patch's change from the frame before and to the frame
    /// after in the clip. Where the background tells little, this is where the action is.
    Moving,
    /// The class token's, and the mean of all patches before the last block: 2 D numbers.
    Patches,
    /// The class token's, and the means of the patches of each quarter of the frame before the last
    /// block, row by row: 5 D numbers.
    Regions,
    /// The class token's, and those of the class tokens before the last three blocks: 4 D numbers.
    Layers,
    /// The class token's, and the covariance of the patches before the last block: 2 D numbers.
    ///
    /// Of R random projections of the patches, the same for every tower of one width, the upper triangle
    /// of their covariance, R (R + 1) / 2 <= D numbers, and zeros.
    SecondOrder,
}

impl FrameTokens {
    /// Every choice.
    pub const ALL: [Self; 6] = [
        Self::Class,
        Self::Moving,
        Self::Patches,
        Self::Regions,
        Self::Layers,
        Self::SecondOrder,
    ];

    /// Features of width D per frame.
    pub fn count(self) -> i64 {
        match self {
            Self::Class => 1,
            Self::Moving | Self::Patches | Self::SecondOrder => 2,
            Self::Layers => 1 + LAYERS as i64,
            Self::Regions => 5,
        }
    }

    /// The states that it reads.
    pub(crate) fn states(self) -> usize {
        match self {
            Self::Class => 0,
            Self::Layers => LAYERS,
            _ => 1,
        }
    }

    /// The blocks before which its states are read, of a tower of `blocks`.
    pub(crate) fn read_before(self, blocks: usize) -> std::ops::Range<usize> {
        let one = |after: usize| {
            let block = blocks.saturating_sub(after);
            block..block + 1
        };
        match self {
            Self::Class => 0..0,
            Self::Moving => one(AFTER_MOVING),
            Self::Patches | Self::Regions | Self::SecondOrder => one(1),
            Self::Layers => blocks.saturating_sub(LAYERS)..blocks,
        }
    }

    /// The tokens of a state `[N, 1 + P, width]` that are projected: the patches or the class token.
    pub(crate) fn of_state(self, state: &Tensor) -> Tensor {
        match self {
            Self::Class | Self::Layers => state.narrow(1, 0, 1),
            _ => state.slice(1, 1, None, 1),
        }
    }

    /// The further features of clips `[B, T, (1 + E) D]` by the projected tokens `[B, T, P, D]`: `[B, T, E D]`.
    fn further(self, tokens: &Tensor) -> Result<Tensor> {
        match self {
            Self::Class | Self::Layers => Ok(tokens.f_flatten(2, 3)?),
            Self::Moving => moving(tokens),
            Self::Patches => Ok(tokens.f_mean_dim(2, false, Kind::Float)?),
            Self::Regions => regions(tokens),
            Self::SecondOrder => second_order(tokens),
        }
    }
}

impl std::fmt::Display for FrameTokens {
    /// Its name in a configuration.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Class => "class",
            Self::Moving => "moving",
            Self::Patches => "patches",
            Self::Regions => "regions",
            Self::Layers => "layers",
            Self::SecondOrder => "second_order",
        })
    }
}

/// Frames that went through the image tower; which patches move is known in a clip only.
#[derive(Debug)]
pub struct EncodedFrames {
    pub(crate) kind: FrameTokens,
    /// `[N, D]`, fp32, not normalised.
    pub(crate) class: Tensor,
    /// The tokens of further features, `[N, P, D]`, fp32.
    pub(crate) tokens: Option<Tensor>,
}

impl EncodedFrames {
    /// Each frame.
    ///
    /// # Errors
    /// libtorch cannot make the views.
    pub fn each(&self) -> Result<Vec<Self>> {
        let one = |at: i64| -> Result<Self> {
            let tokens = self.tokens.as_ref();
            Ok(Self {
                kind: self.kind,
                class: self.class.f_narrow(0, at, 1)?,
                tokens: tokens.map(|all| all.f_narrow(0, at, 1)).transpose()?,
            })
        };
        (0..self.class.size().first().copied().unwrap_or(0))
            .map(one)
            .collect()
    }

    /// Some frames of one kind side by side; `None` of none.
    ///
    /// # Errors
    /// They differ in size.
    pub fn of(frames: &[&Self]) -> Result<Option<Self>> {
        let Some(first) = frames.first() else {
            return Ok(None);
        };
        let class: Vec<&Tensor> = frames.iter().map(|frame| &frame.class).collect();
        let tokens: Option<Vec<&Tensor>> =
            frames.iter().map(|frame| frame.tokens.as_ref()).collect();
        Ok(Some(Self {
            kind: first.kind,
            class: Tensor::f_cat(&class, 0)?,
            tokens: tokens.map(|all| Tensor::f_cat(&all, 0)).transpose()?,
        }))
    }

    /// The features of clips of T frames each, one after another: `[B, T, F]` in fp32, where F is D times
    /// [`FrameTokens::count`].
    ///
    /// # Errors
    /// [`Error::Shape`] if the frames are no whole number of clips.
    pub fn clips(&self, frames: i64) -> Result<Tensor> {
        let size = self.class.size();
        let (count, width) = (size[0], size[1]);
        if frames < 1 || count % frames != 0 {
            return Err(Error::Shape {
                op: "frames of clips",
                expected: format!("a multiple of {frames} frames"),
                got: size,
            });
        }
        let clips = count / frames;
        let class = self.class.f_view([clips, frames, width])?;
        let Some(tokens) = &self.tokens else {
            return Ok(class);
        };
        let further = self
            .kind
            .further(&tokens.f_view([clips, frames, -1, width])?)?;
        Ok(Tensor::f_cat(&[class, further], 2)?)
    }
}

/// The weighted mean of the patches that move: `[B, T, P, D]` to `[B, T, D]`.
fn moving(patches: &Tensor) -> Result<Tensor> {
    let size = patches.size();
    let frames = size[1];
    let change = match frames {
        1 => Tensor::zeros(&size[..3], (Kind::Float, patches.device())),
        _ => {
            let after = patches.f_narrow(1, 1, frames - 1)?;
            let step = (after - patches.f_narrow(1, 0, frames - 1)?).f_norm_scalaropt_dim(
                2,
                [-1],
                false,
            )?; // (B, T - 1, P)
            // The mean of the steps to both neighbours; the ends have one.
            let (first, last) = (step.narrow(1, 0, 1), step.narrow(1, frames - 2, 1));
            let before = Tensor::f_cat(&[&first, &step], 1)?;
            (before + Tensor::f_cat(&[&step, &last], 1)?) * 0.5
        }
    };
    let weights =
        ((&change + STILL) / (change.amax(-1, true) + STILL)).pow_tensor_scalar(SHARPNESS);
    let weights = &weights / weights.sum_dim_intlist(-1i64, true, Kind::Float);
    Ok(weights
        .f_unsqueeze(-2)?
        .f_matmul(patches)?
        .f_squeeze_dim(2)?)
}

/// The means of the quarters of a square of patches: `[B, T, P, D]` to `[B, T, 4 D]`.
fn regions(patches: &Tensor) -> Result<Tensor> {
    let size = patches.size();
    let (count, width) = (size[2], size[3]);
    let side = (count as f64).sqrt() as i64;
    let square = patches
        .f_view([size[0] * size[1], side, side, width])?
        .permute([0, 3, 1, 2]); // (B T, D, side, side)
    let quarters = square.f_adaptive_avg_pool2d([2, 2])?; // (B T, D, 2, 2)
    let quarters = quarters.permute([0, 2, 3, 1]);
    Ok(quarters.f_reshape([size[0], size[1], 4 * width])?)
}

/// The covariance of R projections of the patches: `[B, T, P, D]` to `[B, T, D]`.
fn second_order(patches: &Tensor) -> Result<Tensor> {
    let size = patches.size();
    let (count, width) = (size[2], size[3]);
    let kept = (((8 * width + 1) as f64).sqrt() as i64 - 1) / 2; // R
    let options = (Kind::Float, patches.device());
    let projection = directions(width, kept).to_device(patches.device());
    let seen = patches.f_matmul(&projection)?; // (B, T, P, R)
    let seen = &seen - seen.mean_dim(2, true, Kind::Float);
    let covariance = seen.transpose(-1, -2).f_matmul(&seen)? / count as f64;
    let upper = Tensor::triu_indices(kept, kept, 0, (Kind::Int64, patches.device()));
    let places = upper.f_select(0, 0)? * kept + upper.f_select(0, 1)?;
    let values = covariance.f_flatten(2, 3)?.f_index_select(2, &places)?;
    let rest = width - kept * (kept + 1) / 2;
    let zeros = Tensor::zeros([size[0], size[1], rest], options);
    Ok(Tensor::f_cat(&[values, zeros], 2)?)
}

/// Fixed random signs over the square root of D, `[D, R]`, by a multiplicative hash of the place.
fn directions(width: i64, kept: i64) -> Tensor {
    let scale = (width as f32).sqrt().recip();
    let sign = |place: i64| {
        let hash = (place as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        if hash >> 63 == 0 { scale } else { -scale }
    };
    let signs: Vec<f32> = (0..width * kept).map(sign).collect();
    Tensor::from_slice(&signs).view([width, kept])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tch::Device;

    use super::*;

    fn frames(count: i64, kind: FrameTokens) -> EncodedFrames {
        tch::manual_seed(1);
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let tokens = match kind {
            FrameTokens::Layers => 3,
            _ => 16,
        };
        EncodedFrames {
            kind,
            class: random(&[count, 6]),
            tokens: Some(random(&[count, tokens, 6])),
        }
    }

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    #[test]
    fn the_patch_that_moves_counts() {
        let mut encoded = frames(4, FrameTokens::Moving);
        let still = encoded.tokens.as_ref().unwrap().narrow(0, 0, 1);
        let patches = still.repeat([4, 1, 1]);
        let clip = |encoded: &EncodedFrames| encoded.clips(4).unwrap().narrow(2, 6, 6);
        // Nothing moves: their mean.
        encoded.tokens = Some(patches.copy());
        let off = clip(&encoded) - patches.mean_dim(1, false, Kind::Float);
        assert!(largest(&off) < 1e-6);
        // One patch moves between the second and the third frame.
        let _ = patches.narrow(0, 2, 2).select(1, 4).g_add_scalar_(10.0);
        encoded.tokens = Some(patches.copy());
        let off = clip(&encoded).select(0, 0) - patches.select(1, 4);
        assert!(largest(&off.narrow(0, 1, 2)) < 1e-6, "{off:?}");
    }

    #[test]
    fn regions_are_the_quarters_row_by_row() {
        let encoded = frames(2, FrameTokens::Regions);
        let clips = encoded.clips(2).unwrap();
        let patches = encoded.tokens.as_ref().unwrap(); // 4 x 4
        // The second quarter: the upper right one.
        let quarter = Tensor::from_slice(&[2i64, 3, 6, 7]);
        let expected = patches
            .index_select(1, &quarter)
            .mean_dim(1, false, Kind::Float);
        assert!(largest(&(clips.get(0).narrow(1, 12, 6) - expected)) < 1e-6);
    }

    #[test]
    fn second_order_is_the_covariance_of_projections() {
        let mut encoded = frames(3, FrameTokens::SecondOrder);
        let further = encoded.clips(3).unwrap().narrow(2, 6, 6); // R = 3: six numbers
        let seen = encoded
            .tokens
            .as_ref()
            .unwrap()
            .get(1)
            .matmul(&directions(6, 3));
        let covariance = seen.tr().cov(0, None::<&Tensor>, None::<&Tensor>);
        let at = |row, column| covariance.double_value(&[row, column]);
        let expected = [at(0, 0), at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(2, 2)];
        for (place, expected) in (0..).zip(expected) {
            let got = further.double_value(&[0, 1, place]);
            assert!((got - expected).abs() < 1e-5, "{got}, expected {expected}");
        }
        // What all patches share does not count.
        encoded.tokens = encoded.tokens.map(|tokens| tokens + 3.0);
        let moved = encoded.clips(3).unwrap().narrow(2, 6, 6);
        assert!(largest(&(moved - further)) < 1e-4);
    }

    #[test]
    fn frames_taken_apart_make_the_same_clips() {
        for kind in FrameTokens::ALL {
            let encoded = frames(6, kind);
            let each = encoded.each().unwrap();
            let again = EncodedFrames::of(&each.iter().collect::<Vec<_>>()).unwrap();
            let clips = encoded.clips(3).unwrap();
            if kind != FrameTokens::Class {
                assert_eq!(clips.size(), [2, 3, 6 * kind.count()], "{kind}");
            }
            assert_eq!(again.unwrap().clips(3).unwrap(), clips, "{kind}");
            assert!(encoded.clips(4).is_err());
            // A clip does not depend on its neighbours in a batch.
            let alone = EncodedFrames::of(&each[3..].iter().collect::<Vec<_>>()).unwrap();
            assert_eq!(
                alone.unwrap().clips(3).unwrap().get(0),
                clips.get(1),
                "{kind}"
            );
        }
        assert!(EncodedFrames::of(&[]).unwrap().is_none());
    }
}
