//! From decoded frames to the pixels of a view, still 8-bit RGB.

mod affine;
mod augment;
mod colour;
mod crop;
mod jitter;
mod multi_scale;
mod picture;
mod rand_augment;
mod resize;

pub use affine::{rotate, shear_x, shear_y, translate};
pub use augment::{Augment, Augmentation};
pub use colour::{autocontrast, blend_contrast, brightness, equalize, grey, hue, posterize};
pub use colour::{saturation, sharpness, solarize};
pub use crop::{View, append_view, crop, flip, view};
pub use jitter::ColourJitter;
pub use multi_scale::{MultiScale, Positions};
pub use picture::Picture;
pub use rand_augment::{RandAugment, RandOp};
pub use resize::{Part, Resizer, short_side};
