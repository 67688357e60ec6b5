//! Cropping and mirroring.

use crate::{Error, Picture, Result};

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
