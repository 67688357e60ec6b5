//! Antialiased resizing, within two levels of PIL's.

use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x3;

use super::Picture;
use crate::rows::{Rows, append};
use crate::{Error, Result};

#[cfg(target_arch = "x86_64")]
mod weights;
#[cfg(target_arch = "x86_64")]
mod wide;

/// The filter of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Catmull-Rom (a = -0.5), PIL's bicubic: the filter that CLIP's frames were trained with.
    Bicubic,
    /// Triangle, PIL's bilinear.
    Bilinear,
}

/// Resizes pictures, reusing its buffers between calls.
#[derive(Default)]
pub struct Resizer {
    library: fir::Resizer,
    #[cfg(target_arch = "x86_64")]
    wide: wide::Resizer,
    plain: bool,
}

impl Resizer {
    /// Uses the widest instructions the processor supports.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The reference, without this crate's AVX-512 path.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            plain: true,
            ..Self::default()
        }
    }

    /// Resizes the whole picture; see [`append`](Self::append).
    ///
    /// # Errors
    /// `width` or `height` is 0, or a side of either is larger than 65535 pixels.
    pub fn resize(
        &mut self,
        picture: impl Rows,
        [width, height]: [usize; 2],
        filter: Filter,
    ) -> Result<Picture> {
        let all = Region {
            left: 0,
            top: 0,
            width,
            height,
        };
        let mut rgb = Vec::new();
        self.append(picture, [width, height], all, filter, &mut rgb)?;
        Picture::new(width, height, rgb)
    }

    /// Appends to `rgb` a region of the picture resized to `width` x `height`, without computing
    /// the rest, so that these may be of any size. Antialiased when shrinking, as PIL does it.
    ///
    /// # Errors
    /// A side of the picture or of the region is 0 or larger than 65535 pixels, or the region
    /// reaches beyond `width` x `height`.
    pub fn append(
        &mut self,
        mut picture: impl Rows,
        [width, height]: [usize; 2],
        region: Region,
        filter: Filter,
        rgb: &mut Vec<u8>,
    ) -> Result<()> {
        let Region {
            left,
            top,
            width: part_width,
            height: part_height,
        } = region;
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
            let (rows, columns) = (top..top + part_height, left..left + part_width);
            append(&mut picture, rows, columns, rgb);
            return Ok(());
        }
        let sides = [picture.width(), picture.height(), part_width, part_height];
        if sides
            .iter()
            .any(|&side| side == 0 || side > u16::MAX.into())
        {
            return Err(fail(format!(
                "{} x {} to {part_width} x {part_height} of {width} x {height}",
                picture.width(),
                picture.height()
            )));
        }
        let windows = Windows {
            columns: window(picture.width(), width, left, part_width),
            rows: window(picture.height(), height, top, part_height),
        };
        #[cfg(target_arch = "x86_64")]
        {
            let sides = [part_width, part_height];
            let ours = filter == Filter::Bicubic && !self.plain;
            if ours && self.wide.part(&mut picture, windows, sides, rgb) {
                return Ok(());
            }
        }
        let picture = Picture::from_rows(picture)?;
        let part = self.by_library(&picture, windows, [part_width, part_height], filter)?;
        rgb.extend_from_slice(part.rgb());
        Ok(())
    }

    /// Handles what `wide` cannot, and is its reference.
    fn by_library(
        &mut self,
        picture: &Picture,
        windows: Windows,
        [width, height]: [usize; 2],
        filter: Filter,
    ) -> Result<Picture> {
        let refused = |error: &dyn std::fmt::Display| fail(error.to_string());
        let side = |side: usize| u32::try_from(side).map_err(|error| refused(&error));
        let (from_width, from_height) = (side(picture.width())?, side(picture.height())?);
        // Of this type alone: the call that finds the type itself is compiled for all thirteen of them.
        let source = TypedImageRef::<U8x3>::from_buffer(from_width, from_height, picture.rgb())
            .map_err(|error| refused(&error))?;
        let options =
            fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(match filter {
                Filter::Bicubic => fir::FilterType::CatmullRom,
                Filter::Bilinear => fir::FilterType::Bilinear,
            }));
        // Rows first, then columns, with 8 bits between, as PIL does. In one call the
        // order is the other way round, and overshoots are cut off at other places: up
        // to 14 levels of difference at hard edges.
        let (left, length) = windows.columns;
        let columns = options.crop(left, 0.0, length, from_height.into());
        let mut rows = TypedImage::<U8x3>::new(side(width)?, from_height);
        self.library
            .resize_typed(&source, &mut rows, &columns)
            .map_err(|error| refused(&error))?;
        let (top, length) = windows.rows;
        let lines = options.crop(0.0, top, width as f64, length);
        let mut target = TypedImage::<U8x3>::new(side(width)?, side(height)?);
        self.library
            .resize_typed(&rows, &mut target, &lines)
            .map_err(|error| refused(&error))?;
        let rgb = target.pixels().iter().flat_map(|pixel| pixel.0).collect();
        Picture::new(width, height, rgb)
    }
}

fn fail(got: String) -> Error {
    Error::Picture {
        op: "resize",
        expected: "sides of 1 to 65535 pixels".into(),
        got,
    }
}

/// Where the `length` pixels from `start` on of a side of `to` come from in one of `from`.
fn window(from: usize, to: usize, start: usize, length: usize) -> (f64, f64) {
    let (from, scale) = (from as f64, from as f64 / to as f64);
    let start = start as f64 * scale;
    // Rounding may lead a hair beyond the picture, which the library refuses.
    (start, (length as f64 * scale).min(from - start))
}

/// The part of a picture that is resized, in its own pixels: where it starts, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Windows {
    columns: (f64, f64),
    rows: (f64, f64),
}

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Columns to its left.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Its columns.
    pub width: usize,
    /// Its rows.
    pub height: usize,
}

#[cfg(test)]
mod needs_avx512_vbmi {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use random::Stream;

    #[test]
    #[cfg(target_arch = "x86_64")]
    #[ignore = "needs a processor with avx512bw, avx512vbmi and avx512vnni"]
    fn the_wide_way_is_the_librarys_byte_for_byte() {
        assert!(crate::avx512::is_available(), "not such a processor");
        let mut stream = Stream::new(3, &["sizes"]);
        let mut below = |most: u64| 1 + (stream.next_u64() % most) as usize;
        let (mut resizer, mut taken) = (Resizer::new(), 0);
        for round in 0..400 {
            let (width, height) = (below(400), below(300));
            let rgb = (0..width * height * 3).map(|_| {
                // Every third picture is of hard edges alone.
                let byte = below(256) - 1;
                if round % 3 == 0 {
                    255 * u8::from(byte > 127)
                } else {
                    byte as u8
                }
            });
            let picture = Picture::new(width, height, rgb.collect()).unwrap();
            let (to_width, to_height) = (below(400), below(300));
            let (part_width, part_height) = (below(to_width as u64), below(to_height as u64));
            let left = below((to_width - part_width + 1) as u64) - 1;
            let top = below((to_height - part_height + 1) as u64) - 1;
            let windows = Windows {
                columns: window(width, to_width, left, part_width),
                rows: window(height, to_height, top, part_height),
            };
            let sides = [part_width, part_height];
            let reference = resizer.by_library(&picture, windows, sides, Filter::Bicubic);
            let mut ours = vec![];
            if !resizer.wide.part(&mut &picture, windows, sides, &mut ours) {
                // Only windows that are wider than a register are left to the library.
                assert!(width as f64 > 2.2 * to_width as f64);
                continue;
            }
            taken += 1;
            let reference = reference.unwrap();
            let differ = ours
                .iter()
                .zip(reference.rgb())
                .filter(|(a, b)| a != b)
                .count();
            assert_eq!(differ, 0, "{width} x {height} to {to_width} x {to_height}");
            assert_eq!(ours.len(), reference.rgb().len());
        }
        assert!(taken > 200, "{taken}");
    }
}
