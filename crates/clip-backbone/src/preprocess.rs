//! From a decoded frame to what the image tower takes.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// How frames become pixels: resize, centre crop, normalise.
///
/// The resize is PIL's: antialiased, to within two levels of 255. Sides are rounded as
/// torchvision rounds them.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// S, the side of the square the tower takes.
    pub size: i64,
    /// The size before the centre crop.
    pub resize: Resize,
    /// The filter of the resize.
    pub interpolation: Interpolation,
    /// Subtracted from pixels scaled to 0..1, a channel each.
    pub mean: [f32; 3],
    /// What the difference is divided by.
    pub std: [f32; 3],
}

/// The size of a frame before the centre crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// The short side has this many pixels, the long one what keeps the proportions.
    ShortSide(i64),
    /// Both sides have S pixels, whatever becomes of the proportions.
    Squash,
}

/// The filter of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// Catmull-Rom, PIL's bicubic.
    Bicubic,
    /// Bilinear.
    Bilinear,
}

/// One axis of the resize. Only what the crop needs is computed: the crop and a margin as wide
/// as the filter, so that the same pixels come out as from resizing all and cutting.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    /// The part of the source that is resized, in source pixels.
    from: f64,
    length: f64,
    /// The extent it is resized to.
    resized: usize,
    /// Where the crop begins in it.
    skip: usize,
}

impl Preprocess {
    /// Mean of OpenAI's training pictures.
    pub const OPENAI_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
    /// Their standard deviation.
    pub const OPENAI_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

    /// OpenAI's preprocessing for frames of `size` pixels a side.
    pub fn openai(size: i64) -> Self {
        Self {
            size,
            resize: Resize::ShortSide(size),
            interpolation: Interpolation::Bicubic,
            mean: Self::OPENAI_MEAN,
            std: Self::OPENAI_STD,
        }
    }

    /// Refuses numbers that make no frame.
    ///
    /// # Errors
    /// [`Error::Config`] with the first field that is out of range.
    pub fn check(&self) -> Result<()> {
        let invalid = |field: &str, expected: &str, got: String| Error::Config {
            field: field.into(),
            expected: expected.into(),
            got,
        };
        if !(1..=1 << 14).contains(&self.size) {
            let got = self.size.to_string();
            return Err(invalid("size", "1 to 16,384", got));
        }
        if let Resize::ShortSide(side) = self.resize
            && !(self.size..=1 << 14).contains(&side)
        {
            let expected = format!("{} to 16,384", self.size);
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

    /// Resizes one frame and cuts out its centre.
    ///
    /// `rgb` is `[height, width, 3]`, row by row; so is the result, `[S, S, 3]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `rgb` is not of that size, or the frame is empty.
    pub fn crop(&self, rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>> {
        let refused = || Error::Shape {
            op: "preprocess",
            expected: "a frame of [height, width, 3] bytes, neither side 0".into(),
            got: vec![height.into(), width.into(), rgb.len() as i64],
        };
        let bytes = u64::from(width) * u64::from(height);
        if bytes == 0 || bytes.checked_mul(3) != Some(rgb.len() as u64) {
            return Err(refused());
        }
        self.check()?;
        let side = self.size as u32;
        if (width, height) == (side, side) && self.resize_is_identity() {
            return Ok(rgb.to_vec());
        }
        let source = ImageRef::new(width, height, rgb, PixelType::U8x3).map_err(|_| refused())?;
        let (x, y) = (self.axis(width, height), self.axis(height, width));
        let filter = match self.interpolation {
            Interpolation::Bicubic => FilterType::CatmullRom,
            Interpolation::Bilinear => FilterType::Bilinear,
        };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
        let mut resizer = Resizer::new();
        // Along the rows first, as PIL does: bytes are rounded and clamped in between, so the
        // order shows.
        let mut narrowed = Image::new(x.resized as u32, height, PixelType::U8x3);
        let across = options.crop(x.from, 0.0, x.length, height.into());
        resizer
            .resize(&source, &mut narrowed, &across)
            .map_err(|_| refused())?;
        let mut target = Image::new(x.resized as u32, y.resized as u32, PixelType::U8x3);
        let down = options.crop(0.0, y.from, x.resized as f64, y.length);
        resizer
            .resize(&narrowed, &mut target, &down)
            .map_err(|_| refused())?;
        let side = self.size as usize;
        let mut frame = Vec::with_capacity(side * side * 3);
        for row in target
            .buffer()
            .chunks_exact(x.resized * 3)
            .skip(y.skip)
            .take(side)
        {
            frame.extend(row.iter().skip(x.skip * 3).take(side * 3));
        }
        Ok(frame)
    }

    /// Scales, centres and turns frames channel-first: u8 `[N, S, S, 3]` to fp32
    /// `[N, 3, S, S]`, on the device of `frames`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `frames` are not N cropped frames of bytes.
    pub fn normalise(&self, frames: &Tensor) -> Result<Tensor> {
        let size = frames.size();
        if size.len() != 4 || size[1..] != [self.size, self.size, 3] || frames.kind() != Kind::Uint8
        {
            return Err(Error::Shape {
                op: "normalise",
                expected: format!("u8 [N, {0}, {0}, 3]", self.size),
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

    fn resize_is_identity(&self) -> bool {
        matches!(self.resize, Resize::Squash) || self.resize == Resize::ShortSide(self.size)
    }

    /// The resize along a side of `own` pixels beside one of `other`.
    fn axis(&self, own: u32, other: u32) -> Axis {
        let Resize::ShortSide(side) = self.resize else {
            return Axis {
                from: 0.0,
                length: own.into(),
                resized: self.size as usize,
                skip: 0,
            };
        };
        let resized = match own > other {
            // torchvision cuts the fraction off.
            true => side * i64::from(own) / i64::from(other),
            false => side,
        };
        // The filters reach two pixels of the coarser of both grids.
        let margin = 2 * (resized / i64::from(own)).max(1) + 2;
        let start = crop_start(resized, self.size);
        let (low, high) = (
            (start - margin).max(0),
            (start + self.size + margin).min(resized),
        );
        let step = f64::from(own) / resized as f64;
        let from = low as f64 * step;
        Axis {
            from,
            length: ((high - low) as f64 * step).min(f64::from(own) - from),
            resized: (high - low) as usize,
            skip: (start - low) as usize,
        }
    }
}

/// Where torchvision's centre crop begins: half the excess, halves to the even neighbour.
fn crop_start(extent: i64, size: i64) -> i64 {
    let excess = extent - size;
    let half = excess / 2;
    if excess % 2 == 1 && half % 2 == 1 {
        half + 1
    } else {
        half
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn halves_go_to_the_even_neighbour_as_in_python() {
        // round(0.5) = 0, round(1.5) = 2, round(2.5) = 2, round(37.5) = 38
        for (excess, start) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (75, 38)] {
            assert_eq!(crop_start(224 + excess, 224), start, "{excess}");
        }
    }

    #[test]
    fn a_frame_of_one_colour_keeps_it_whatever_its_shape() {
        let preprocess = Preprocess::openai(32);
        for (width, height) in [(1, 1), (1, 500), (500, 1), (33, 32), (64, 64), (31, 97)] {
            let rgb = [10u8, 200, 77].repeat((width * height) as usize);
            let frame = preprocess.crop(&rgb, width, height).unwrap();
            assert_eq!(frame, [10u8, 200, 77].repeat(32 * 32), "{width}x{height}");
        }
    }

    #[test]
    fn the_part_resized_lies_inside_every_frame() {
        for side in [16, 224, 336] {
            let preprocess = Preprocess::openai(side);
            for own in 1..1200u32 {
                for other in (1..1200).step_by(7).chain([own]) {
                    let axis = preprocess.axis(own, other);
                    let what = format!("{own} beside {other} to {side}: {axis:?}");
                    assert!(axis.from >= 0.0 && axis.length > 0.0, "{what}");
                    assert!(axis.from + axis.length <= f64::from(own), "{what}");
                    assert!(axis.skip + side as usize <= axis.resized, "{what}");
                }
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let preprocess = Preprocess::openai(32);
        for (bytes, width, height) in [(0, 0, 0), (11, 2, 2), (13, 2, 2), (0, 5, 0)] {
            let got = preprocess.crop(&vec![0; bytes], width, height);
            assert!(matches!(got, Err(Error::Shape { .. })));
        }
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
                size: 0,
                ..good.clone()
            },
            Preprocess {
                resize: Resize::ShortSide(100),
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
