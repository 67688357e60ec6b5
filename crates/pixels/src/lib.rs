#![doc = include_str!("../README.md")]

mod affine;
mod augment;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
mod colour;
mod crop;
mod error;
mod geometry;
mod jitter;
mod multi_scale;
mod picture;
mod rand_augment;
mod resize;
mod rows;

pub use affine::{rotate, shear_x, shear_y, translate};
pub use augment::{Augment, Augmentation};
pub use colour::{autocontrast, blend_contrast, brightness, equalize, grey, hue, posterize};
pub use colour::{saturation, sharpness, solarize};
pub use crop::{crop, flip};
pub use error::{Error, Result};
pub use geometry::{Geometry, Resize, View};
pub use jitter::ColourJitter;
pub use multi_scale::{MultiScale, Positions};
pub use picture::Picture;
pub use rand_augment::{RandAugment, RandOp};
pub use resize::{Filter, Region, Resizer};
pub use rows::{Rows, Stripe, whole};
