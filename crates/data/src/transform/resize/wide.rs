//! The resizing of `fast_image_resize`, byte for byte, in registers of 64 bytes.
//!
//! The library's own widest kernel makes one pixel of four rows at a time and took longer than all
//! else that is done to a decoded frame; here five pixels of four rows are one permutation and one
//! multiplication per pair of weights. Where the processor lacks the instructions, or a window is
//! too wide for them, the library does the work: it is the reference of the tests.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_cvtsi32_si128, _mm_prefetch, _mm_storeu_si128, _mm256_loadu_si256,
    _mm256_storeu_si256, _mm512_cvtepu8_epi16, _mm512_cvtusepi16_epi8, _mm512_cvtusepi32_epi8,
    _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_maskz_loadu_epi8,
    _mm512_maskz_permutexvar_epi8, _mm512_max_epi16, _mm512_max_epi32, _mm512_packs_epi32,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_sra_epi32, _mm512_unpackhi_epi16,
    _mm512_unpacklo_epi16,
};

use super::{Windows, weights::Weights};
use crate::transform::Picture;
use crate::wide::is_available;

/// Pixels made at once: 15 of the 16 sums of a register.
const PIXELS: usize = 5;
/// Rows made at once, so that a group's weights are loaded once for all of them.
const ROWS: usize = 4;
/// Bytes that are written of a row at once.
const LINE: usize = 32;

/// Resizes pictures, keeping its tables while sizes stay the same.
#[derive(Default)]
pub(super) struct Resizer {
    plan: Option<Plan>,
    between: Between,
}

/// All that depends on sizes alone.
struct Plan {
    sizes: [usize; 4],
    windows: Windows,
    /// `None` where the library has to do the work.
    tables: Option<(Across, Down)>,
}

impl Resizer {
    /// Appends `windows` of the picture at `width` x `height` to `rgb`; `false` where the library
    /// has to make it.
    pub(super) fn part(
        &mut self,
        picture: &Picture,
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
        // SAFETY: the processor has been asked.
        unsafe {
            across.run(picture.rgb(), &mut self.between);
            down.run(&mut self.between, width, rgb);
        }
        true
    }
}

impl Plan {
    fn new(sizes: [usize; 4], windows: Windows) -> Self {
        let [from_width, from_height, width, height] = sizes;
        let weights = |from, (start, length), to| Weights::new(from, [start, start + length], to);
        let across = Across::new(&weights(from_width, windows.columns, width), from_width);
        let down = || Down::new(&weights(from_height, windows.rows, height), from_height);
        Self {
            sizes,
            windows,
            tables: across.map(|across| (across, down())),
        }
    }
}

/// Rows resized, columns still to be.
#[derive(Default)]
struct Between {
    bytes: Vec<u8>,
    stride: usize,
    /// A row of the result, with room to write whole lines.
    line: Vec<u8>,
}

/// Resizing along rows, laid out for the registers.
struct Across {
    /// Pixels of a row.
    width: usize,
    groups: Vec<Group>,
    pairs: Vec<Pair>,
    /// Pairs of weights of each group.
    each: usize,
    precision: u32,
}

/// Five pixels that are made at once.
struct Group {
    /// First byte of the row that they need.
    start: usize,
    /// Which of the 64 bytes from there belong to the row.
    inside: u64,
}

/// Two neighbouring weights of each of the pixels.
struct Pair {
    /// Where the bytes of the sums lie.
    bytes: [u8; 64],
    weights: [i16; 32],
}

impl Across {
    /// `None` where the pixels of a group need more of the row than a register holds.
    fn new(weights: &Weights, width: usize) -> Option<Self> {
        let each = weights.pairs();
        let windows: Vec<_> = weights.windows().collect();
        let (mut groups, mut pairs) = (Vec::new(), Vec::new());
        for pixels in windows.chunks(PIXELS) {
            // A window that begins with a zero is cut, so that the first need not be the leftmost.
            let first = pixels.iter().map(|(start, _)| *start).min()?;
            let rest = (width - first) * 3;
            groups.push(Group {
                start: first * 3,
                inside: if rest < 64 { (1 << rest) - 1 } else { u64::MAX },
            });
            for pair in 0..each {
                let mut made = Pair {
                    bytes: [0; 64],
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
                            made.bytes[lane * 4 + half * 2] =
                                u8::try_from(from).ok().filter(|&from| from < 64)?;
                            made.weights[lane * 2 + half] = weight;
                        }
                    }
                }
                pairs.push(made);
            }
        }
        Some(Self {
            width,
            groups,
            pairs,
            each,
            precision: weights.precision,
        })
    }

    /// All rows of a picture.
    ///
    /// # Safety
    /// [`is_available`].
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    unsafe fn run(&self, rgb: &[u8], between: &mut Between) {
        let row = self.width * 3;
        let height = rgb.len() / row;
        // A group writes 16 bytes, of which 15 are its own; columns are read in whole lines.
        between.stride = (self.groups.len() * PIXELS * 3 + 1).next_multiple_of(LINE);
        between.bytes.resize(between.stride * height, 0);
        let sources = rgb.chunks(row * ROWS);
        let targets = between.bytes.chunks_mut(between.stride * ROWS);
        for (source, target) in sources.zip(targets) {
            if source.len() == row * ROWS {
                // SAFETY: as this function's.
                unsafe { self.rows::<ROWS>(source, target) };
                continue;
            }
            let rows = source.chunks_exact(row);
            for (source, target) in rows.zip(target.chunks_exact_mut(between.stride)) {
                // SAFETY: as this function's.
                unsafe { self.rows::<1>(source, target) };
            }
        }
    }

    /// `N` rows, one after the other.
    ///
    /// # Safety
    /// [`is_available`].
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    unsafe fn rows<const N: usize>(&self, source: &[u8], target: &mut [u8]) {
        // The low halves of words are bytes of the row, the high ones zero.
        const BYTES: u64 = 0x5555_5555_5555_5555;
        let (row, stride) = (self.width * 3, target.len() / N);
        assert!(source.len() == row * N && stride > self.groups.len() * PIXELS * 3);
        let half = _mm512_set1_epi32(1 << (self.precision - 1));
        let shift = _mm_cvtsi32_si128(self.precision as i32);
        let groups = self.groups.iter().zip(self.pairs.chunks_exact(self.each));
        for (number, (group, pairs)) in groups.enumerate() {
            let mut sums = [half; N];
            let mut rows = [half; N];
            for (n, bytes) in rows.iter_mut().enumerate() {
                // SAFETY: a group starts inside the row, and `inside` has a bit for the bytes
                // of the row alone; no other is read.
                *bytes = unsafe {
                    let start = source.as_ptr().add(n * row + group.start);
                    // The picture has left the nearer caches since it was converted.
                    _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(N * row).cast());
                    _mm512_maskz_loadu_epi8(group.inside, start.cast())
                };
            }
            for pair in pairs {
                // SAFETY: two arrays of 64 bytes.
                let (bytes, weights) = unsafe {
                    (
                        _mm512_loadu_si512(pair.bytes.as_ptr().cast()),
                        _mm512_loadu_si512(pair.weights.as_ptr().cast()),
                    )
                };
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let row = _mm512_maskz_permutexvar_epi8(BYTES, bytes, row);
                    *sum = _mm512_dpwssd_epi32(*sum, row, weights);
                }
            }
            for (n, sum) in sums.into_iter().enumerate() {
                let sum = _mm512_max_epi32(_mm512_sra_epi32(sum, shift), _mm512_setzero_si512());
                // SAFETY: the row is longer than all groups are by a byte at least, so that 16
                // bytes of it are left for the last one.
                unsafe {
                    let place = target.as_mut_ptr().add(n * stride + number * PIXELS * 3);
                    _mm_storeu_si128(place.cast(), _mm512_cvtusepi32_epi8(sum));
                };
            }
        }
    }
}

/// Resizing along columns.
struct Down {
    /// For each row of the result, pairs of rows that it is made of.
    pairs: Vec<Rows>,
    /// Pairs of each row.
    each: usize,
    /// Rows there are.
    height: usize,
    precision: u32,
}

/// Two neighbouring rows and their weights, the second's in the upper half.
struct Rows {
    rows: [usize; 2],
    weights: i32,
}

impl Down {
    fn new(weights: &Weights, height: usize) -> Self {
        let each = weights.pairs();
        let pairs = weights.windows().flat_map(|(start, taps)| {
            (0..each).map(move |pair| {
                let taps = [0, 1].map(|half| taps.get(2 * pair + half).copied().unwrap_or(0));
                // What lies beyond the picture weighs nothing.
                let row = (start + 2 * pair).min(height - 1);
                Rows {
                    rows: [row, (row + 1).min(height - 1)],
                    weights: i32::from(taps[1]) << 16 | i32::from(taps[0].cast_unsigned()),
                }
            })
        });
        Self {
            pairs: pairs.collect(),
            each,
            height,
            precision: weights.precision,
        }
    }

    /// Appends the first `width` pixels of each row to `rgb`.
    ///
    /// # Safety
    /// [`is_available`].
    #[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
    unsafe fn run(&self, between: &mut Between, width: usize, rgb: &mut Vec<u8>) {
        let Between {
            bytes,
            stride,
            line,
        } = between;
        let stride = *stride;
        assert!(bytes.len() >= self.height * stride && stride.is_multiple_of(LINE));
        line.resize(stride, 0);
        rgb.reserve(width * 3 * self.pairs.len() / self.each);
        let half = _mm512_set1_epi32(1 << (self.precision - 1));
        let shift = _mm_cvtsi32_si128(self.precision as i32);
        for pairs in self.pairs.chunks_exact(self.each) {
            for (number, place) in line.as_chunks_mut::<LINE>().0.iter_mut().enumerate() {
                let (mut low, mut high) = (half, half);
                for Rows { rows, weights } in pairs {
                    // SAFETY: all rows are below `height`, and the line is one of a row.
                    let [row, next] = unsafe {
                        let line = bytes.as_ptr().add(number * LINE);
                        [
                            words(line.add(rows[0] * stride)),
                            words(line.add(rows[1] * stride)),
                        ]
                    };
                    let weights = _mm512_set1_epi32(*weights);
                    low = _mm512_dpwssd_epi32(low, _mm512_unpacklo_epi16(row, next), weights);
                    high = _mm512_dpwssd_epi32(high, _mm512_unpackhi_epi16(row, next), weights);
                }
                // Packing undoes the order in which unpacking took the words.
                let sums =
                    _mm512_packs_epi32(_mm512_sra_epi32(low, shift), _mm512_sra_epi32(high, shift));
                let sums = _mm512_max_epi16(sums, _mm512_setzero_si512());
                // SAFETY: 32 bytes.
                unsafe {
                    _mm256_storeu_si256(place.as_mut_ptr().cast(), _mm512_cvtusepi16_epi8(sums))
                };
            }
            rgb.extend_from_slice(&line[..width * 3]);
        }
    }
}

/// A line of bytes as words.
///
/// # Safety
/// [`is_available`], and there are so many bytes.
#[inline]
#[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
unsafe fn words(line: *const u8) -> __m512i {
    // SAFETY: by this function's contract.
    _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(line.cast()) })
}
