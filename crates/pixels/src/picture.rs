//! An 8-bit RGB picture.

use std::ops::Range;

use crate::rows::{Rows, Stripe, whole};
use crate::{Error, Result};

/// 8-bit RGB, rows from top to bottom, no padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of `height * width * 3` bytes.
    ///
    /// # Errors
    /// A side is 0, or `rgb` has another length.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        let bytes = width
            .checked_mul(height)
            .and_then(|pixels| pixels.checked_mul(3));
        if bytes != Some(rgb.len()) || rgb.is_empty() {
            return Err(Error::Picture {
                op: "picture",
                expected: format!("{width} x {height} x 3 bytes, more than none"),
                got: format!("{} bytes", rgb.len()),
            });
        }
        Ok(Self { width, height, rgb })
    }

    /// All pixels of `rows`.
    ///
    /// # Errors
    /// There are none, or their number does not match its sides.
    pub fn from_rows(mut rows: impl Rows) -> Result<Self> {
        Self::new(rows.width(), rows.height(), whole(&mut rows))
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// `height * width * 3` bytes.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Returns the bytes.
    #[must_use]
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    pub(super) fn pixels(&self) -> &[[u8; 3]] {
        self.rgb.as_chunks().0
    }

    pub(super) fn pixels_mut(&mut self) -> &mut [[u8; 3]] {
        self.rgb.as_chunks_mut().0
    }

    /// Maps every byte through the `table` of its channel.
    pub(super) fn map(&mut self, tables: &[[u8; 256]; 3]) {
        for pixel in self.pixels_mut() {
            for (value, table) in pixel.iter_mut().zip(tables) {
                *value = table[usize::from(*value)];
            }
        }
    }
}

impl Rows for &Picture {
    fn width(&self) -> usize {
        self.width
    }

    fn height(&self) -> usize {
        self.height
    }

    fn rows(&mut self, rows: Range<usize>, columns: Range<usize>) -> Stripe<'_> {
        Stripe::of(&self.rgb, self.width, rows, columns)
    }
}
