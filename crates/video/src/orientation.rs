//! Orientation of pictures.

/// How stored pixels become the picture as it is shown: one of the eight ways to lay a
/// rectangle on itself. First rows and columns swap places, then the flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Rows become columns: the shown width is the stored height.
    pub transpose: bool,
    /// Left and right are swapped, after the transposition.
    pub flip_x: bool,
    /// Top and bottom are swapped, after the transposition.
    pub flip_y: bool,
}

impl Orientation {
    /// From the nine numbers of a container's display matrix
    /// `[a b u; c d v; x y w]`, which sends a pixel (x, y) to (ax + cy, bx + dy).
    ///
    /// An angle is rounded to the nearest right angle; a matrix of all zeros
    /// is the identity.
    pub(super) fn from_matrix(matrix: [i32; 9]) -> Self {
        let [a, b, _, c, d, ..] = matrix.map(i64::from);
        let transpose = b.abs() + c.abs() > a.abs() + d.abs();
        let (to_x, to_y) = if transpose { (c, b) } else { (a, d) };
        Self {
            transpose,
            flip_x: to_x < 0,
            flip_y: to_y < 0,
        }
    }

    /// Width and height as shown, from those stored.
    #[must_use]
    pub fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.transpose {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// Copies `rows` of stored RGB pixels (`stride` bytes from one row to the next, `width`
    /// pixels used of each) to a dense picture as shown.
    pub(super) fn apply(self, rows: &[u8], stride: usize, width: usize, height: usize) -> Vec<u8> {
        let mut shown = Vec::with_capacity(width * height * 3);
        let stored = rows
            .chunks(stride.max(1))
            .take(height)
            .map(|row| &row[..width * 3]);
        if !self.transpose && !self.flip_x {
            if self.flip_y {
                stored.rev().for_each(|row| shown.extend_from_slice(row));
            } else {
                stored.for_each(|row| shown.extend_from_slice(row));
            }
            return shown;
        }
        let (shown_width, shown_height) = self.size(width, height);
        for y in 0..shown_height {
            let y = if self.flip_y { shown_height - 1 - y } else { y };
            for x in 0..shown_width {
                let x = if self.flip_x { shown_width - 1 - x } else { x };
                let (column, row) = if self.transpose { (y, x) } else { (x, y) };
                let at = row * stride + column * 3;
                shown.extend_from_slice(&rows[at..at + 3]);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i32 = 65536;

    /// A 3x2 picture whose pixels are 0..6, in rows of 10 bytes.
    fn shown(matrix: [i32; 4]) -> Vec<u8> {
        let [a, b, c, d] = matrix;
        let mut rows = vec![0; 20];
        for (i, pixel) in [0, 1, 2, 3, 4, 5].into_iter().enumerate() {
            rows[i / 3 * 10 + i % 3 * 3] = pixel;
        }
        Orientation::from_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
            .apply(&rows, 10, 3, 2)
            .chunks(3)
            .map(|pixel| pixel[0])
            .collect()
    }

    #[test]
    fn the_eight_ways() {
        assert_eq!(shown([ONE, 0, 0, ONE]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(shown([-ONE, 0, 0, ONE]), [2, 1, 0, 5, 4, 3]);
        assert_eq!(shown([ONE, 0, 0, -ONE]), [3, 4, 5, 0, 1, 2]);
        assert_eq!(shown([-ONE, 0, 0, -ONE]), [5, 4, 3, 2, 1, 0]);
        // A quarter turn clockwise: the left column becomes the top row, from the right.
        assert_eq!(shown([0, ONE, -ONE, 0]), [3, 0, 4, 1, 5, 2]);
        assert_eq!(shown([0, -ONE, ONE, 0]), [2, 5, 1, 4, 0, 3]);
        assert_eq!(shown([0, ONE, ONE, 0]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(shown([0, -ONE, -ONE, 0]), [5, 2, 4, 1, 3, 0]);
    }

    #[test]
    fn an_odd_matrix_turns_to_the_nearest_right_angle() {
        assert_eq!(shown([0; 4]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(shown([i32::MIN; 4]), [5, 4, 3, 2, 1, 0]);
        let (sin, cos) = (30_000, 58_000);
        assert_eq!(shown([cos, sin, -sin, cos]), [0, 1, 2, 3, 4, 5]);
    }
}
