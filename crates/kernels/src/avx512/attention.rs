//! softmax(q kᵀ / √d) v for heads of 64, from the fused projection to the joined heads.
//!
//! The scores of a few queries stay in the cache between the two products, in fp32, and
//! neither heads nor results are copied into another order first.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_loadu_ps, _mm512_mask_max_ps, _mm512_maskz_mov_ps,
    _mm512_mul_ps, _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_sub_ps,
};
use std::mem::transmute;

use tch::{Device, Kind, Tensor};

use super::functions::exp2;
use super::lines::{
    BLOCKS, Bf16, LANES, Line, Number, ROWS, Rows, Word, add_products, lay_out, numbers, sixteens,
    words_of,
};
use super::team::Team;

/// Width of a head.
const WIDTH: usize = 64;

/// `[N, L, 3 W]`, the queries, keys and values of `heads` heads, to the heads' outputs,
/// `[N, L, W]`, each softmax(q kᵀ / 8) v; `None` where the kernel does not apply: heads of another
/// width than 64, fewer than 6 tokens, another precision than bf16 or fp32, a tensor that is not
/// contiguous, not on the CPU or in a graph, or a machine that is not [supported](super::is_supported).
pub fn attention(qkv: &Tensor, heads: i64) -> Option<Tensor> {
    match qkv.kind() {
        Kind::BFloat16 => attention_of::<Bf16>(qkv, heads),
        Kind::Float => attention_of::<f32>(qkv, heads),
        _ => None,
    }
}

fn attention_of<N: Number>(qkv: &Tensor, heads: i64) -> Option<Tensor> {
    let &[items, tokens, width] = qkv.size().as_slice() else {
        return None;
    };
    if !super::accepts(qkv) || width != 3 * heads * WIDTH as i64 || tokens < ROWS as i64 {
        return None;
    }
    let team = Team::of_libtorch()?;
    let joined = Tensor::empty([items, tokens, width / 3], (N::KIND, Device::Cpu));
    let (items, tokens, heads) = (items as usize, tokens as usize, heads as usize);
    let to = To::<N>(joined.data_ptr().cast());
    // SAFETY: checked above; only `joined` is written.
    let (all, stride) = (unsafe { numbers::<N>(qkv) }, 3 * heads * WIDTH);
    team.share(
        items * heads,
        || Scratch::<N>::new(tokens),
        |scratch, number| {
            let (item, head) = (number / heads, number % heads);
            let part = |which: usize| Rows {
                words: words_of(&all[item * tokens * stride + (which * heads + head) * WIDTH..]),
                stride: stride / N::IN_WORD,
                width: WIDTH / N::IN_WORD,
            };
            let to = to.at((item * tokens * heads + head) * WIDTH);
            // SAFETY: the processor supports it; `to` has a place for each token and is
            // this head's alone.
            unsafe { scratch.attend([part(0), part(1), part(2)], to, heads * WIDTH) };
        },
    );
    Some(joined)
}

/// The joined output; each head is written by one thread.
struct To<N>(*mut N);

// SAFETY: the threads write to disjoint places.
unsafe impl<N: Number> Sync for To<N> {}

impl<N: Number> To<N> {
    fn at(&self, place: usize) -> *mut N {
        self.0.wrapping_add(place)
    }
}

/// Scratch buffers of one head.
struct Scratch<N> {
    tokens: usize,
    /// For each group of at most [`BLOCKS`] blocks of 16 keys: words of a key.
    keys: Vec<Line>,
    /// For each word of a row of weights, the values of its keys.
    values: Vec<Line>,
    /// `[ROWS, keys]`, keys in whole registers.
    scores: Vec<f32>,
    /// The scores' softmax before it is divided by its sum.
    weights: Vec<N>,
}

impl<N: Number> Scratch<N> {
    /// Words of a head.
    const WORDS: usize = WIDTH / N::IN_WORD;

    fn new(tokens: usize) -> Self {
        let padded = tokens.next_multiple_of(LANES);
        Self {
            tokens,
            keys: vec![Line::EMPTY; padded * Self::WORDS / LANES],
            values: vec![Line::EMPTY; padded * Self::WORDS / LANES],
            scores: vec![0.0; ROWS * padded],
            weights: vec![N::ZERO; ROWS * padded],
        }
    }

    /// Writes softmax(q kᵀ / 8) v of one head to rows of `to`.
    ///
    /// # Safety
    /// [`super::is_supported`]; the rows are made of such numbers, and `to` has [`WIDTH`] places at each of
    /// `tokens` rows of `stride`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn attend(&mut self, [q, k, v]: [Rows<'_>; 3], to: *mut N, stride: usize) {
        self.lay_out_keys(k);
        // SAFETY: by this function's contract.
        unsafe { self.lay_out_values(v) };
        for start in (0..self.tokens).step_by(ROWS) {
            // The last rows are recomputed rather than handled as a smaller group.
            let start = start.min(self.tokens - ROWS);
            // SAFETY: by this function's contract.
            unsafe {
                self.score(q.some(start));
                let sums = self.softmax_rows();
                self.mix(sums, to.wrapping_add(start * stride), stride);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn lay_out_keys(&mut self, k: Rows<'_>) {
        for (group, lines) in self.keys.chunks_mut(BLOCKS * Self::WORDS).enumerate() {
            let start = group * BLOCKS * LANES;
            let group = k.part(start, 0, k.width);
            lay_out(group, (self.tokens - start).min(BLOCKS * LANES), lines);
        }
    }

    /// # Safety
    /// [`super::is_supported`]; `v` is made of such numbers.
    #[target_feature(enable = "avx512f")]
    unsafe fn lay_out_values(&mut self, v: Rows<'_>) {
        let nothing = [N::ZERO; WIDTH];
        let row = |token| {
            if token < self.tokens {
                // SAFETY: by this function's contract.
                unsafe { sixteens::<N>(v.row(token)) }
            } else {
                nothing.as_chunks().0
            }
        };
        let places = self.values.as_chunks_mut::<BLOCKS>().0;
        for (word, place) in places.iter_mut().enumerate() {
            // From one row if a word is one number.
            let both = [word * N::IN_WORD, (word + 1) * N::IN_WORD - 1].map(row);
            for ((first, second), line) in both[0].iter().zip(both[1]).zip(place) {
                // SAFETY: by this function's contract; a line is a register.
                *line = unsafe { transmute::<__m512i, Line>(N::line([first, second])) };
            }
        }
    }

    /// The scores of these queries, not scaled.
    ///
    /// # Safety
    /// [`super::is_supported`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn score(&mut self, queries: [&[Word]; ROWS]) {
        let padded = self.scores.len() / ROWS;
        for (group, lines) in self.keys.chunks(BLOCKS * Self::WORDS).enumerate() {
            let to = &mut self.scores[group * BLOCKS * LANES..];
            // SAFETY: by this function's contract.
            unsafe {
                match lines.len() / Self::WORDS {
                    1 => keep(products::<N, 1>(queries, lines), to, padded),
                    2 => keep(products::<N, 2>(queries, lines), to, padded),
                    3 => keep(products::<N, 3>(queries, lines), to, padded),
                    _ => keep(products::<N, BLOCKS>(queries, lines), to, padded),
                }
            }
        }
    }

    /// Maps scores to exp((score - the row's maximum) / 8), and returns each row's sum.
    ///
    /// # Safety
    /// [`super::is_supported`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn softmax_rows(&mut self) -> [f32; ROWS] {
        /// log₂ e / √64
        const SCALE: f32 = std::f32::consts::LOG2_E / 8.0;
        let padded = self.scores.len() / ROWS;
        let last = u16::MAX >> (padded - self.tokens);
        let scale = _mm512_set1_ps(SCALE);
        let mut sums = [0.0; ROWS];
        let rows = self.scores.chunks_exact(padded);
        for ((scores, weights), sum) in rows
            .zip(self.weights.chunks_exact_mut(padded))
            .zip(&mut sums)
        {
            let blocks = scores.as_chunks::<LANES>().0;
            let mask = |block: usize| {
                if block + 1 == blocks.len() {
                    last
                } else {
                    u16::MAX
                }
            };
            let mut most = _mm512_set1_ps(f32::NEG_INFINITY);
            for (number, block) in blocks.iter().enumerate() {
                most = _mm512_mask_max_ps(most, mask(number), floats(block), most);
            }
            let most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
            let mut total = _mm512_setzero_ps();
            let places = weights.as_chunks_mut::<LANES>().0;
            for (number, (block, place)) in blocks.iter().zip(places).enumerate() {
                let above = _mm512_mul_ps(_mm512_sub_ps(floats(block), most), scale);
                let weight = _mm512_maskz_mov_ps(mask(number), exp2(above));
                total = _mm512_add_ps(total, weight);
                // SAFETY: by this function's contract.
                *place = unsafe { N::rounded(weight) };
            }
            *sum = _mm512_reduce_add_ps(total);
        }
        sums
    }

    /// The weighted sum of the values, divided by the weights' `sums`.
    ///
    /// # Safety
    /// As [`attend`](Self::attend).
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn mix(&self, sums: [f32; ROWS], to: *mut N, stride: usize) {
        let padded = self.weights.len() / ROWS / N::IN_WORD;
        let rows = Rows {
            words: words_of(&self.weights),
            stride: padded,
            width: padded,
        };
        // SAFETY: by this function's contract.
        let mixed = unsafe { products::<N, BLOCKS>(rows.some(0), &self.values) };
        for ((row, sum), mixed) in sums.iter().enumerate().zip(&mixed) {
            let share = _mm512_set1_ps(sum.recip());
            for (block, mixed) in mixed.iter().enumerate() {
                let place = to.wrapping_add(row * stride + block * LANES);
                // SAFETY: by this function's contract.
                unsafe {
                    place
                        .cast::<[N; LANES]>()
                        .write_unaligned(N::rounded(_mm512_mul_ps(*mixed, share)));
                }
            }
        }
    }
}

/// Only the products of rows and lines.
///
/// # Safety
/// [`super::is_supported`].
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn products<N: Number, const B: usize>(
    left: [&[Word]; ROWS],
    right: &[Line],
) -> [[__m512; B]; ROWS] {
    // SAFETY: by this function's contract.
    unsafe { add_products::<N, ROWS, B>([[_mm512_setzero_ps(); B]; ROWS], left, right) }
}

/// Writes the products to rows of `to`, `stride` numbers apart.
#[inline]
#[target_feature(enable = "avx512f")]
fn keep<const B: usize>(products: [[__m512; B]; ROWS], to: &mut [f32], stride: usize) {
    for (row, products) in to.chunks_mut(stride).zip(products) {
        for (place, product) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(products) {
            // SAFETY: 16 places.
            unsafe { _mm512_storeu_ps(place.as_mut_ptr(), product) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn floats(numbers: &[f32; LANES]) -> __m512 {
    // SAFETY: 16 numbers.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

#[cfg(test)]
mod needs_avx512 {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// softmax(q kᵀ / 8) v, composed of libtorch's operators in precision `kind`.
    fn composed(qkv: &Tensor, heads: i64, kind: Kind) -> Tensor {
        let (items, tokens, width) = qkv.size3().unwrap();
        let parts = qkv
            .to_kind(kind)
            .view([items, tokens, 3, heads, WIDTH as i64])
            .permute([2, 0, 3, 1, 4])
            .unbind(0); // 3 x (N, h, L, 64)
        let scores = (&parts[0] / 8.0).matmul(&parts[1].transpose(-2, -1));
        let mixed = scores.softmax(-1, kind).matmul(&parts[2]);
        mixed.transpose(1, 2).reshape([items, tokens, width / 3])
    }

    #[test]
    #[ignore = "needs AVX-512 with bf16"]
    fn a_fused_attention_is_the_attention() {
        tch::manual_seed(3);
        let shapes = [
            (1, 6, 1),
            (2, 7, 3),
            (1, 16, 2),
            (3, 50, 2),
            (1, 63, 1),
            (2, 197, 2),
            (1, 257, 2),
        ];
        for (items, tokens, heads) in shapes {
            for spread in [0.1, 1.0, 6.0] {
                let shape = [items, tokens, 3 * heads * WIDTH as i64];
                let exact = Tensor::randn(shape, (Kind::Float, Device::Cpu)) * spread;
                for kind in [Kind::BFloat16, Kind::Float] {
                    let qkv = exact.to_kind(kind);
                    let got = attention(&qkv, heads).unwrap();
                    let expected = composed(&qkv, heads, Kind::Double);
                    assert_eq!((got.size(), got.kind()), (expected.size(), kind));
                    let most = expected.abs().max().double_value(&[]);
                    let gap = |to: &Tensor| (to - &expected).abs().max().double_value(&[]) / most;
                    // In fp32 libtorch's own order of summation is no closer.
                    let bound = match kind {
                        Kind::Float => 3.0 * gap(&composed(&qkv, heads, kind)) + 1e-6,
                        _ => 6e-3,
                    };
                    let (got, case) = (gap(&got), format!("{kind:?} {items} {tokens} {heads}"));
                    assert!(got <= bound, "{case} {spread}: {got}, at most {bound}");
                }
            }
        }
    }

    #[test]
    #[ignore = "needs AVX-512 with bf16"]
    fn what_is_not_a_number_stays_so() {
        for kind in [Kind::BFloat16, Kind::Float] {
            let qkv = Tensor::zeros([1, 20, 3 * 64], (kind, Device::Cpu));
            let _ = qkv.get(0).get(19).get(0).fill_(f64::NAN); // a query
            let got = attention(&qkv, 1).unwrap();
            assert!(got.isnan().get(0).get(19).all().int64_value(&[]) == 1);
            let rows = got.isnan().any_dim(2, false).sum(Kind::Int64);
            assert_eq!(rows.int64_value(&[]), 1);
        }
    }

    #[test]
    #[ignore = "needs AVX-512 with bf16"]
    fn other_shapes_and_precisions_are_left_to_libtorch() {
        let bf16 = (Kind::BFloat16, Device::Cpu);
        assert!(attention(&Tensor::zeros([1, 20, 192], bf16), 1).is_some());
        let double = Tensor::zeros([1, 20, 192], (Kind::Double, Device::Cpu));
        assert!(attention(&double, 1).is_none());
        assert!(attention(&Tensor::zeros([1, 5, 192], bf16), 1).is_none());
        assert!(attention(&Tensor::zeros([1, 20, 192], bf16), 2).is_none());
        assert!(attention(&Tensor::zeros([2, 192, 20], bf16).transpose(1, 2), 1).is_none());
        let learned = Tensor::zeros([1, 20, 192], bf16).set_requires_grad(true);
        assert!(attention(&learned, 1).is_none());
    }
}
