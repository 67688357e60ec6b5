//! A batch of clips, as pixels or as computed features.

use clip_backbone::{ClipModel, FrameTokens};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// A batch of clips.
#[derive(Debug)]
pub enum Clips {
    /// Projected frame features, not normalised: `[B, T, D]`, or more: see [`FrameTokens`].
    Features(Tensor),
    /// Frames, normalised for the backbone: `[B, T, 3, S, S]`.
    Pixels(Tensor),
}

impl Clips {
    /// The device that holds them.
    pub fn device(&self) -> Device {
        let (Self::Features(tensor) | Self::Pixels(tensor)) = self;
        tensor.device()
    }

    /// B, the number of clips.
    pub fn count(&self) -> i64 {
        let (Self::Features(tensor) | Self::Pixels(tensor)) = self;
        tensor.size().first().copied().unwrap_or(0)
    }

    /// The frames' own features `[B, T, D]` in fp32, computed by the frozen image tower if needed.
    ///
    /// # Errors
    /// [`Error::Shape`] if the clips are not a batch of the backbone's features or frames.
    pub fn features(&self, clip: &ClipModel) -> Result<Tensor> {
        self.frames(clip, FrameTokens::Class)
    }

    /// The mean of the frames' own features in double precision: `[B, D]`.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub(crate) fn means(&self, clip: &ClipModel) -> Result<Tensor> {
        Ok(self.features(clip)?.mean_dim(1, false, Kind::Double))
    }

    /// All features of the frames that `tokens` names, `[B, T, F]` in fp32, computed by the frozen image tower
    /// if needed. Stored features may have more.
    ///
    /// # Errors
    /// [`Error::Shape`] if the clips are not a batch of the backbone's features or frames.
    pub fn frames(&self, clip: &ClipModel, tokens: FrameTokens) -> Result<Tensor> {
        let device = clip.vision.device();
        match self {
            Self::Features(features) => {
                let width = tokens.count() * clip.config().joint_width;
                let size = features.size();
                let whole = size.len() == 3 && size[2] % clip.config().joint_width == 0;
                if !whole || size[0] < 1 || size[1] < 1 || size[2] < width {
                    return Err(Error::Shape {
                        op: "frame features",
                        expected: format!("[B, T, {width}] with B, T >= 1"),
                        got: size,
                    });
                }
                let features = features.f_narrow(2, 0, width)?;
                Ok(features.to_device(device).to_kind(Kind::Float))
            }
            Self::Pixels(pixels) => {
                let side = clip.config().vision.image_size;
                let size = pixels.size();
                if size.len() != 5 || size[0] < 1 || size[1] < 1 || size[2..] != [3, side, side] {
                    return Err(Error::Shape {
                        op: "frames",
                        expected: format!("[B, T, 3, {side}, {side}] with B, T >= 1"),
                        got: size,
                    });
                }
                let (b, t) = (size[0], size[1]);
                let frames = pixels.reshape([b * t, 3, side, side]);
                let encoded = tch::no_grad(|| clip.vision.encode(&frames, tokens))?;
                Ok(encoded.clips(t)?)
            }
        }
    }
}
