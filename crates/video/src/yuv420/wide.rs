//! The same conversion, byte for byte, of 64 pixels at a time in registers of 64 bytes.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_and_si512, _mm512_castsi512_si256, _mm512_cvtepu8_epi16,
    _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_mask_permutexvar_epi8, _mm512_maskz_loadu_epi8,
    _mm512_packs_epi32, _mm512_packus_epi16, _mm512_permutexvar_epi8, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_slli_epi16, _mm512_srai_epi32, _mm512_srli_epi16,
    _mm512_storeu_si512, _mm512_sub_epi16, _mm512_unpackhi_epi16, _mm512_unpacklo_epi16,
};
use std::ops::Range;

use super::{FINE, Matrix, Planes, SHIFT, nearest};
use pixels::Stripe;

/// Pixels computed at once.
const PIXELS: usize = 64;
/// Half of them: two share a chroma sample.
const HALF: usize = PIXELS / 2;

const FINE_BITS: u32 = FINE.trailing_zeros();

/// Row buffers.
#[derive(Default)]
pub(super) struct Converter {
    /// Two neighbouring rows of chroma, the even one and the odd one.
    chroma: [Chroma; 2],
    /// First pixel and groups of pixels that they were computed for.
    made_for: (usize, usize),
    words: Vec<i16>,
    rgb: Vec<u8>,
}

impl Converter {
    /// Discards the rows of the previous picture.
    pub(super) fn forget(&mut self) {
        for chroma in &mut self.chroma {
            chroma.row = None;
        }
    }

    /// Some rows and columns of a picture, the same one until [`forget`](Self::forget).
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    pub(super) fn rows(
        &mut self,
        picture: &Planes<'_>,
        matrix: Matrix,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Stripe<'_> {
        let Planes {
            width,
            height,
            planes: [luma, cb, cr],
        } = *picture;
        let start = columns.start / 2 * 2;
        let groups = (columns.end - start).div_ceil(PIXELS);
        if self.made_for != (start, groups) {
            self.made_for = (start, groups);
            self.forget();
        }
        let stride = groups * 3 * PIXELS;
        self.rgb.resize(rows.len() * stride, 0);
        let factors = Factors::new(matrix);
        for (y, line) in rows.zip(self.rgb.chunks_exact_mut(stride)) {
            let [near, far] = nearest(height, y);
            for row in [near, far] {
                let chroma = &mut self.chroma[row % 2];
                if chroma.row != Some(row) {
                    let bytes =
                        [cb, cr].map(|(plane, stride)| &plane[row * stride..][..width.div_ceil(2)]);
                    for (plane, bytes) in chroma.planes.iter_mut().zip(bytes) {
                        spread(bytes, start / 2, groups, &mut self.words, plane);
                    }
                    chroma.row = Some(row);
                }
            }
            let luma = &luma.0[y * luma.1..][start..width.min(start + groups * PIXELS)];
            let [near, far] = [near, far].map(|row| &self.chroma[row % 2].planes);
            let lines = line.as_chunks_mut::<{ 3 * PIXELS }>().0.iter_mut();
            for ((group, line), luma) in lines.enumerate().zip(luma.chunks(PIXELS)) {
                let chroma = [0, 1].map(|plane| [&near[plane][group], &far[plane][group]]);
                factors.pixels(luma, chroma, line);
            }
        }
        Stripe {
            rgb: &self.rgb[(columns.start - start) * 3..],
            stride,
        }
    }
}

/// A row of Cb and of Cr at the columns of the pixels.
#[derive(Default)]
struct Chroma {
    row: Option<usize>,
    planes: [Vec<Group>; 2],
}

/// For 64 pixels, the contribution of a row of chroma: as the far one, and as the near one less
/// the value of gray. Their sum equals [`super::spread`] of [`super::blend`].
#[derive(Clone)]
#[repr(align(64))]
struct Group {
    /// Of the even pixels and of the odd ones.
    far: [[i16; HALF]; 2],
    near: [[i16; HALF]; 2],
}

/// Computes `groups` of a row of chroma, from `start` on. `words` is scratch space.
#[target_feature(enable = "avx512bw")]
fn spread(row: &[u8], start: usize, groups: usize, words: &mut Vec<i16>, made: &mut Vec<Group>) {
    // One word before the first and one after the last, and room for whole registers.
    words.resize((groups + 1) * HALF + 2, 0);
    let from = start.saturating_sub(1);
    let end = row.len().min(start + groups * HALF + 1);
    let places = words[from + 1 - start..].as_chunks_mut::<HALF>().0;
    for (bytes, place) in row[from..end].chunks(HALF).zip(places) {
        let inside = u64::MAX >> (PIXELS - bytes.len());
        // SAFETY: the mask has a bit for these bytes alone; the place is one of 64 bytes.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8(inside, bytes.as_ptr().cast());
            let bytes = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(bytes));
            _mm512_storeu_si512(place.as_mut_ptr().cast(), bytes);
        }
    }
    // Beyond the picture its last column is repeated.
    if start == 0 {
        words[0] = words[1];
    }
    if end == row.len() {
        words[end + 1 - start] = words[end - start];
    }
    made.resize(
        groups,
        Group {
            far: [[0; HALF]; 2],
            near: [[0; HALF]; 2],
        },
    );
    let gray = _mm512_set1_epi16(FINE * 128);
    for (number, group) in made.iter_mut().enumerate() {
        let [before, here, behind] = [0, 1, 2].map(|shift| {
            let part = &words[number * HALF + shift..][..HALF];
            // SAFETY: 64 bytes.
            unsafe { _mm512_loadu_si512(part.as_ptr().cast()) }
        });
        for (half, beside) in [before, behind].into_iter().enumerate() {
            let far = _mm512_add_epi16(three_times(here), beside);
            let near = _mm512_sub_epi16(three_times(far), gray);
            // SAFETY: 64 bytes each.
            unsafe {
                _mm512_storeu_si512(group.far[half].as_mut_ptr().cast(), far);
                _mm512_storeu_si512(group.near[half].as_mut_ptr().cast(), near);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn three_times(words: __m512i) -> __m512i {
    _mm512_add_epi16(words, _mm512_add_epi16(words, words))
}

/// A matrix as pairs of factors: of luma, and of a chroma component.
struct Factors {
    /// The initial value of every sum: a half, less the black level of luma.
    start: i32,
    red: [i16; 2],
    blue: [i16; 2],
    green_cb: [i16; 2],
    green_cr: [i16; 2],
}

impl Factors {
    fn new(matrix: Matrix) -> Self {
        let black = i32::from(matrix.black * FINE) * i32::from(matrix.luma);
        Self {
            start: (1 << (SHIFT - 1)) - black,
            red: [matrix.luma, matrix.red_cr],
            blue: [matrix.luma, matrix.blue_cb],
            green_cb: [matrix.luma, -matrix.green_cb],
            green_cr: [0, -matrix.green_cr],
        }
    }

    /// Up to 64 pixels of a row; `chroma` is the near and the far row of Cb, and of Cr.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    fn pixels(&self, luma: &[u8], chroma: [[&Group; 2]; 2], rgb: &mut [u8; 3 * PIXELS]) {
        let inside = u64::MAX >> (PIXELS - luma.len().min(PIXELS));
        // SAFETY: the mask has a bit for the bytes of `luma` alone.
        let luma = unsafe { _mm512_maskz_loadu_epi8(inside, luma.as_ptr().cast()) };
        // Bytes to words, scaled by 16.
        let byte = _mm512_set1_epi16(0xff * FINE);
        let lights = [
            _mm512_and_si512(_mm512_slli_epi16::<FINE_BITS>(luma), byte),
            _mm512_and_si512(_mm512_srli_epi16::<{ 8 - FINE_BITS }>(luma), byte),
        ];
        let [even, odd] = [0, 1].map(|half| {
            let [cb, cr] = chroma.map(|[near, far]| {
                // SAFETY: 64 bytes each.
                let [near, far] = unsafe {
                    [&near.near[half], &far.far[half]]
                        .map(|words| _mm512_loadu_si512(words.as_ptr().cast()))
                };
                _mm512_add_epi16(near, far)
            });
            self.colours(lights[half], cb, cr)
        });
        let mut planes = [even[0]; 3];
        for ((plane, even), odd) in planes.iter_mut().zip(even).zip(odd) {
            *plane = _mm512_packus_epi16(even, odd);
        }
        let [red, green, blue] = planes;
        let parts = rgb.as_chunks_mut::<64>().0.iter_mut();
        for ((part, places), [is_green, is_blue]) in parts.zip(&PLACES).zip(IS_GREEN_OR_BLUE) {
            // SAFETY: 64 bytes each.
            unsafe {
                let places = _mm512_loadu_si512(places.as_ptr().cast());
                let all = _mm512_permutexvar_epi8(places, red);
                let all = _mm512_mask_permutexvar_epi8(all, is_green, places, green);
                let all = _mm512_mask_permutexvar_epi8(all, is_blue, places, blue);
                _mm512_storeu_si512(part.as_mut_ptr().cast(), all);
            }
        }
    }

    /// Red, green and blue of 32 pixels, as words.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    fn colours(&self, light: __m512i, cb: __m512i, cr: __m512i) -> [__m512i; 3] {
        let by_cb = [
            _mm512_unpacklo_epi16(light, cb),
            _mm512_unpackhi_epi16(light, cb),
        ];
        let by_cr = [
            _mm512_unpacklo_epi16(light, cr),
            _mm512_unpackhi_epi16(light, cr),
        ];
        let start = [_mm512_set1_epi32(self.start); 2];
        [
            words(add(start, by_cr, self.red)),
            words(add(add(start, by_cb, self.green_cb), by_cr, self.green_cr)),
            words(add(start, by_cb, self.blue)),
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

/// Sums without the fraction bits, in the order from before they were unpacked.
#[inline]
#[target_feature(enable = "avx512bw")]
fn words(sums: [__m512i; 2]) -> __m512i {
    _mm512_packs_epi32(
        _mm512_srai_epi32::<SHIFT>(sums[0]),
        _mm512_srai_epi32::<SHIFT>(sums[1]),
    )
}

/// Positions of the RGB bytes of 64 pixels among those of their colour.
const PLACES: [[u8; 64]; 3] = {
    let mut places = [[0; 64]; 3];
    let mut byte = 0;
    while byte < 3 * PIXELS {
        let pixel = byte / 3;
        // Packing puts eight even ones before eight odd ones.
        let lane = pixel / 16 * 16 + pixel % 16 / 2 + pixel % 2 * 8;
        places[byte / 64][byte % 64] = lane as u8;
        byte += 1;
    }
    places
};

/// Which of these bytes are green's, and which blue's.
const IS_GREEN_OR_BLUE: [[u64; 2]; 3] = {
    let mut masks = [[0; 2]; 3];
    let mut byte = 0;
    while byte < 3 * PIXELS {
        if !byte.is_multiple_of(3) {
            masks[byte / 64][byte % 3 - 1] |= 1 << (byte % 64);
        }
        byte += 1;
    }
    masks
};

#[cfg(test)]
mod needs_avx512_vbmi {
    use super::*;
    use crate::yuv420::{self, tests::BT601};
    use pixels::avx512::is_available;

    #[test]
    #[ignore = "needs a processor with avx512bw, avx512vbmi and avx512vnni"]
    fn every_width_is_converted_as_without_it() {
        assert!(is_available(), "not such a processor");
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
                // From anywhere to anywhere, in the order of a reader that may go back.
                let parts = [
                    (0..height, 0..width),
                    (height / 3..height, width / 3..width),
                    (0..height, 0..width.div_ceil(2)),
                    (
                        height / 2..height / 2 + 1,
                        width / 2..(width / 2 + 9).min(width),
                    ),
                ];
                wide.forget();
                for (rows, columns) in parts {
                    plain.rows(&picture, matrix, rows.clone());
                    let expected = plain.stripe(width, columns.clone());
                    // SAFETY: the processor has been asked.
                    let got = unsafe { wide.rows(&picture, matrix, rows.clone(), columns.clone()) };
                    let same = got.lines(columns.len()).eq(expected.lines(columns.len()));
                    assert!(same, "{rows:?} and {columns:?} of {width} x {height}");
                    assert_eq!(got.lines(1).count(), rows.len());
                }
            }
        }
    }
}
