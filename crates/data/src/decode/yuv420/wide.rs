//! The same conversion, byte for byte, of 64 pixels at a time in registers of 64 bytes.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_and_si512, _mm512_castsi512_si256, _mm512_cvtepu8_epi16,
    _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_mask_permutexvar_epi8, _mm512_maskz_loadu_epi8,
    _mm512_packs_epi32, _mm512_packus_epi16, _mm512_permutex2var_epi8, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_slli_epi16, _mm512_srai_epi32, _mm512_srli_epi16,
    _mm512_storeu_si512, _mm512_sub_epi16, _mm512_unpackhi_epi16, _mm512_unpacklo_epi16,
};

use super::{FINE, Matrix, Planes, SHIFT, nearest};

/// Pixels made at once.
const PIXELS: usize = 64;
/// Half of them: two share a colour difference.
const HALF: usize = PIXELS / 2;

/// Rows at work, kept from one picture to the next.
#[derive(Default)]
pub(super) struct Converter {
    cb: Vec<i16>,
    cr: Vec<i16>,
    line: Vec<u8>,
}

impl Converter {
    /// Appends the picture to `rgb`.
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    pub(super) fn run(&mut self, picture: &Planes<'_>, matrix: Matrix, rgb: &mut Vec<u8>) {
        let Planes {
            width,
            height,
            planes: [luma, cb, cr],
        } = *picture;
        let half = (width.div_ceil(2), height.div_ceil(2));
        let whole = width.next_multiple_of(PIXELS);
        self.line.resize(whole * 3, 0);
        let factors = Factors::new(matrix);
        for y in 0..height {
            blend(nearest(cb, half, y), &mut self.cb);
            blend(nearest(cr, half, y), &mut self.cr);
            let luma = &luma.0[y * luma.1..][..width];
            let lines = self.line.as_chunks_mut::<{ 3 * PIXELS }>().0;
            for ((number, line), luma) in lines.iter_mut().enumerate().zip(luma.chunks(PIXELS)) {
                let differences = [&self.cb, &self.cr].map(|row| &row[number * HALF..]);
                factors.pixels(luma, differences, line);
            }
            rgb.extend_from_slice(&self.line[..width * 3]);
        }
    }
}

/// Chroma as [`super::blend`] makes it, with the first repeated before and the last behind it, in
/// room for whole registers.
#[target_feature(enable = "avx512bw")]
fn blend([near, far]: [&[u8]; 2], out: &mut Vec<i16>) {
    let columns = near.len();
    out.resize(columns.next_multiple_of(HALF) + 2, 0);
    let gray = _mm512_set1_epi16(4 * 128);
    let places = out[1..].as_chunks_mut::<HALF>().0;
    let rows = near.chunks(HALF).zip(far.chunks(HALF));
    for ((near, far), place) in rows.zip(places) {
        let [near, far] = [half(near), half(far)];
        let three = _mm512_add_epi16(near, _mm512_add_epi16(near, near));
        let blended = _mm512_sub_epi16(_mm512_add_epi16(three, far), gray);
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), blended) };
    }
    out[0] = out[1];
    out[columns + 1] = out[columns];
}

/// Up to 32 bytes as words.
#[inline]
#[target_feature(enable = "avx512bw")]
fn half(bytes: &[u8]) -> __m512i {
    let inside = u64::MAX >> (PIXELS - bytes.len().min(HALF));
    // SAFETY: the mask has a bit for these bytes alone.
    let bytes = unsafe { _mm512_maskz_loadu_epi8(inside, bytes.as_ptr().cast()) };
    _mm512_cvtepu8_epi16(_mm512_castsi512_si256(bytes))
}

/// A matrix as pairs of factors: of luma, and of a colour difference.
struct Factors {
    black: i16,
    red: [i16; 2],
    blue: [i16; 2],
    green_cb: [i16; 2],
    green_cr: [i16; 2],
}

impl Factors {
    fn new(matrix: Matrix) -> Self {
        Self {
            black: matrix.black,
            red: [matrix.luma, matrix.red_cr],
            blue: [matrix.luma, matrix.blue_cb],
            green_cb: [matrix.luma, -matrix.green_cb],
            green_cr: [0, -matrix.green_cr],
        }
    }

    /// Up to 64 pixels of a row; `differences` are those of Cb and Cr, from the one before the
    /// first pixel's on.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    fn pixels(&self, luma: &[u8], differences: [&[i16]; 2], rgb: &mut [u8; 3 * PIXELS]) {
        let inside = u64::MAX >> (PIXELS - luma.len().min(PIXELS));
        // SAFETY: the mask has a bit for the bytes of `luma` alone.
        let luma = unsafe { _mm512_maskz_loadu_epi8(inside, luma.as_ptr().cast()) };
        let lights = [
            _mm512_and_si512(luma, _mm512_set1_epi16(0xff)),
            _mm512_srli_epi16::<8>(luma),
        ];
        let [cb, cr] = [spread(differences[0]), spread(differences[1])];
        let even = self.colours(lights[0], cb[0], cr[0]);
        let odd = self.colours(lights[1], cb[1], cr[1]);
        let mut planes = [even[0]; 3];
        for ((plane, even), odd) in planes.iter_mut().zip(even).zip(odd) {
            *plane = _mm512_packus_epi16(even, odd);
        }
        let [red, green, blue] = planes;
        let parts = rgb.as_chunks_mut::<64>().0.iter_mut();
        for ((part, places), is_blue) in parts.zip(&PLACES).zip(IS_BLUE) {
            // SAFETY: 64 bytes each.
            unsafe {
                let places = _mm512_loadu_si512(places.as_ptr().cast());
                let both = _mm512_permutex2var_epi8(red, places, green);
                let all = _mm512_mask_permutexvar_epi8(both, is_blue, places, blue);
                _mm512_storeu_si512(part.as_mut_ptr().cast(), all);
            }
        }
    }

    /// Red, green and blue of 32 pixels, as words.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    fn colours(&self, light: __m512i, cb: __m512i, cr: __m512i) -> [__m512i; 3] {
        let light = _mm512_sub_epi16(light, _mm512_set1_epi16(self.black));
        let light = _mm512_slli_epi16::<{ FINE.trailing_zeros() }>(light);
        let by_cb = [
            _mm512_unpacklo_epi16(light, cb),
            _mm512_unpackhi_epi16(light, cb),
        ];
        let by_cr = [
            _mm512_unpacklo_epi16(light, cr),
            _mm512_unpackhi_epi16(light, cr),
        ];
        let half = [_mm512_set1_epi32(1 << (SHIFT - 1)); 2];
        [
            words(add(half, by_cr, self.red)),
            words(add(add(half, by_cb, self.green_cb), by_cr, self.green_cr)),
            words(add(half, by_cb, self.blue)),
        ]
    }
}

/// Pairs times `factors`, added to `sums`.
#[inline]
#[target_feature(enable = "avx512vnni")]
fn add(sums: [__m512i; 2], pairs: [__m512i; 2], [first, second]: [i16; 2]) -> [__m512i; 2] {
    let factors = _mm512_set1_epi32(i32::from(second) << 16 | i32::from(first.cast_unsigned()));
    [
        _mm512_dpwssd_epi32(sums[0], pairs[0], factors),
        _mm512_dpwssd_epi32(sums[1], pairs[1], factors),
    ]
}

/// Sums without the bits behind the point, in the order from before they were unpacked.
#[inline]
#[target_feature(enable = "avx512bw")]
fn words(sums: [__m512i; 2]) -> __m512i {
    _mm512_packs_epi32(
        _mm512_srai_epi32::<SHIFT>(sums[0]),
        _mm512_srai_epi32::<SHIFT>(sums[1]),
    )
}

/// The differences of 32 even pixels, and of 32 odd ones.
#[inline]
#[target_feature(enable = "avx512bw")]
fn spread(row: &[i16]) -> [__m512i; 2] {
    let [before, here, behind] = [0, 1, 2].map(|from| {
        let part = &row[from..][..HALF];
        // SAFETY: 64 bytes.
        unsafe { _mm512_loadu_si512(part.as_ptr().cast()) }
    });
    let three = _mm512_add_epi16(here, _mm512_add_epi16(here, here));
    [
        _mm512_add_epi16(three, before),
        _mm512_add_epi16(three, behind),
    ]
}

/// Where the bytes of 64 pixels' RGB lie in red and, from 64 on, in green.
const PLACES: [[u8; 64]; 3] = {
    let mut places = [[0; 64]; 3];
    let mut byte = 0;
    while byte < 3 * PIXELS {
        let (pixel, colour) = (byte / 3, byte % 3);
        // Packing puts eight even ones before eight odd ones.
        let lane = pixel / 16 * 16 + pixel % 16 / 2 + pixel % 2 * 8;
        places[byte / 64][byte % 64] = (lane + 64 * (colour % 2)) as u8;
        byte += 1;
    }
    places
};

/// Which of these bytes are blue's.
const IS_BLUE: [u64; 3] = {
    let mut is_blue = [0; 3];
    let mut byte = 2;
    while byte < 3 * PIXELS {
        is_blue[byte / 64] |= 1 << (byte % 64);
        byte += 3;
    }
    is_blue
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::yuv420::{self, tests::BT601};
    use crate::wide::is_available;

    #[test]
    fn every_width_is_converted_as_without_it() {
        if !is_available() {
            return;
        }
        let mut wide = Converter::default();
        let mut plain = yuv420::Plain::default();
        for (width, height) in (1..=200usize).map(|width| (width, 1 + width % 7)) {
            let half = (width.div_ceil(2), height.div_ceil(2));
            // All values there are, in no order, and more often the extremes.
            let bytes = |count: usize, seed: usize| -> Vec<u8> {
                let byte = |at: usize| match (at + seed).wrapping_mul(2_654_435_761) >> 7 {
                    mixed if mixed % 5 == 0 => 0,
                    mixed if mixed % 5 == 1 => 255,
                    mixed => mixed as u8,
                };
                (0..count).map(byte).collect()
            };
            let luma = bytes((width + 3) * height, width);
            let (cb, cr) = (bytes(half.0 * half.1, 77), bytes(half.0 * half.1, 99));
            let planes = [(&luma[..], width + 3), (&cb[..], half.0), (&cr[..], half.0)];
            let picture = Planes {
                width,
                height,
                planes,
            };
            for full_range in [false, true] {
                let matrix = Matrix::new(BT601, full_range);
                let (mut got, mut expected) = (vec![1], vec![1]);
                // SAFETY: the processor has been asked.
                unsafe { wide.run(&picture, matrix, &mut got) };
                plain.run(&picture, matrix, &mut expected);
                assert!(got == expected, "{width} x {height}");
            }
        }
    }
}
