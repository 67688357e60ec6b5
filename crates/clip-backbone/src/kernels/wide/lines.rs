//! Products of bf16 numbers, two at a time, summed in fp32.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_si512,
    _mm512_permutex2var_epi32, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
};
use std::mem::transmute;

use tch::Tensor;

/// Two bf16 whose products with two others are added up.
pub(super) type Pair = [u16; 2];

/// Numbers of fp32 in a register.
pub(super) const LANES: usize = 16;
/// Rows whose products are made at once.
pub(super) const ROWS: usize = 6;
/// Registers of products made at once for a row: with [`ROWS`] 24 of the 32 there are.
pub(super) const BLOCKS: usize = 4;

/// A pair of each of 16 columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [Pair; LANES]);

impl Line {
    pub(super) const EMPTY: Self = Self([[0; 2]; LANES]);
}

/// Rows of `width` pairs, `stride` pairs from one to the next.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) pairs: &'a [Pair],
    pub(super) stride: usize,
    pub(super) width: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn row(&self, number: usize) -> &'a [Pair] {
        &self.pairs[number * self.stride..][..self.width]
    }

    /// `R` rows from `start` on.
    pub(super) fn some<const R: usize>(&self, start: usize) -> [&'a [Pair]; R] {
        let mut rows = [[].as_slice(); R];
        for (number, row) in rows.iter_mut().enumerate() {
            *row = self.row(start + number);
        }
        rows
    }
}

/// The numbers of a tensor.
///
/// # Safety
/// [`super::serve`] has approved it, and nothing writes to it while the slice is held.
pub(super) unsafe fn numbers(tensor: &Tensor) -> &[u16] {
    // SAFETY: contiguous numbers of 16 bits on the CPU, held by the tensor.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// The same, two by two.
///
/// # Safety
/// As [`numbers`].
pub(super) unsafe fn pairs(tensor: &Tensor) -> &[Pair] {
    // SAFETY: by this function's contract.
    unsafe { numbers(tensor) }.as_chunks().0
}

/// Makes columns of the first `count` of `rows`, for [`products`] with as many blocks as they
/// fill: for each pair a line for every 16 of them. Their width is a multiple of 16.
#[target_feature(enable = "avx512f")]
pub(super) fn lay_out(rows: Rows<'_>, count: usize, lines: &mut [Line]) {
    let blocks = count.div_ceil(LANES);
    for block in 0..blocks {
        for start in (0..rows.width).step_by(LANES) {
            let mut pairs = [_mm512_setzero_si512(); LANES];
            for (pairs, number) in pairs.iter_mut().zip(block * LANES..count) {
                let part = &rows.row(number)[start..][..LANES];
                // SAFETY: 64 bytes.
                *pairs = unsafe { _mm512_loadu_si512(part.as_ptr().cast()) };
            }
            let places = lines[start * blocks..].chunks_exact_mut(blocks);
            for (pairs, place) in transposed(pairs).into_iter().zip(places) {
                // SAFETY: a line is a register.
                place[block] = unsafe { transmute::<__m512i, Line>(pairs) };
            }
        }
    }
}

/// Lane i of row j to lane j of row i.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(mut rows: [__m512i; LANES]) -> [__m512i; LANES] {
    exchange::<8>(&mut rows);
    exchange::<4>(&mut rows);
    exchange::<2>(&mut rows);
    exchange::<1>(&mut rows);
    rows
}

/// Of each square of 2 `S` rows and lanes, the quarter above the diagonal and that below it
/// change places.
#[inline]
#[target_feature(enable = "avx512f")]
fn exchange<const S: usize>(rows: &mut [__m512i; LANES]) {
    let (mut upper, mut lower) = ([0; LANES], [0; LANES]);
    for lane in 0..LANES {
        let second = lane & S != 0;
        // From 16 on the lanes are those of the other row.
        upper[lane] = if second { LANES + lane - S } else { lane } as i32;
        lower[lane] = if second { LANES + lane } else { lane + S } as i32;
    }
    // SAFETY: both are registers.
    let [upper, lower] = unsafe { transmute::<[[i32; LANES]; 2], [__m512i; 2]>([upper, lower]) };
    for row in (0..LANES).filter(|row| row & S == 0) {
        let (first, second) = (rows[row], rows[row + S]);
        rows[row] = _mm512_permutex2var_epi32(first, upper, second);
        rows[row + S] = _mm512_permutex2var_epi32(first, lower, second);
    }
}

/// `left`, `R` rows of pairs, times `right`, for each pair `B` lines of columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn products<const R: usize, const B: usize>(
    mut left: [&[Pair]; R],
    right: &[Line],
) -> [[__m512; B]; R] {
    let right = right.as_chunks::<B>().0;
    for row in &mut left {
        *row = &row[..right.len()];
    }
    let mut sums = [[_mm512_setzero_ps(); B]; R];
    for (pair, lines) in right.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&left) {
            let [low, high] = row[pair].map(u32::from);
            let factor = _mm512_set1_epi32((high << 16 | low).cast_signed());
            // SAFETY: both are 32 numbers of 16 bits.
            let factor = unsafe { transmute::<__m512i, __m512bh>(factor) };
            for (sum, line) in sums.iter_mut().zip(lines) {
                // SAFETY: as above.
                let line = unsafe { transmute::<Line, __m512bh>(*line) };
                *sum = _mm512_dpbf16_ps(*sum, factor, line);
            }
        }
    }
    sums
}

/// To bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn rounded(numbers: __m512) -> [u16; LANES] {
    // SAFETY: 16 numbers of 16 bits.
    unsafe { transmute(_mm512_cvtneps_pbh(numbers)) }
}
