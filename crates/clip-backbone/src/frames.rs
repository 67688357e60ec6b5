//! The features of the frames of a clip: the class token's, and those of the patches that move.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Power of a patch's change in its weight: with 8, a handful of patches counts.
const SHARPNESS: f64 = 8.0;
/// Change that does not count: where nothing moves, all patches count the same.
const STILL: f64 = 1e-9;

/// The features that are computed of each frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameTokens {
    /// That of the class token, D numbers.
    #[default]
    Class,
    /// The same, and after it that of the moving patches: 2 D numbers.
    ///
    /// Of the patch tokens two blocks before the end of the tower, in the joint space, the mean
    /// weighted by the 8th power of each patch's change from the frame before and to the frame
    /// after in the clip. Where the background tells little, this is where the action is.
    Moving,
}

impl FrameTokens {
    /// Features of width D per frame.
    pub fn count(self) -> i64 {
        match self {
            Self::Class => 1,
            Self::Moving => 2,
        }
    }
}

impl std::fmt::Display for FrameTokens {
    /// Its name in a configuration.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Class => "class",
            Self::Moving => "moving",
        })
    }
}

/// Frames that went through the image tower; which patches move is known in a clip only.
#[derive(Debug)]
pub struct EncodedFrames {
    /// `[N, D]`, fp32, not normalised.
    pub(crate) class: Tensor,
    /// `[N, P, D]`, fp32.
    pub(crate) patches: Option<Tensor>,
}

impl EncodedFrames {
    /// Each frame.
    ///
    /// # Errors
    /// libtorch cannot make the views.
    pub fn each(&self) -> Result<Vec<Self>> {
        let one = |at: i64| -> Result<Self> {
            let patches = self.patches.as_ref();
            Ok(Self {
                class: self.class.f_narrow(0, at, 1)?,
                patches: patches.map(|all| all.f_narrow(0, at, 1)).transpose()?,
            })
        };
        (0..self.class.size().first().copied().unwrap_or(0))
            .map(one)
            .collect()
    }

    /// Some frames side by side; `None` of none.
    ///
    /// # Errors
    /// They differ in size.
    pub fn of(frames: &[&Self]) -> Result<Option<Self>> {
        if frames.is_empty() {
            return Ok(None);
        }
        let class: Vec<&Tensor> = frames.iter().map(|frame| &frame.class).collect();
        let patches: Option<Vec<&Tensor>> =
            frames.iter().map(|frame| frame.patches.as_ref()).collect();
        Ok(Some(Self {
            class: Tensor::f_cat(&class, 0)?,
            patches: patches.map(|all| Tensor::f_cat(&all, 0)).transpose()?,
        }))
    }

    /// The features of clips of T frames each, one after another: `[B, T, D]` or `[B, T, 2 D]`, fp32.
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
        let Some(patches) = &self.patches else {
            return Ok(class);
        };
        let patches = patches.f_view([clips, frames, -1, width])?;
        Ok(Tensor::f_cat(&[class, moving(&patches)?], 2)?)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tch::Device;

    use super::*;

    fn frames(count: i64) -> EncodedFrames {
        tch::manual_seed(1);
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        EncodedFrames {
            class: random(&[count, 3]),
            patches: Some(random(&[count, 5, 3])),
        }
    }

    #[test]
    fn the_patch_that_moves_counts() {
        let mut encoded = frames(4);
        let still = encoded.patches.as_ref().unwrap().narrow(0, 0, 1);
        let patches = still.repeat([4, 1, 1]);
        let clip = |encoded: &EncodedFrames| encoded.clips(4).unwrap().narrow(2, 3, 3);
        // Nothing moves: their mean.
        encoded.patches = Some(patches.copy());
        let off = clip(&encoded) - patches.mean_dim(1, false, Kind::Float);
        assert!(off.abs().max().double_value(&[]) < 1e-6);
        // One patch moves between the second and the third frame.
        let _ = patches.narrow(0, 2, 2).select(1, 4).g_add_scalar_(10.0);
        encoded.patches = Some(patches.copy());
        let off = clip(&encoded).select(0, 0) - patches.select(1, 4);
        let of = |frame| off.narrow(0, frame, 2).abs().max().double_value(&[]);
        assert!(of(1) < 1e-6, "{off:?}");
    }

    #[test]
    fn frames_taken_apart_make_the_same_clips() {
        let encoded = frames(6);
        let each = encoded.each().unwrap();
        let again = EncodedFrames::of(&each.iter().collect::<Vec<_>>()).unwrap();
        let clips = encoded.clips(3).unwrap();
        assert_eq!(clips.size(), [2, 3, 6]);
        assert_eq!(again.unwrap().clips(3).unwrap(), clips);
        assert!(encoded.clips(4).is_err());
        // A clip does not depend on its neighbours in a batch.
        let alone = EncodedFrames::of(&each[3..].iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(alone.unwrap().clips(3).unwrap().get(0), clips.get(1));
        assert!(EncodedFrames::of(&[]).unwrap().is_none());
    }
}
