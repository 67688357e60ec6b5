//! The resizing of `fast_image_resize`, byte for byte, in registers of 64 bytes.
//!
//! The library's widest kernel computes one pixel of four rows at a time and took longer than all
//! other work on a decoded frame; here five pixels of a row are one permutation and one
//! multiplication per pair of weights, and rows are resized along columns while they are still in
//! the L1 cache. If the processor lacks the instructions, or a window is too wide for them,
//! the library does the work; it is also the reference in the tests.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512i, _mm_cvtsi32_si128, _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_maskz_loadu_epi8,
    _mm512_packs_epi32, _mm512_packus_epi16, _mm512_permutexvar_epi8, _mm512_set1_epi32,
    _mm512_sra_epi32, _mm512_storeu_si512,
};
use std::ops::Range;

use super::{Windows, weights::Weights};
use crate::avx512::is_available;
use crate::rows::{AT_ONCE, Rows, Stripe};

/// Pixels computed at once: 15 of the 16 sums of a register.
const PIXELS: usize = 5;
/// Their bytes.
const BYTES: usize = PIXELS * 3;
/// Groups of pixels that are packed into one register.
const PACKED: usize = 4;
/// Bytes of a row that a group may need: whole pixels followed by a zero.
const WINDOW: usize = 63;

/// Resizes pictures, reusing its tables while sizes stay the same.
#[derive(Default)]
pub(super) struct Resizer {
    plan: Option<Plan>,
    between: Between,
}

/// Tables that depend only on the sizes.
struct Plan {
    sizes: [usize; 4],
    windows: Windows,
    /// `None` if the library has to do the work.
    tables: Option<(Across, Down)>,
}

impl Resizer {
    /// Appends `windows` of the picture at `width` x `height` to `rgb`; `false` if the library
    /// has to do it.
    pub(super) fn part(
        &mut self,
        picture: &mut dyn Rows,
        windows: Windows,
        [width, height]: [usize; 2],
        rgb: &mut Vec<u8>,
    ) -> bool {
        if !is_available() {
            return false;
        }
        let sizes = [picture.width(), picture.height(), width, height];
        let same = |plan: &Plan| plan.sizes == sizes && plan.windows == windows;
        let plan = match self.plan.take().filter(same) {
            Some(plan) => plan,
            None => Plan::new(sizes, windows),
        };
        let plan = self.plan.insert(plan);
        let Some((across, down)) = &plan.tables else {
            return false;
        };
        rgb.reserve(width * height * 3);
        // SAFETY: checked that the processor supports the instructions.
        unsafe { self.between.part(across, down, picture, width, rgb) };
        true
    }
}

impl Plan {
    fn new(sizes: [usize; 4], windows: Windows) -> Self {
        let [from_width, from_height, width, height] = sizes;
        let weights = |from, (start, length), to| Weights::new(from, [start, start + length], to);
        let across = Across::new(&weights(from_width, windows.columns, width));
        let down = || Down::new(&weights(from_height, windows.rows, height));
        Self {
            sizes,
            windows,
            tables: across.map(|across| (across, down())),
        }
    }
}

/// Horizontally resized rows, as many as an output row needs, and that row.
#[derive(Default)]
struct Between {
    /// Pairs of rows, a ring buffer.
    pairs: Vec<RowPair>,
    /// An output row too near the end of its memory; otherwise empty.
    line: Vec<u8>,
    /// Offsets of the pairs of rows that contribute to an output row.
    starts: Vec<usize>,
}

/// A group of pixels in two neighbouring rows, their bytes side by side as words.
#[derive(Clone)]
#[repr(align(64))]
struct RowPair([i16; 32]);

impl Between {
    /// Appends the first `width` pixels of each row to `rgb`.
    ///
    /// # Safety
    /// [`is_available`].
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    unsafe fn part(
        &mut self,
        across: &Across,
        down: &Down,
        picture: &mut dyn Rows,
        width: usize,
        rgb: &mut Vec<u8>,
    ) {
        let groups = across.groups.len().next_multiple_of(PACKED);
        // Four rows are computed at once: one pair may not be needed yet.
        let kept = down.each + 1;
        self.pairs.resize(groups * kept, RowPair([0; 32]));
        let mut made = down.rows.start / AT_ONCE * AT_ONCE;
        for (first, weights) in down.rows() {
            let needed = down.rows.end.min(2 * (first + down.each));
            while made < needed {
                let rows = made..picture.height().min(made + AT_ONCE);
                let starts = [0, 1].map(|pair| (made / 2 + pair) % kept * groups);
                let stripe = picture.rows(rows.clone(), across.columns.clone());
                // SAFETY: as this function's.
                unsafe { across.rows(stripe, rows.len(), &mut self.pairs, starts) };
                made += AT_ONCE;
            }
            self.starts.clear();
            let pairs = first..first + down.each;
            self.starts.extend(pairs.map(|pair| pair % kept * groups));
            // Written in place, unless the padding written after it has no room there.
            let row = if rgb.capacity() - rgb.len() >= Down::room(groups) {
                &mut *rgb
            } else {
                self.line.reserve(Down::room(groups));
                &mut self.line
            };
            // SAFETY: as this function's.
            unsafe { down.row(weights, &self.pairs, &self.starts, groups, width * 3, row) };
            rgb.append(&mut self.line);
        }
    }
}

/// Horizontal resizing, laid out for the registers.
struct Across {
    /// Columns of the picture that are needed.
    columns: Range<usize>,
    groups: Vec<Group>,
    taps: Vec<TapPair>,
    precision: u32,
}

/// Five pixels computed at once.
struct Group {
    /// The first byte they need, counted from the first column.
    start: usize,
    /// Mask of the 64 bytes from there that are read: none beyond the columns.
    inside: u64,
    /// Its pairs of weights.
    pairs: Range<usize>,
}

/// Two neighbouring weights of each of the pixels.
#[repr(align(64))]
struct TapPair {
    /// Positions of the bytes of the sums; the high bytes of words are zero.
    bytes: [u8; 64],
    weights: [i16; 32],
}

impl Across {
    /// `None` if the pixels of a group need more of the row than a register holds.
    fn new(weights: &Weights) -> Option<Self> {
        let windows: Vec<_> = weights.windows().collect();
        let columns = weights.reach();
        let (mut groups, mut pairs) = (Vec::new(), Vec::new());
        for pixels in windows.chunks(PIXELS) {
            // A window that begins with a zero is trimmed, so the first need not be the leftmost.
            let first = pixels.iter().map(|(start, _)| *start).min()?;
            let taps = pixels.iter().map(|(_, taps)| taps.len()).max()?;
            groups.push(Group {
                start: (first - columns.start) * 3,
                inside: (1 << ((columns.end - first) * 3).min(WINDOW)) - 1,
                pairs: pairs.len()..pairs.len() + taps.div_ceil(2),
            });
            for pair in 0..taps.div_ceil(2) {
                let mut made = TapPair {
                    bytes: [WINDOW as u8; 64],
                    weights: [0; 32],
                };
                for (pixel, (start, taps)) in pixels.iter().enumerate() {
                    for (half, tap) in [2 * pair, 2 * pair + 1].into_iter().enumerate() {
                        let Some(&weight) = taps.get(tap) else {
                            continue;
                        };
                        for colour in 0..3 {
                            let lane = pixel * 3 + colour;
                            let from = (start + tap - first) * 3 + colour;
                            made.bytes[lane * 4 + half * 2] = u8::try_from(from)
                                .ok()
                                .filter(|&from| from < WINDOW as u8)?;
                            made.weights[lane * 2 + half] = weight;
                        }
                    }
                }
                pairs.push(made);
            }
        }
        Some(Self {
            columns,
            groups,
            taps: pairs,
            precision: weights.precision,
        })
    }

    /// Resizes four rows, of which `stripe` holds the first `there`, to two pairs at `starts`.
    ///
    /// # Safety
    /// [`is_available`].
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    unsafe fn rows(
        &self,
        stripe: Stripe<'_>,
        there: usize,
        pairs: &mut [RowPair],
        starts: [usize; 2],
    ) {
        let Stripe { rgb, stride } = stripe;
        // No row begins beyond the bytes, whatever the caller passed.
        let before = there.checked_sub(1).and_then(|n| n.checked_mul(stride));
        let needed = before.and_then(|before| before.checked_add(self.columns.len() * 3));
        assert!(needed.is_some_and(|needed| needed <= rgb.len()));
        let begins = [half(self.precision); AT_ONCE];
        for (number, group) in self.groups.iter().enumerate() {
            let mut sums = begins;
            let mut rows = begins;
            for (n, bytes) in rows.iter_mut().enumerate() {
                // Pixels beyond the picture have zero weight.
                let row = n.min(there - 1) * stride;
                // SAFETY: a group starts inside the columns, and `inside` has a bit for their
                // bytes alone; no other is read.
                *bytes = unsafe {
                    let start = rgb.as_ptr().add(row + group.start);
                    _mm512_maskz_loadu_epi8(group.inside, start.cast())
                };
            }
            for TapPair { bytes, weights } in &self.taps[group.pairs.clone()] {
                // SAFETY: two arrays of 64 bytes.
                let (bytes, weights) = unsafe {
                    (
                        _mm512_loadu_si512(bytes.as_ptr().cast()),
                        _mm512_loadu_si512(weights.as_ptr().cast()),
                    )
                };
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let row = _mm512_permutexvar_epi8(bytes, row);
                    *sum = _mm512_dpwssd_epi32(*sum, row, weights);
                }
            }
            let all = packed(sums, self.precision);
            for (start, bytes) in starts.into_iter().zip(&ROW_PAIRS) {
                let RowPair(words) = &mut pairs[start + number];
                // SAFETY: two arrays of 64 bytes.
                unsafe {
                    let bytes = _mm512_loadu_si512(bytes.as_ptr().cast());
                    let pair = _mm512_permutexvar_epi8(bytes, all);
                    _mm512_storeu_si512(words.as_mut_ptr().cast(), pair);
                }
            }
        }
    }
}

/// Vertical resizing.
struct Down {
    /// Rows of the picture that are needed.
    rows: Range<usize>,
    /// For each output row its first pair of source rows, non-decreasing.
    first: Vec<usize>,
    /// Weights of its pairs, the second row's in the upper half.
    weights: Vec<i32>,
    /// Number of pairs per row.
    each: usize,
    precision: u32,
}

impl Down {
    fn new(weights: &Weights) -> Self {
        let windows: Vec<_> = weights.windows().collect();
        // A window that begins with a zero is trimmed, so the next may begin before it.
        let mut first: Vec<_> = windows.iter().map(|(start, _)| start / 2).collect();
        for row in (1..first.len()).rev() {
            first[row - 1] = first[row - 1].min(first[row]);
        }
        let taps = || first.iter().map(|first| 2 * first).zip(&windows);
        let pairs = taps().map(|(first, (start, taps))| (start + taps.len() - first).div_ceil(2));
        let each = pairs.max().unwrap_or(0).max(1);
        let pairs = taps().flat_map(|(first, (start, taps))| {
            (0..each).map(move |pair| {
                let [one, two] = [0, 1].map(|half| {
                    let tap = (first + 2 * pair + half).checked_sub(*start);
                    tap.and_then(|tap| taps.get(tap)).copied().unwrap_or(0)
                });
                i32::from(two) << 16 | i32::from(one.cast_unsigned())
            })
        });
        Self {
            rows: weights.reach(),
            weights: pairs.collect(),
            first,
            each,
            precision: weights.precision,
        }
    }

    /// For each output row its first pair, and the weights up to the last non-zero one.
    fn rows(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let used = |weights: &[i32]| weights.iter().rposition(|&pair| pair != 0);
        let weights = self.weights.chunks_exact(self.each);
        let weights = weights.map(move |all| &all[..used(all).map_or(1, |last| last + 1)]);
        self.first.iter().copied().zip(weights)
    }

    /// Bytes written for a row: whole registers, of which the last ends with 4 bytes of padding.
    fn room(groups: usize) -> usize {
        groups * BYTES + 4
    }

    /// Appends the first `bytes` of a row of the result, made of the pairs that begin at `starts`,
    /// to `made`, which has [`room`](Self::room) for it.
    ///
    /// # Safety
    /// [`is_available`].
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    unsafe fn row(
        &self,
        weights: &[i32],
        pairs: &[RowPair],
        starts: &[usize],
        groups: usize,
        bytes: usize,
        made: &mut Vec<u8>,
    ) {
        assert!(bytes <= groups * BYTES);
        let line = &mut made.spare_capacity_mut()[..Self::room(groups)];
        let begins = [half(self.precision); PACKED];
        for group in (0..groups).step_by(PACKED) {
            let mut sums = begins;
            for (weight, start) in weights.iter().zip(starts) {
                let weight = _mm512_set1_epi32(*weight);
                let pairs = &pairs[start + group..][..PACKED];
                for (sum, RowPair(words)) in sums.iter_mut().zip(pairs) {
                    // SAFETY: 64 bytes.
                    let words = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
                    *sum = _mm512_dpwssd_epi32(*sum, words, weight);
                }
            }
            let all = packed(sums, self.precision);
            let place = &mut line[group * BYTES..][..64];
            // SAFETY: 64 bytes each.
            unsafe {
                let bytes = _mm512_loadu_si512(IN_ORDER.as_ptr().cast());
                let all = _mm512_permutexvar_epi8(bytes, all);
                _mm512_storeu_si512(place.as_mut_ptr().cast(), all);
            }
        }
        // SAFETY: the groups' bytes were written, one after the other.
        unsafe { made.set_len(made.len() + bytes) };
    }
}

/// One half in fixed point.
#[inline]
#[target_feature(enable = "avx512f")]
fn half(precision: u32) -> __m512i {
    _mm512_set1_epi32(1 << (precision - 1))
}

/// Packs four registers of sums as bytes: four sums of each in turn.
#[inline]
#[target_feature(enable = "avx512bw")]
fn packed(sums: [__m512i; 4], precision: u32) -> __m512i {
    let shift = _mm_cvtsi32_si128(precision as i32);
    let [a, b, c, d] = sums.map(|sum| _mm512_sra_epi32(sum, shift));
    _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d))
}

/// The position where [`packed`] puts a byte of a register.
const fn place(register: usize, byte: usize) -> u8 {
    (byte / 4 * 16 + register * 4 + byte % 4) as u8
}

/// Positions of the words of a pair of rows among the packed bytes of four rows. Their high bytes
/// are those of the unused sixteenth sum.
const ROW_PAIRS: [[u8; 64]; 2] = {
    let mut bytes = [[place(0, BYTES); 64]; 2];
    let mut word = 0;
    while word < 64 {
        let (pair, byte, row) = (word / 32, word % 32 / 2, word % 2);
        bytes[pair][word % 32 * 2] = place(pair * 2 + row, byte);
        word += 1;
    }
    bytes
};

/// Positions of the bytes of four groups among the packed ones.
const IN_ORDER: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut byte = 0;
    while byte < PACKED * BYTES {
        bytes[byte] = place(byte / BYTES, byte % BYTES);
        byte += 1;
    }
    bytes
};
