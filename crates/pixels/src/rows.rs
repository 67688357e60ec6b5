//! Pictures whose rows and columns are computed on demand.

use std::ops::Range;

/// 8-bit RGB, rows from top to bottom.
pub trait Rows {
    /// Width in pixels.
    fn width(&self) -> usize;

    /// Height in pixels.
    fn height(&self) -> usize;

    /// The pixels of some rows and columns, at least one of each, inside the picture.
    fn rows(&mut self, rows: Range<usize>, columns: Range<usize>) -> Stripe<'_>;
}

impl<R: Rows + ?Sized> Rows for &mut R {
    fn width(&self) -> usize {
        (**self).width()
    }

    fn height(&self) -> usize {
        (**self).height()
    }

    fn rows(&mut self, rows: Range<usize>, columns: Range<usize>) -> Stripe<'_> {
        (**self).rows(rows, columns)
    }
}

/// Some rows of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Stripe<'a> {
    /// 3 bytes per pixel, at least from the first to the last requested one.
    pub rgb: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

impl<'a> Stripe<'a> {
    /// The rows and columns of a whole picture's bytes.
    #[must_use]
    pub fn of(rgb: &'a [u8], width: usize, rows: Range<usize>, columns: Range<usize>) -> Self {
        let start = (rows.start * width + columns.start) * 3;
        let end = (rows.end.saturating_sub(1) * width + columns.end) * 3;
        Self {
            rgb: rgb.get(start..end).unwrap_or_default(),
            stride: width * 3,
        }
    }

    /// The first `width` pixels of each available row.
    pub fn lines(self, width: usize) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.rgb.chunks(self.stride.max(1));
        lines.map(move |line| line.get(..width * 3).unwrap_or_default())
    }
}

/// Rows computed at once, so that they stay in the L1 cache until they are used.
pub(crate) const AT_ONCE: usize = 4;

/// Appends the part of a picture in these rows and columns to `rgb`.
pub(crate) fn append(
    picture: &mut dyn Rows,
    rows: Range<usize>,
    columns: Range<usize>,
    rgb: &mut Vec<u8>,
) {
    rgb.reserve(rows.len() * columns.len() * 3);
    for start in rows.clone().step_by(AT_ONCE) {
        let end = rows.end.min(start + AT_ONCE);
        let stripe = picture.rows(start..end, columns.clone());
        for line in stripe.lines(columns.len()).take(end - start) {
            rgb.extend_from_slice(line);
        }
    }
}

/// All bytes of a picture.
pub fn whole(picture: &mut dyn Rows) -> Vec<u8> {
    let (width, height) = (picture.width(), picture.height());
    let mut rgb = Vec::new();
    append(picture, 0..height, 0..width, &mut rgb);
    rgb
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Filter, Picture, Region, Resizer};

    /// A picture of one colour, whose stripes end where it ends, or lie about their rows.
    struct Gray(usize);

    impl Rows for Gray {
        fn width(&self) -> usize {
            40
        }

        fn height(&self) -> usize {
            3
        }

        fn rows(&mut self, rows: Range<usize>, columns: Range<usize>) -> Stripe<'_> {
            Stripe {
                rgb: &[7; 40 * 3 * 3][(rows.start * 40 + columns.start) * 3..],
                stride: self.0,
            }
        }
    }

    #[test]
    fn a_stripe_may_hold_more_than_was_asked_for() {
        let part = Region {
            left: 1,
            top: 0,
            width: 2,
            height: 2,
        };
        let mut rgb = vec![];
        let mut resizer = Resizer::new();
        let gray = || Gray(40 * 3);
        let bicubic = Filter::Bicubic;
        resizer
            .append(gray(), [40, 3], part, bicubic, &mut rgb)
            .unwrap();
        assert_eq!(rgb, [7; 12]);
        let picture = Picture::from_rows(gray()).unwrap();
        assert_eq!(picture.rgb(), [7; 40 * 3 * 3]);
        let smaller = resizer.resize(gray(), [30, 2], bicubic).unwrap();
        assert_eq!(smaller.rgb(), [7; 30 * 2 * 3]);
    }

    #[test]
    fn a_stripe_without_its_rows_is_not_read() {
        for stride in [40 * 3 + 1, 1 << 62, 1 << 63, usize::MAX] {
            let resized = std::panic::catch_unwind(|| {
                Resizer::new().resize(Gray(stride), [30, 2], Filter::Bicubic)
            });
            assert!(!matches!(resized, Ok(Ok(_))), "{stride}");
        }
    }
}
