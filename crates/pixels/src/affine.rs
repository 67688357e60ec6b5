//! Shear, translation and rotation with nearest-neighbour sampling and black corners, as in PIL.

use super::Picture;

/// Moves row `y` left by `amount * y` pixels.
pub fn shear_x(picture: &mut Picture, amount: f64) {
    map(picture, [1.0, amount, 0.0, 0.0, 1.0, 0.0]);
}

/// Moves column `x` up by `amount * x` pixels.
pub fn shear_y(picture: &mut Picture, amount: f64) {
    map(picture, [1.0, 0.0, 0.0, amount, 1.0, 0.0]);
}

/// Translates the picture right and down by whole pixels.
pub fn translate(picture: &mut Picture, right: i32, down: i32) {
    map(
        picture,
        [1.0, 0.0, -f64::from(right), 0.0, 1.0, -f64::from(down)],
    );
}

/// Rotates the picture about its centre, counter-clockwise.
pub fn rotate(picture: &mut Picture, degrees: f64) {
    let angle = -degrees.to_radians();
    let (sin, cos) = angle.sin_cos();
    let (x, y) = (picture.width() as f64 / 2.0, picture.height() as f64 / 2.0);
    let c = x - (cos * x + sin * y);
    let f = y - (cos * y - sin * x);
    map(picture, [cos, sin, c, -sin, cos, f]);
}

/// Fills pixel (x, y) from (a x + b y + c, d x + e y + f), taken at pixel centres, in
/// 16-bit fixed point.
fn map(picture: &mut Picture, [a, b, c, d, e, f]: [f64; 6]) {
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let (width, height) = (picture.width(), picture.height());
    let source = picture.pixels().to_vec();
    let start = |a: f64, b: f64, c: f64| fixed(c + a * 0.5 + b * 0.5);
    let (mut row_x, mut row_y) = (start(a, b, c), start(d, e, f));
    for row in picture.pixels_mut().chunks_exact_mut(width) {
        let (mut x, mut y) = (row_x, row_y);
        for pixel in row {
            let from = match (usize::try_from(x >> 16), usize::try_from(y >> 16)) {
                (Ok(x), Ok(y)) if x < width && y < height => source.get(y * width + x),
                _ => None,
            };
            *pixel = from.copied().unwrap_or([0; 3]);
            x += fixed(a);
            y += fixed(d);
        }
        row_x += fixed(b);
        row_y += fixed(e);
    }
}
