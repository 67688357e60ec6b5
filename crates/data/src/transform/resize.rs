//! Antialiased bicubic resizing, within two levels of PIL's.

use fast_image_resize as fir;
use fir::images::{Image, ImageRef};

use super::{Picture, crop};
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
        let all = Part {
            left: 0,
            top: 0,
            width,
            height,
        };
        self.part(picture, width, height, all)
    }

    /// The part of the picture as [`resize`](Self::resize) makes it, without making the rest.
    ///
    /// # Errors
    /// As [`resize`](Self::resize); and the part reaches beyond the picture, or is empty.
    pub fn resize_part(
        &mut self,
        picture: &Picture,
        width: usize,
        height: usize,
        part: Part,
    ) -> Result<Picture> {
        let Part {
            left,
            top,
            width: part_width,
            height: part_height,
        } = part;
        let inside = part_width > 0
            && part_height > 0
            && left.checked_add(part_width).is_some_and(|end| end <= width)
            && top
                .checked_add(part_height)
                .is_some_and(|end| end <= height);
        if !inside {
            return Err(Error::Picture {
                op: "resize",
                expected: format!("a part of {width} x {height}"),
                got: format!("{part_width} x {part_height} at ({left}, {top})"),
            });
        }
        if (picture.width(), picture.height()) == (width, height) {
            return crop(picture, left, top, part_width, part_height);
        }
        self.part(picture, width, height, part)
    }

    fn part(
        &mut self,
        picture: &Picture,
        width: usize,
        height: usize,
        part: Part,
    ) -> Result<Picture> {
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
        side(width)?;
        side(height)?;
        let (part_width, part_height) = (side(part.width)?, side(part.height)?);
        let refused = |error: &dyn std::fmt::Display| fail(error.to_string());
        let source = ImageRef::new(from_width, from_height, picture.rgb(), kind)
            .map_err(|error| refused(&error))?;
        let options = fir::ResizeOptions::new()
            .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::CatmullRom));
        // Rows first, then columns, with 8 bits between, as PIL does. In one call the
        // order is the other way round, and overshoots are cut off at other places: up
        // to 14 levels of difference at hard edges.
        let (across, down) = (
            f64::from(from_width) / width as f64,
            f64::from(from_height) / height as f64,
        );
        let columns = options.crop(
            part.left as f64 * across,
            0.0,
            f64::from(part_width) * across,
            f64::from(from_height),
        );
        let mut rows = Image::new(part_width, from_height, kind);
        self.0
            .resize(&source, &mut rows, &columns)
            .map_err(|error| refused(&error))?;
        let lines = options.crop(
            0.0,
            part.top as f64 * down,
            f64::from(part_width),
            f64::from(part_height) * down,
        );
        let mut target = Image::new(part_width, part_height, kind);
        self.0
            .resize(&rows, &mut target, &lines)
            .map_err(|error| refused(&error))?;
        Picture::new(part.width, part.height, target.into_vec())
    }
}

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Columns to its left.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Its columns.
    pub width: usize,
    /// Its rows.
    pub height: usize,
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
