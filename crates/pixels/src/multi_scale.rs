//! Multi-scale crops at fixed positions (Wang et al., "Towards Good Practices for Very
//! Deep Two-Stream ConvNets", 2015).

use serde::{Deserialize, Serialize};

use super::{Geometry, Picture, Resizer, crop};
use crate::Result;
use random::Stream;

/// The allowed crop positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// The four corners and the centre.
    #[default]
    Five,
    /// These, the middles of the four sides, and the middles of the four quarters.
    Thirteen,
}

impl Positions {
    /// Offsets in quarters of the room to spare: (from the left, from the top).
    fn quarters(self) -> &'static [(usize, usize)] {
        const ALL: [(usize, usize); 13] = [
            (0, 0),
            (4, 0),
            (0, 4),
            (4, 4),
            (2, 2),
            (0, 2),
            (4, 2),
            (2, 4),
            (2, 0),
            (1, 1),
            (3, 1),
            (1, 3),
            (3, 3),
        ];
        match self {
            Self::Five => ALL.get(..5).unwrap_or(&ALL),
            Self::Thirteen => &ALL,
        }
    }
}

/// A crop whose width and height are each the shorter side times one of `scales`,
/// neighbouring scales at most, resized to a square.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultiScale {
    /// Fractions of the shorter side, in descending order.
    pub scales: Vec<f64>,
    /// The allowed crop positions.
    pub positions: Positions,
}

impl Default for MultiScale {
    fn default() -> Self {
        Self {
            scales: vec![1.0, 0.875, 0.75, 0.66],
            positions: Positions::Five,
        }
    }
}

/// One draw, independent of the picture's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MultiScaleDraw {
    width: f64,
    height: f64,
    quarters: (usize, usize),
}

impl MultiScale {
    pub(super) fn draw(&self, stream: &mut Stream) -> MultiScaleDraw {
        let pairs: Vec<(f64, f64)> = self
            .scales
            .iter()
            .enumerate()
            .flat_map(|(i, height)| {
                let near = move |(j, width): (usize, &f64)| {
                    (i.abs_diff(j) <= 1).then_some((*width, *height))
                };
                self.scales.iter().enumerate().filter_map(near)
            })
            .collect();
        let (width, height) = pairs
            .get(stream.below(pairs.len()))
            .copied()
            .unwrap_or((1.0, 1.0));
        let places = self.positions.quarters();
        let quarters = places
            .get(stream.below(places.len()))
            .copied()
            .unwrap_or((2, 2));
        MultiScaleDraw {
            width,
            height,
            quarters,
        }
    }
}

impl MultiScaleDraw {
    pub(super) fn apply(
        self,
        resizer: &mut Resizer,
        picture: &Picture,
        geometry: &Geometry,
    ) -> Result<Picture> {
        let size = geometry.size;
        let (left, top, width, height) = self.region(picture.width(), picture.height(), size);
        let part = crop(picture, left, top, width, height)?;
        resizer.resize(&part, [size; 2], geometry.filter)
    }

    /// Left, top, width and height in a picture.
    fn region(self, width: usize, height: usize, size: usize) -> (usize, usize, usize, usize) {
        let base = width.min(height);
        let side = |scale: f64| {
            let side = (base as f64 * scale) as usize;
            // A crop that nearly has the size wanted is taken without resizing.
            let side = if side.abs_diff(size) < 3 { size } else { side };
            side.clamp(1, base)
        };
        let (w, h) = (side(self.width), side(self.height));
        let (x, y) = self.quarters;
        // The far side is reached exactly; other offsets are whole quarters.
        let place = |room: usize, quarters: usize| {
            if quarters == 4 {
                room
            } else {
                room / 4 * quarters
            }
        };
        (place(width - w, x), place(height - h, y), w, h)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn positions_are_corners_centre_sides_and_quarters() {
        let at = |quarters| {
            let draw = MultiScaleDraw {
                width: 0.75,
                height: 0.75,
                quarters,
            };
            draw.region(320, 240, 100)
        };
        assert_eq!(at((0, 0)), (0, 0, 180, 180));
        assert_eq!(at((4, 4)), (140, 60, 180, 180));
        assert_eq!(at((2, 2)), (70, 30, 180, 180));
        assert_eq!(at((3, 1)), (105, 15, 180, 180));
        assert_eq!(Positions::Five.quarters().len(), 5);
        assert_eq!(Positions::Thirteen.quarters().len(), 13);
    }

    proptest! {
        #[test]
        fn every_crop_lies_in_its_picture(
            width in 1_usize..700, height in 1_usize..700, size in 1_usize..300, seed: u64,
        ) {
            let crop = MultiScale { positions: Positions::Thirteen, ..MultiScale::default() };
            let draw = crop.draw(&mut Stream::new(seed, &[]));
            let (left, top, w, h) = draw.region(width, height, size);
            prop_assert!(w >= 1 && h >= 1 && left + w <= width && top + h <= height);
        }
    }
}
