//! Filled polygons with soft edges.

/// Scan lines in each row of pixels.
const LINES: usize = 4;

/// The coverage of each pixel by a polygon, as `(pixel, share)` of a square picture
/// of `side` pixels, rows from the top.
///
/// Along a row the coverage is exact; across rows it is the mean of a few lines.
pub(super) fn coverage(corners: &[[f64; 2]], side: usize) -> Vec<(usize, f64)> {
    let fold = |pick: fn(f64, f64) -> f64, start: f64| {
        corners.iter().map(|corner| corner[1]).fold(start, pick)
    };
    let limit = side as f64;
    let top = fold(f64::min, limit).clamp(0.0, limit).floor() as usize;
    let bottom = fold(f64::max, 0.0).clamp(0.0, limit).ceil() as usize;
    let mut covered = Vec::new();
    let mut row = vec![0.0; side];
    for y in top..bottom {
        row.fill(0.0);
        for line in 0..LINES {
            let height = y as f64 + (line as f64 + 0.5) / LINES as f64;
            for span in crossings(corners, height).chunks_exact(2) {
                fill(&mut row, span[0], span[1]);
            }
        }
        covered.extend(
            row.iter()
                .enumerate()
                .filter(|(_, share)| **share > 0.0)
                .map(|(x, share)| (y * side + x, share / LINES as f64)),
        );
    }
    covered
}

/// The crossings of the outline with the line at `height`, from left to right.
fn crossings(corners: &[[f64; 2]], height: f64) -> Vec<f64> {
    let next = corners.iter().cycle().skip(1);
    let mut found: Vec<f64> = corners
        .iter()
        .zip(next)
        .filter(|(a, b)| (a[1] <= height) != (b[1] <= height))
        .map(|(a, b)| a[0] + (height - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
        .collect();
    found.sort_by(f64::total_cmp);
    found
}

/// Adds the coverage of every pixel between `from` and `to`.
fn fill(row: &mut [f64], from: f64, to: f64) {
    let limit = row.len() as f64;
    let (from, to) = (from.clamp(0.0, limit), to.clamp(0.0, limit));
    let first = from.floor() as usize;
    for (offset, share) in row
        .iter_mut()
        .enumerate()
        .take(to.ceil() as usize)
        .skip(first)
    {
        let left = offset as f64;
        *share += (to.min(left + 1.0) - from.max(left)).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up_to_the_area() {
        let square = [[2.25, 1.5], [6.75, 1.5], [6.75, 5.5], [2.25, 5.5]];
        let area: f64 = coverage(&square, 8).iter().map(|(_, share)| share).sum();
        assert!((area - 18.0).abs() < 1e-9, "{area}");
        let triangle = [[1.0, 1.0], [7.0, 1.0], [1.0, 7.0]];
        let area: f64 = coverage(&triangle, 8).iter().map(|(_, share)| share).sum();
        assert!((area - 18.0).abs() < 0.05, "{area}");
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        let square = [[-4.0, -4.0], [2.0, -4.0], [2.0, 12.0], [-4.0, 12.0]];
        let covered = coverage(&square, 8);
        assert!(covered.iter().all(|(pixel, _)| pixel % 8 < 2));
        let area: f64 = covered.iter().map(|(_, share)| share).sum();
        assert!((area - 16.0).abs() < 1e-9, "{area}");
    }
}
