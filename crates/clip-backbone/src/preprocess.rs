//! From a decoded frame to the image tower's input tensor.

use pixels::{Filter, Geometry, Picture, Resize, Resizer, Rows, View};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// How frames become the tower's input: resize, crop, normalise. All frames for a
/// tower go through its checkpoint's preprocessing.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// The resize and the crop.
    pub geometry: Geometry,
    /// Subtracted from pixels scaled to 0..1, per channel.
    pub mean: [f32; 3],
    /// Divisor of the difference, per channel.
    pub std: [f32; 3],
}

impl Preprocess {
    /// Mean of OpenAI's training pictures.
    pub const OPENAI_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
    /// Their standard deviation.
    pub const OPENAI_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

    /// OpenAI's preprocessing for frames of `size` pixels a side.
    pub fn openai(size: i64) -> Self {
        Self {
            geometry: Geometry::openai(side(size)),
            mean: Self::OPENAI_MEAN,
            std: Self::OPENAI_STD,
        }
    }

    /// Validates the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] with the first field that is out of range.
    pub fn check(&self) -> Result<()> {
        let invalid = |field: &str, expected: &str, got: String| Error::Config {
            field: field.into(),
            expected: expected.into(),
            got,
        };
        let Geometry { size, resize, .. } = self.geometry;
        if !(1..=1 << 14).contains(&size) {
            return Err(invalid("size", "1 to 16,384", size.to_string()));
        }
        if let Resize::ShortSide(side) = resize
            && !(size..=1 << 14).contains(&side)
        {
            let expected = format!("{size} to 16,384");
            return Err(invalid("short side", &expected, side.to_string()));
        }
        if !self.mean.iter().all(|x| x.is_finite()) {
            let got = format!("{:?}", self.mean);
            return Err(invalid("mean", "finite numbers", got));
        }
        if !self.std.iter().all(|x| x.is_finite() && *x > 0.0) {
            let got = format!("{:?}", self.std);
            return Err(invalid("std", "positive numbers", got));
        }
        Ok(())
    }

    /// Every number, in one line that stays the same from version to version.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let Geometry {
            size,
            resize,
            filter,
        } = self.geometry;
        let resize = match resize {
            Resize::ShortSide(side) => format!("short side {side}"),
            Resize::Squash => "squash".into(),
        };
        let filter = match filter {
            Filter::Bicubic => "bicubic",
            Filter::Bilinear => "bilinear",
        };
        let (mean, std) = (self.mean, self.std);
        format!("size {size}, {resize}, {filter}, mean {mean:?}, std {std:?}")
    }

    /// The centre crop of one frame, `[S, S, 3]`.
    ///
    /// # Errors
    /// [`Error::Picture`] if a side of the frame is 0 or too large.
    pub fn crop(&self, resizer: &mut Resizer, frame: impl Rows) -> Result<Picture> {
        Ok(self.geometry.view(resizer, frame, View::CENTRE)?)
    }

    /// Scales, centres and transposes frames to channel-first: u8 `[N, S, S, 3]` to fp32
    /// `[N, 3, S, S]`, on the device of `frames`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `frames` is not N cropped frames of bytes.
    pub fn normalise(&self, frames: &Tensor) -> Result<Tensor> {
        let size = frames.size();
        let side = self.geometry.size as i64;
        if size.len() != 4 || size[1..] != [side, side, 3] || frames.kind() != Kind::Uint8 {
            return Err(Error::Shape {
                op: "normalise",
                expected: format!("u8 [N, {side}, {side}, 3]"),
                got: size,
            });
        }
        let channel = |of: fn(f32, f32) -> f32| {
            let values: Vec<f32> = (0..3).map(|c| of(self.mean[c], self.std[c])).collect();
            Tensor::from_slice(&values)
                .view([1, 3, 1, 1])
                .to_device(frames.device())
        };
        // (x / 255 - mean) / std in one multiplication and one addition.
        let factor = channel(|_, std| 1.0 / (255.0 * std));
        let shift = channel(|mean, std| -mean / std);
        let planes = frames
            .permute([0, 3, 1, 2])
            .contiguous()
            .to_kind(Kind::Float);
        Ok(shift.f_addcmul(&planes, &factor)?)
    }
}

/// A side as a checkpoint has it; one below 0 becomes 0, which [`Preprocess::check`] refuses.
pub(crate) fn side(size: i64) -> usize {
    usize::try_from(size).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_frame_of_one_colour_keeps_it_whatever_its_shape() {
        let preprocess = Preprocess::openai(32);
        for (width, height) in [(1, 1), (1, 500), (500, 1), (33, 32), (64, 64), (31, 97)] {
            let rgb = [10u8, 200, 77].repeat(width * height);
            let frame = Picture::new(width, height, rgb).unwrap();
            let frame = preprocess.crop(&mut Resizer::new(), &frame).unwrap();
            let expected = [10u8, 200, 77].repeat(32 * 32);
            assert_eq!(frame.rgb(), expected, "{width}x{height}");
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let preprocess = Preprocess::openai(32);
        let float = Tensor::zeros([1, 32, 32, 3], (Kind::Float, tch::Device::Cpu));
        assert!(preprocess.normalise(&float).is_err());
        let small = Tensor::zeros([1, 31, 32, 3], (Kind::Uint8, tch::Device::Cpu));
        assert!(preprocess.normalise(&small).is_err());
    }

    #[test]
    fn numbers_that_make_no_frame_are_refused() {
        let good = Preprocess::openai(224);
        good.check().unwrap();
        for bad in [
            Preprocess {
                geometry: Geometry::openai(0),
                ..good.clone()
            },
            Preprocess {
                geometry: Geometry {
                    resize: Resize::ShortSide(100),
                    ..good.geometry
                },
                ..good.clone()
            },
            Preprocess {
                mean: [f32::NAN, 0.0, 0.0],
                ..good.clone()
            },
            Preprocess {
                std: [0.0, 1.0, 1.0],
                ..good.clone()
            },
        ] {
            assert!(matches!(bad.check(), Err(Error::Config { .. })), "{bad:?}");
        }
    }
}
