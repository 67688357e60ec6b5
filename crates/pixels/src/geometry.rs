//! From a picture of any size to the square that a model takes.

use crate::{Filter, Picture, Region, Resizer, Result, Rows};

/// How a picture becomes a square: resized, then cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// S, the side of the square in pixels.
    pub size: usize,
    /// The size before the crop.
    pub resize: Resize,
    /// The filter of the resize.
    pub filter: Filter,
}

/// The size of a picture before the crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// The short side has this many pixels, S or more; the aspect ratio is kept.
    ShortSide(usize),
    /// Both sides have S pixels; the aspect ratio is not kept.
    Squash,
}

/// One of the test crops, evenly spaced along the long side from one end to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its index, from 0.
    pub place: usize,
    /// The number of crops; 1 is the centre crop.
    pub of: usize,
}

impl Geometry {
    /// OpenAI's: the short side to `size`, bicubic.
    #[must_use]
    pub fn openai(size: usize) -> Self {
        Self {
            size,
            resize: Resize::ShortSide(size),
            filter: Filter::Bicubic,
        }
    }

    /// Width and height before the crop of a picture of `width` x `height`; the longer side is
    /// rounded down, as torchvision does it.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> [usize; 2] {
        let Resize::ShortSide(side) = self.resize else {
            return [self.size; 2];
        };
        let long = |long: usize, short: usize| {
            let pixels = side.checked_mul(long);
            pixels
                .and_then(|pixels| pixels.checked_div(short))
                .unwrap_or(side)
        };
        match width <= height {
            true => [side, long(height, width)],
            false => [long(width, height), side],
        }
    }

    /// The square of one view, S x S.
    ///
    /// # Errors
    /// S is 0 or larger than the resized picture, or a side of the picture is beyond 65535 pixels.
    pub fn view(&self, resizer: &mut Resizer, picture: impl Rows, view: View) -> Result<Picture> {
        let mut rgb = Vec::new();
        self.append_view(resizer, picture, view, &mut rgb)?;
        Picture::new(self.size, self.size, rgb)
    }

    /// Appends the S x S x 3 bytes of one [`view`](Self::view) to `rgb`.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub fn append_view(
        &self,
        resizer: &mut Resizer,
        picture: impl Rows,
        view: View,
        rgb: &mut Vec<u8>,
    ) -> Result<()> {
        let [width, height] = self.resized(picture.width(), picture.height());
        let region = Region {
            left: view.offset(width.saturating_sub(self.size)),
            top: view.offset(height.saturating_sub(self.size)),
            width: self.size,
            height: self.size,
        };
        resizer.append(picture, [width, height], region, self.filter, rgb)
    }
}

impl View {
    /// The centre crop.
    pub const CENTRE: Self = Self { place: 0, of: 1 };

    /// All of `count` crops, in order.
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(move |place| Self { place, of: count })
    }

    /// Where the view starts along a side that has `room` pixels to spare.
    fn offset(self, room: usize) -> usize {
        let (numerator, steps) = if self.of <= 1 {
            (room, 2)
        } else {
            (room * self.place, self.of - 1)
        };
        // Rounds half to even, as torchvision's centre crop does.
        let (whole, rest) = (numerator / steps, numerator % steps);
        let up = match (2 * rest).cmp(&steps) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => whole % 2 == 1,
            std::cmp::Ordering::Greater => true,
        };
        whole + usize::from(up)
    }
}

#[cfg(test)]
mod tests {
    use super::View;

    #[test]
    fn three_views_are_left_centre_and_right() {
        let offsets = |room| [0, 1, 2].map(|place| View { place, of: 3 }.offset(room));
        assert_eq!(offsets(74), [0, 37, 74]);
        assert_eq!(offsets(75), [0, 38, 75]);
        assert_eq!(offsets(0), [0, 0, 0]);
        let centre = |room| View { place: 0, of: 1 }.offset(room);
        assert_eq!([74, 75, 77, 1, 3, 0].map(centre), [37, 38, 38, 0, 2, 0]);
    }
}
