//! Cutting out and mirroring.

use super::{Part, Picture, Resizer, short_side};
use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::views::Views;

/// One of the spatial views of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Which, from 0.
    pub place: usize,
    /// Of how many.
    pub of: usize,
}

impl View {
    /// The spatial views of `views`, in order.
    pub fn all(views: Views) -> impl Iterator<Item = Self> {
        (0..views.crops()).map(move |place| Self {
            place,
            of: views.crops(),
        })
    }

    /// Where the view starts along a side that has `room` pixels to spare.
    fn offset(self, room: usize) -> usize {
        let (numerator, steps) = if self.of <= 1 {
            (room, 2)
        } else {
            (room * self.place, self.of - 1)
        };
        // Halves go to the even number, as torchvision's centre crop rounds.
        let (whole, rest) = (numerator / steps, numerator % steps);
        let up = match (2 * rest).cmp(&steps) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => whole % 2 == 1,
            std::cmp::Ordering::Greater => true,
        };
        whole + usize::from(up)
    }
}

/// Shorter side to `size`, then a square of `size`: in the centre, or along the longer
/// side as `view` says.
///
/// # Errors
/// `size` is 0.
pub fn view(resizer: &mut Resizer, picture: impl Rows, size: usize, view: View) -> Result<Picture> {
    let mut rgb = Vec::new();
    append_view(resizer, picture, size, view, &mut rgb)?;
    Picture::new(size, size, rgb)
}

/// As [`view`](view()), its `size` x `size` x 3 bytes behind what `rgb` holds.
///
/// # Errors
/// `size` is 0.
pub fn append_view(
    resizer: &mut Resizer,
    picture: impl Rows,
    size: usize,
    view: View,
    rgb: &mut Vec<u8>,
) -> Result<()> {
    let (width, height) = short_side(picture.width(), picture.height(), size);
    let part = Part {
        left: view.offset(width - size),
        top: view.offset(height - size),
        width: size,
        height: size,
    };
    resizer.append_part(picture, width, height, part, rgb)
}

/// The part of `picture` that starts at (`left`, `top`).
///
/// # Errors
/// It reaches beyond the picture, or is empty.
pub fn crop(
    picture: &Picture,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
) -> Result<Picture> {
    let inside = left
        .checked_add(width)
        .is_some_and(|right| right <= picture.width())
        && top
            .checked_add(height)
            .is_some_and(|bottom| bottom <= picture.height());
    if !inside {
        return Err(Error::Picture {
            op: "crop",
            expected: format!("a part of {} x {}", picture.width(), picture.height()),
            got: format!("{width} x {height} at ({left}, {top})"),
        });
    }
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in picture
        .rgb()
        .chunks_exact(picture.width() * 3)
        .skip(top)
        .take(height)
    {
        rgb.extend_from_slice(row.get(left * 3..(left + width) * 3).unwrap_or_default());
    }
    Picture::new(width, height, rgb)
}

/// Mirrors left and right.
pub fn flip(picture: &mut Picture) {
    let width = picture.width();
    for row in picture.pixels_mut().chunks_exact_mut(width) {
        row.reverse();
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
