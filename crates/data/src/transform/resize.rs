//! Antialiased bicubic resizing, within two levels of PIL's.

use fast_image_resize as fir;
use fir::images::{Image, ImageRef};

use super::Picture;
use crate::error::{Error, Result};

/// Resizes pictures, keeping its buffers from one to the next.
#[derive(Default)]
pub struct Resizer(fir::Resizer);

impl Resizer {
    /// With the widest instructions that the processor has.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bicubic (a = -0.5), antialiased when shrinking, as PIL does it: the filter that
    /// CLIP's frames were trained with.
    ///
    /// # Errors
    /// `width` or `height` is 0 or beyond 32 bits.
    pub fn resize(&mut self, picture: &Picture, width: usize, height: usize) -> Result<Picture> {
        if (picture.width(), picture.height()) == (width, height) {
            return Ok(picture.clone());
        }
        let fail = |got: String| Error::Picture {
            op: "resize",
            expected: "sides of 1 to 65535 pixels".into(),
            got,
        };
        let side = |side: usize| {
            u16::try_from(side)
                .ok()
                .filter(|side| *side > 0)
                .map(u32::from)
                .ok_or_else(|| {
                    fail(format!(
                        "{} x {} to {width} x {height}",
                        picture.width(),
                        picture.height()
                    ))
                })
        };
        let kind = fir::PixelType::U8x3;
        let (from_width, from_height) = (side(picture.width())?, side(picture.height())?);
        let (to_width, to_height) = (side(width)?, side(height)?);
        let source = ImageRef::new(from_width, from_height, picture.rgb(), kind)
            .map_err(|error| fail(error.to_string()))?;
        let options = fir::ResizeOptions::new()
            .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::CatmullRom));
        // Rows first, then columns, with 8 bits between, as PIL does. In one call the
        // order is the other way round, and overshoots are cut off at other places: up
        // to 14 levels of difference at hard edges.
        let mut rows = Image::new(to_width, from_height, kind);
        self.0
            .resize(&source, &mut rows, &options)
            .map_err(|error| fail(error.to_string()))?;
        let mut target = Image::new(to_width, to_height, kind);
        self.0
            .resize(&rows, &mut target, &options)
            .map_err(|error| fail(error.to_string()))?;
        Picture::new(width, height, target.into_vec())
    }
}

/// Width and height after the shorter side became `size`; the longer one is rounded down,
/// as torchvision does it.
#[must_use]
pub fn short_side(width: usize, height: usize, size: usize) -> (usize, usize) {
    if width <= height {
        (size, (size * height).checked_div(width).unwrap_or(size))
    } else {
        ((size * width).checked_div(height).unwrap_or(size), size)
    }
}
