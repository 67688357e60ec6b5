//! Products of rows of numbers, bf16 or fp32, summed in fp32.
//!
//! Both are handled in words of 32 bits, two bf16 or one fp32: their layout is the same, and
//! multiplying them differs in one instruction.

use std::arch::x86_64::{
    __m256i, __m512, __m512bh, __m512i, _mm512_castsi512_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_or_si512,
    _mm512_permutex2var_epi32, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_slli_epi32,
};
use std::mem::transmute;

use tch::{Kind, Tensor};

/// Two bf16 or one fp32. Two bf16 need not lie on a multiple of four bytes.
pub(super) type Word = [u16; 2];

/// fp32 numbers, and words, in a register.
pub(super) const LANES: usize = 16;
/// Rows computed at once.
pub(super) const ROWS: usize = 6;
/// Registers of products computed at once per row: with [`ROWS`], 24 of the 32 registers.
pub(super) const BLOCKS: usize = 4;

/// An element type of the kernels.
///
/// # Safety
/// It has the size of `KIND`'s elements, and any bits are valid. All functions require
/// [`super::is_supported`].
pub(super) unsafe trait Number: Copy + Sync + 'static {
    const KIND: Kind;
    const ZERO: Self;
    /// Elements per [`Word`].
    const IN_WORD: usize;

    /// `sum` and, for each lane, the products of the numbers in two words.
    unsafe fn add_products(sum: __m512, left: __m512i, right: __m512i) -> __m512;

    /// A line of words for 16 columns, from a row for each number of a word; where that is one,
    /// both are the same.
    unsafe fn line(rows: [&[Self; LANES]; 2]) -> __m512i;

    /// Converts to fp32.
    unsafe fn exact(numbers: [Self; LANES]) -> __m512;

    /// Converts from fp32.
    unsafe fn rounded(numbers: __m512) -> [Self; LANES];
}

/// The upper half of an fp32.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Bf16(pub(super) u16);

// SAFETY: 16 bits.
unsafe impl Number for Bf16 {
    const KIND: Kind = Kind::BFloat16;
    const ZERO: Self = Self(0);
    const IN_WORD: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn add_products(sum: __m512, left: __m512i, right: __m512i) -> __m512 {
        // SAFETY: both are 32 numbers of 16 bits.
        let [left, right] = unsafe { transmute::<[__m512i; 2], [__m512bh; 2]>([left, right]) };
        _mm512_dpbf16_ps(sum, left, right)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn line(rows: [&[Self; LANES]; 2]) -> __m512i {
        let second = _mm512_slli_epi32::<16>(widened(*rows[1]));
        _mm512_or_si512(widened(*rows[0]), second)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn exact(numbers: [Self; LANES]) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(widened(numbers)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn rounded(numbers: __m512) -> [Self; LANES] {
        // SAFETY: 16 numbers of 16 bits.
        unsafe { transmute(_mm512_cvtneps_pbh(numbers)) }
    }
}

/// Each in the lower half of a lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn widened(numbers: [Bf16; LANES]) -> __m512i {
    // SAFETY: 32 bytes.
    _mm512_cvtepu16_epi32(unsafe { transmute::<[Bf16; LANES], __m256i>(numbers) })
}

// SAFETY: 32 bits.
unsafe impl Number for f32 {
    const KIND: Kind = Kind::Float;
    const ZERO: Self = 0.0;
    const IN_WORD: usize = 1;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn add_products(sum: __m512, left: __m512i, right: __m512i) -> __m512 {
        _mm512_fmadd_ps(_mm512_castsi512_ps(left), _mm512_castsi512_ps(right), sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn line(rows: [&[Self; LANES]; 2]) -> __m512i {
        // SAFETY: a register.
        unsafe { transmute::<[f32; LANES], __m512i>(*rows[0]) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn exact(numbers: [Self; LANES]) -> __m512 {
        // SAFETY: a register.
        unsafe { transmute(numbers) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn rounded(numbers: __m512) -> [Self; LANES] {
        // SAFETY: a register.
        unsafe { transmute(numbers) }
    }
}

/// A word of each of 16 columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [Word; LANES]);

impl Line {
    pub(super) const EMPTY: Self = Self([[0; 2]; LANES]);
}

/// Rows of `width` words, `stride` words from one to the next.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) words: &'a [Word],
    pub(super) stride: usize,
    pub(super) width: usize,
}

impl<'a> Rows<'a> {
    #[inline]
    pub(super) fn row(&self, number: usize) -> &'a [Word] {
        &self.words[number * self.stride..][..self.width]
    }

    /// `R` rows from `start`.
    #[inline]
    pub(super) fn some<const R: usize>(&self, start: usize) -> [&'a [Word]; R] {
        let mut rows = [[].as_slice(); R];
        for (number, row) in rows.iter_mut().enumerate() {
            *row = self.row(start + number);
        }
        rows
    }

    /// `width` words of each row from word `start` on, from row `first` on.
    #[inline]
    pub(super) fn part(&self, first: usize, start: usize, width: usize) -> Self {
        Self {
            words: &self.words[first * self.stride + start..],
            width,
            ..*self
        }
    }
}

/// The numbers of a tensor.
///
/// # Safety
/// [`super::accepts`] holds for it, it is of `N`'s kind, and nothing writes to it while the slice
/// is held.
#[inline]
pub(super) unsafe fn numbers<N: Number>(tensor: &Tensor) -> &[N] {
    // SAFETY: contiguous numbers of this size on the CPU, held by the tensor.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// The same, word by word.
///
/// # Safety
/// As [`numbers`].
#[inline]
pub(super) unsafe fn words<N: Number>(tensor: &Tensor) -> &[Word] {
    // SAFETY: by this function's contract; a word is aligned as a bf16 is.
    words_of(unsafe { numbers::<N>(tensor) })
}

/// Numbers as words.
#[inline]
pub(super) fn words_of<N: Number>(numbers: &[N]) -> &[Word] {
    let words = numbers.len() / N::IN_WORD;
    // SAFETY: the slice holds this many, aligned as a bf16 is, and any bits are a word.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), words) }
}

/// Words back to numbers, 16 by 16.
///
/// # Safety
/// They were such numbers, by [`words`] or [`words_of`].
#[inline]
pub(super) unsafe fn sixteens<N: Number>(words: &[Word]) -> &[[N; LANES]] {
    let count = words.len() * N::IN_WORD / LANES;
    // SAFETY: the slice holds this many, aligned as they were.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), count) }
}

/// Transposes the first `count` of `rows`, for [`products`] with as many blocks as they
/// fill: for each word a line for every 16 of them. Their width is a multiple of 16.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn lay_out(rows: Rows<'_>, count: usize, lines: &mut [Line]) {
    let blocks = count.div_ceil(LANES);
    for block in 0..blocks {
        for start in (0..rows.width).step_by(LANES) {
            let mut words = [_mm512_setzero_si512(); LANES];
            for (words, number) in words.iter_mut().zip(block * LANES..count) {
                let part = &rows.row(number)[start..][..LANES];
                // SAFETY: 64 bytes.
                *words = unsafe { _mm512_loadu_si512(part.as_ptr().cast()) };
            }
            let places = lines[start * blocks..].chunks_exact_mut(blocks);
            for (words, place) in transposed(words).into_iter().zip(places) {
                // SAFETY: a line is a register.
                place[block] = unsafe { transmute::<__m512i, Line>(words) };
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

/// In each square of 2 `S` rows and lanes, swaps the quarters above and below the
/// diagonal.
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

/// Adds to `sums` the products of `left`, `R` rows of words, and `right`, for each word `B` lines
/// of columns.
///
/// # Safety
/// [`super::is_supported`].
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn add_products<N: Number, const R: usize, const B: usize>(
    mut sums: [[__m512; B]; R],
    mut left: [&[Word]; R],
    right: &[Line],
) -> [[__m512; B]; R] {
    let right = right.as_chunks::<B>().0;
    for row in &mut left {
        *row = &row[..right.len()];
    }
    for (word, lines) in right.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&left) {
            let [low, high] = row[word].map(u32::from);
            let factor = _mm512_set1_epi32((high << 16 | low).cast_signed());
            for (sum, line) in sums.iter_mut().zip(lines) {
                // SAFETY: a line is a register; by this function's contract.
                *sum = unsafe { N::add_products(*sum, factor, transmute::<Line, __m512i>(*line)) };
            }
        }
    }
    sums
}
