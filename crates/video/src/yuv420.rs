//! The usual layout, 8-bit YUV 4:2:0, to RGB.
//!
//! FFmpeg's own conversion is either exact and slow or fast with chroma repeated; nearly
//! every video has this layout, so it has a separate path. Chroma lies in the middle of
//! its four pixels and is interpolated linearly, as FFmpeg's bilinear scaler has it.

use std::ops::Range;

use pixels::{Rows, Stripe};

#[cfg(target_arch = "x86_64")]
mod wide;

/// Fraction bits of a coefficient.
const COEFFICIENT_BITS: u32 = 13;
/// Luma and chroma are scaled by 16, see `spread`.
const FINE: i16 = 16;
/// Of a product of both.
const SHIFT: u32 = COEFFICIENT_BITS + FINE.trailing_zeros();

/// Three planes; chroma has half the width and height, rounded up.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    /// Width in pixels.
    pub(super) width: usize,
    /// Height in pixels.
    pub(super) height: usize,
    /// Y, Cb and Cr: rows and the bytes from one row to the next.
    pub(super) planes: [(&'a [u8], usize); 3],
}

/// The mapping from YUV to RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matrix {
    luma: i16,
    black: i16,
    red_cr: i16,
    blue_cb: i16,
    green_cb: i16,
    green_cr: i16,
}

impl Matrix {
    /// From FFmpeg's four numbers (Cr to red, Cb to blue, Cb and Cr from green, for the
    /// limited range, 16 fraction bits).
    pub(super) fn new([red_cr, blue_cb, green_cb, green_cr]: [i32; 4], full_range: bool) -> Self {
        let one = 1i64 << 16;
        // Limited: luma 16..=235 and chroma 16..=240 stand for 0..=255 and -128..=127.
        let (luma, chroma) = if full_range {
            ((one, 1), (224, 255))
        } else {
            ((one * 255, 219), (1, 1))
        };
        let fixed = |value: i64, (times, by): (i64, i64)| {
            let scaled = value * times * (1 << COEFFICIENT_BITS);
            let by = by * one;
            i16::try_from((scaled + by / 2).div_euclid(by)).unwrap_or(i16::MAX)
        };
        Self {
            luma: fixed(luma.0, (1, luma.1)),
            black: if full_range { 0 } else { 16 },
            red_cr: fixed(red_cr.into(), chroma),
            blue_cb: fixed(blue_cb.into(), chroma),
            green_cb: fixed(green_cb.into(), chroma),
            green_cr: fixed(green_cr.into(), chroma),
        }
    }
}

/// Converts pictures, reusing its buffers between calls.
#[derive(Default)]
pub(super) struct Converter {
    plain: Plain,
    #[cfg(target_arch = "x86_64")]
    wide: wide::Converter,
}

impl Converter {
    /// The picture, with rows converted on demand.
    pub(super) fn picture<'a>(&'a mut self, planes: Planes<'a>, matrix: Matrix) -> Picture<'a> {
        #[cfg(target_arch = "x86_64")]
        self.wide.forget();
        Picture {
            planes,
            matrix,
            converter: self,
        }
    }
}

/// A picture with rows converted on demand.
pub(super) struct Picture<'a> {
    planes: Planes<'a>,
    matrix: Matrix,
    converter: &'a mut Converter,
}

impl Rows for Picture<'_> {
    fn width(&self) -> usize {
        self.planes.width
    }

    fn height(&self) -> usize {
        self.planes.height
    }

    fn rows(&mut self, rows: Range<usize>, columns: Range<usize>) -> Stripe<'_> {
        let (planes, matrix) = (&self.planes, self.matrix);
        let plain = &mut self.converter.plain;
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        if pixels::avx512::is_available() {
            // SAFETY: the processor supports it.
            return unsafe { self.converter.wide.rows(planes, matrix, rows, columns) };
        } else if std::arch::is_x86_feature_detected!("avx2") {
            // Compiled for wider vectors the same code takes half the time.
            // SAFETY: the processor supports it.
            unsafe { plain.rows_avx2(planes, matrix, rows) };
            return plain.stripe(planes.width, columns);
        }
        plain.rows(planes, matrix, rows);
        plain.stripe(planes.width, columns)
    }
}

/// Row buffers, one pixel after the other.
#[derive(Default)]
struct Plain {
    blended: Vec<i16>,
    cb: Vec<i16>,
    cr: Vec<i16>,
    red: Vec<u8>,
    green: Vec<u8>,
    blue: Vec<u8>,
    rgb: Vec<u8>,
}

impl Plain {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn rows_avx2(&mut self, picture: &Planes<'_>, matrix: Matrix, rows: Range<usize>) {
        self.rows(picture, matrix, rows);
    }

    /// Computes whole rows of the picture.
    #[inline(always)]
    fn rows(&mut self, picture: &Planes<'_>, matrix: Matrix, rows: Range<usize>) {
        let Planes {
            width,
            height,
            planes: [luma, cb, cr],
        } = *picture;
        for buffer in [&mut self.red, &mut self.green, &mut self.blue] {
            buffer.resize(width, 0);
        }
        self.rgb.clear();
        for y in rows {
            let nearest = nearest(height, y);
            blend(lines(cb, nearest, width), &mut self.blended);
            spread(&self.blended, &mut self.cb);
            blend(lines(cr, nearest, width), &mut self.blended);
            spread(&self.blended, &mut self.cr);
            let luma = &luma.0[y * luma.1..][..width];
            self.colours(luma, matrix);
            let colours = self.red.iter().zip(&self.green).zip(&self.blue);
            let start = self.rgb.len();
            self.rgb.resize(start + width * 3, 0);
            let pixels = self.rgb[start..].as_chunks_mut::<3>().0;
            for (pixel, ((&r, &g), &b)) in pixels.iter_mut().zip(colours) {
                *pixel = [r, g, b];
            }
        }
    }

    /// The rows computed last, from the first of `columns` on.
    fn stripe(&self, width: usize, columns: Range<usize>) -> Stripe<'_> {
        Stripe {
            rgb: &self.rgb[columns.start * 3..],
            stride: width * 3,
        }
    }

    /// One row of each colour.
    #[inline(always)]
    fn colours(&mut self, luma: &[u8], matrix: Matrix) {
        let width = luma.len();
        let (cb, cr) = (&self.cb[..width], &self.cr[..width]);
        let red = &mut self.red[..width];
        let green = &mut self.green[..width];
        let blue = &mut self.blue[..width];
        let Matrix {
            luma: scale,
            black,
            red_cr,
            blue_cb,
            green_cb,
            green_cr,
        } = matrix;
        let times = |a: i16, b: i16| i32::from(a) * i32::from(b);
        for x in 0..width {
            let light = times((i16::from(luma[x]) - black) * FINE, scale) + (1 << (SHIFT - 1));
            let (cb, cr) = (cb[x], cr[x]);
            red[x] = byte(light + times(cr, red_cr));
            green[x] = byte(light - (times(cb, green_cb) + times(cr, green_cr)));
            blue[x] = byte(light + times(cb, blue_cb));
        }
    }
}

#[inline(always)]
fn byte(value: i32) -> u8 {
    (value >> SHIFT).clamp(0, 255) as u8
}

/// For a picture of this height, the row of chroma nearest to row `y`, and the next nearest.
fn nearest(height: usize, y: usize) -> [usize; 2] {
    let near = y / 2;
    let far = if y.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(height.div_ceil(2) - 1)
    };
    [near, far]
}

/// Rows of the chroma of a picture of this width.
fn lines((plane, stride): (&[u8], usize), rows: [usize; 2], width: usize) -> [&[u8]; 2] {
    rows.map(|row| &plane[row * stride..][..width.div_ceil(2)])
}

/// Chroma at its own columns, scaled by 4, 0 for gray.
#[inline(always)]
fn blend([near, far]: [&[u8]; 2], out: &mut Vec<i16>) {
    let both = near.iter().zip(far);
    out.clear();
    out.extend(both.map(|(&near, &far)| 3 * i16::from(near) + i16::from(far) - 4 * 128));
}

/// Blended chroma at twice the columns, scaled by 16.
#[inline(always)]
fn spread(blended: &[i16], out: &mut Vec<i16>) {
    let columns = blended.len();
    out.resize(columns * 2, 0);
    out[0] = 4 * blended[0];
    out[2 * columns - 1] = 4 * blended[columns - 1];
    let pairs = out[1..2 * columns - 1].as_chunks_mut::<2>().0;
    for (pair, (&left, &right)) in pairs.iter_mut().zip(blended.iter().zip(&blended[1..])) {
        *pair = [3 * left + right, left + 3 * right];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixels::whole;

    pub(super) const BT601: [i32; 4] = [104_597, 132_201, 25_675, 53_279];

    fn flat(y: u8, cb: u8, cr: u8, full_range: bool) -> [u8; 3] {
        let (luma, cb, cr) = ([y; 15], [cb; 6], [cr; 6]);
        let planes = [(&luma[..], 5), (&cb[..], 3), (&cr[..], 3)];
        let picture = Planes {
            width: 5,
            height: 3,
            planes,
        };
        let mut converter = Converter::default();
        let rgb = whole(&mut converter.picture(picture, Matrix::new(BT601, full_range)));
        assert_eq!(rgb.len(), 5 * 3 * 3);
        let pixels = rgb.as_chunks().0;
        assert!(pixels.iter().all(|pixel| *pixel == pixels[0]), "{rgb:?}");
        pixels[0]
    }

    #[test]
    fn known_colours() {
        assert_eq!(flat(16, 128, 128, false), [0, 0, 0]);
        assert_eq!(flat(235, 128, 128, false), [255, 255, 255]);
        assert_eq!(flat(0, 128, 128, true), [0, 0, 0]);
        assert_eq!(flat(255, 128, 128, true), [255, 255, 255]);
        assert_eq!(flat(81, 90, 240, false), [254, 0, 0]);
        assert_eq!(flat(145, 54, 34, false), [0, 255, 1]);
        assert_eq!(flat(41, 240, 110, false), [0, 0, 255]);
        assert_eq!(flat(255, 0, 0, false), [74, 255, 20]);
    }

    #[test]
    fn chroma_is_interpolated() {
        let chroma = |plane: &[u8], (columns, rows): (usize, usize), y| {
            let (mut blended, mut out) = (Vec::new(), Vec::new());
            let rows = lines((plane, columns), nearest(rows * 2, y), columns * 2);
            blend(rows, &mut blended);
            spread(&blended, &mut out);
            out
        };
        let plane = [128, 132, 136, 128, 132, 136];
        assert_eq!(chroma(&plane, (3, 2), 1), [0, 16, 48, 80, 112, 128]);
        let plane = [128, 132];
        assert_eq!(chroma(&plane, (1, 2), 0), [0, 0]);
        assert_eq!(chroma(&plane, (1, 2), 1), [16, 16]);
        assert_eq!(chroma(&plane, (1, 2), 2), [48, 48]);
    }
}
