//! RandAugment (Cubuk et al., NeurIPS 2020): n random operations with a shared magnitude.

use serde::{Deserialize, Serialize};

use super::{Picture, affine, colour};
use crate::{Error, Result};
use random::Stream;

/// Steps between no effect and the strongest; the paper's magnitude 9 is of 30.
const STEPS: f64 = 30.0;

/// RandAugment(n, m).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// n: operations per clip.
    pub ops: usize,
    /// m: their magnitude, 0 to 30.
    pub magnitude: u8,
}

impl RandAugment {
    /// Refuses a magnitude above 30.
    ///
    /// # Errors
    /// It is above 30.
    pub fn check(self) -> Result<Self> {
        if f64::from(self.magnitude) <= STEPS {
            return Ok(self);
        }
        Err(Error::Option {
            name: "rand_augment.magnitude",
            expected: "0 to 30".into(),
            got: self.magnitude.to_string(),
        })
    }

    pub(super) fn draw(self, stream: &mut Stream) -> Vec<RandOp> {
        (0..self.ops)
            .map(|_| {
                let kind = RandOp::KINDS.get(stream.below(RandOp::KINDS.len()));
                let sign = if stream.chance(0.5) { -1.0 } else { 1.0 };
                let strength = f64::from(self.magnitude) / STEPS;
                kind.map_or(RandOp::Identity, |make| make(strength, sign))
            })
            .collect()
    }
}

/// An operation with its strength fixed. Ranges are the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RandOp {
    /// Identity.
    Identity,
    /// Up to 0.3 pixels per row.
    ShearX(f64),
    /// Up to 0.3 pixels per column.
    ShearY(f64),
    /// As a fraction of the width, up to 150/331.
    TranslateX(f64),
    /// As a fraction of the height, up to 150/331.
    TranslateY(f64),
    /// Degrees, up to 30.
    Rotate(f64),
    /// Factor 0.1 to 1.9.
    Brightness(f32),
    /// Saturation by a factor of 0.1 to 1.9.
    Colour(f32),
    /// Factor 0.1 to 1.9.
    Contrast(f32),
    /// Factor 0.1 to 1.9.
    Sharpness(f32),
    /// Bits kept, 8 down to 4.
    Posterize(u32),
    /// Threshold, 255 down to 0.
    Solarize(f64),
    /// Autocontrast.
    AutoContrast,
    /// Histogram equalisation.
    Equalize,
}

impl RandOp {
    /// Maps strength (0 to 1) and sign to an operation, one function per kind.
    const KINDS: [fn(f64, f64) -> Self; 14] = [
        |_, _| Self::Identity,
        |strength, sign| Self::ShearX(0.3 * strength * sign),
        |strength, sign| Self::ShearY(0.3 * strength * sign),
        |strength, sign| Self::TranslateX(150.0 / 331.0 * strength * sign),
        |strength, sign| Self::TranslateY(150.0 / 331.0 * strength * sign),
        |strength, sign| Self::Rotate(30.0 * strength * sign),
        |strength, sign| Self::Brightness((1.0 + 0.9 * strength * sign) as f32),
        |strength, sign| Self::Colour((1.0 + 0.9 * strength * sign) as f32),
        |strength, sign| Self::Contrast((1.0 + 0.9 * strength * sign) as f32),
        |strength, sign| Self::Sharpness((1.0 + 0.9 * strength * sign) as f32),
        |strength, _| Self::Posterize(8 - (4.0 * strength).round() as u32),
        |strength, _| Self::Solarize(255.0 * (1.0 - strength)),
        |_, _| Self::AutoContrast,
        |_, _| Self::Equalize,
    ];

    /// Applies the operation.
    pub fn apply(self, picture: &mut Picture) {
        let (width, height) = (picture.width() as f64, picture.height() as f64);
        match self {
            Self::Identity => {}
            Self::ShearX(amount) => affine::shear_x(picture, amount),
            Self::ShearY(amount) => affine::shear_y(picture, amount),
            Self::TranslateX(share) => affine::translate(picture, (share * width) as i32, 0),
            Self::TranslateY(share) => affine::translate(picture, 0, (share * height) as i32),
            Self::Rotate(degrees) => affine::rotate(picture, degrees),
            Self::Brightness(factor) => colour::brightness(picture, factor),
            Self::Colour(factor) => colour::saturation(picture, factor),
            Self::Contrast(factor) => colour::blend_contrast(picture, factor),
            Self::Sharpness(factor) => colour::sharpness(picture, factor),
            Self::Posterize(bits) => colour::posterize(picture, bits),
            Self::Solarize(threshold) => colour::solarize(picture, threshold),
            Self::AutoContrast => colour::autocontrast(picture),
            Self::Equalize => colour::equalize(picture),
        }
    }
}
