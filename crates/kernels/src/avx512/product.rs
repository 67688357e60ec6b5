//! x Wᵀ + b, with a fused epilogue.
//!
//! A panel of the weight is packed on demand in a core's own cache and then used for all rows,
//! so that no second copy of the weight is needed.

use std::arch::x86_64::{__m512, _mm512_add_ps, _mm512_setzero_ps};
use std::cell::RefCell;
use std::ops::Range;

use tch::{Device, Kind, Tensor};

use super::functions::silu;
use super::lines::{
    BLOCKS, Bf16, LANES, Line, Number, ROWS, Rows, add_products, lay_out, numbers, words,
};
use super::team::Team;
use crate::Epilogue;

/// Outputs per panel.
const PANEL: usize = BLOCKS * LANES;
/// Words of a panel laid out at a time, 192 KiB.
const DEPTH: usize = 768;
/// The most rows computed with a packed panel: their sums, half a MiB, stay in the
/// cache.
const PORTION: usize = 341 * ROWS;
/// Work items per thread, if there are enough rows, so that no thread waits long for the last.
const PIECES: usize = 4;

/// `x`, `[.., in]`, times `weight`, `[out, in]`, to `[.., out]`; `None` where the kernel does not
/// apply: outputs that are not a multiple of 64, inputs that are not one of 32 (of 16 in fp32),
/// another precision than bf16 or fp32, a tensor that is not contiguous, not on the CPU or in a
/// graph, or a machine that is not [supported](super::is_supported).
pub fn product(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    epilogue: Epilogue<'_>,
) -> Option<Tensor> {
    match x.kind() {
        Kind::BFloat16 => product_of::<Bf16>(x, weight, bias, epilogue),
        Kind::Float => product_of::<f32>(x, weight, bias, epilogue),
        _ => None,
    }
}

fn product_of<N: Number>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    epilogue: Epilogue<'_>,
) -> Option<Tensor> {
    let &[outputs, inputs] = weight.size().as_slice() else {
        return None;
    };
    let mut size = x.size();
    if size.pop()? != inputs {
        return None;
    }
    size.push(outputs);
    let (outputs, inputs) = (
        usize::try_from(outputs).ok()?,
        usize::try_from(inputs).ok()?,
    );
    let (width, rows) = (inputs / N::IN_WORD, x.numel().checked_div(inputs)?);
    let fits = |tensor: &Tensor, numbers| {
        super::accepts(tensor) && tensor.kind() == N::KIND && tensor.numel() == numbers
    };
    let divides = outputs.is_multiple_of(PANEL) && inputs.is_multiple_of(N::IN_WORD * LANES);
    if !divides
        || rows == 0
        || !fits(x, rows * inputs)
        || !fits(weight, outputs * inputs)
        || bias.is_some_and(|bias| !fits(bias, outputs))
        || matches!(epilogue, Epilogue::Add(to) if !fits(to, rows * outputs))
    {
        return None;
    }
    let team = Team::of_libtorch()?;
    let result = Tensor::empty(size, (N::KIND, Device::Cpu));
    // SAFETY: all checked above.
    let rows_of = |tensor| Rows {
        words: unsafe { words::<N>(tensor) },
        stride: width,
        width,
    };
    let work = Work::<N> {
        x: rows_of(x),
        weight: rows_of(weight),
        bias: bias.map(|bias| unsafe { numbers(bias) }),
        epilogue: match epilogue {
            Epilogue::Identity => Finish::Nothing,
            Epilogue::Silu => Finish::Silu,
            Epilogue::Add(to) => Finish::Add(unsafe { numbers(to) }),
        },
        rows,
        outputs,
        to: result.data_ptr().cast(),
    };
    let panels = outputs / PANEL;
    let portions = rows
        .div_ceil(PORTION)
        .max((PIECES * team.threads()).div_ceil(panels));
    let portion = rows.div_ceil(portions).next_multiple_of(ROWS);
    team.share(
        panels * rows.div_ceil(portion),
        || (),
        |(), number| {
            let (start, panel) = (number / panels * portion, number % panels);
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.fit(width, portion);
                // SAFETY: the processor supports it, and no other call has these rows of this
                // panel.
                unsafe { work.fill(start..rows.min(start + portion), panel, scratch) };
            });
        },
    );
    Some(result)
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::NEW) };
}

/// A thread's scratch buffers, at most 704 KiB, kept until it ends.
struct Scratch {
    /// Of a panel at most [`DEPTH`] words, four lines for each.
    lines: Vec<Line>,
    /// For a deeper panel: the sums of each row so far.
    sums: Vec<[[f32; LANES]; BLOCKS]>,
}

impl Scratch {
    const NEW: Self = Self {
        lines: Vec::new(),
        sums: Vec::new(),
    };

    /// Grows it as needed.
    fn fit(&mut self, width: usize, portion: usize) {
        let lines = width.min(DEPTH) * BLOCKS;
        if self.lines.len() < lines {
            self.lines = vec![Line::EMPTY; lines];
        }
        if width > DEPTH && self.sums.len() < portion {
            self.sums = vec![[[0.0; LANES]; BLOCKS]; portion];
        }
    }
}

/// One product in progress.
struct Work<'a, N> {
    x: Rows<'a>,
    weight: Rows<'a>,
    bias: Option<&'a [N]>,
    epilogue: Finish<'a, N>,
    rows: usize,
    outputs: usize,
    /// `[rows, outputs]`
    to: *mut N,
}

/// The epilogue applied to the sums.
#[derive(Clone, Copy)]
enum Finish<'a, N> {
    Nothing,
    Silu,
    Add(&'a [N]),
}

// SAFETY: the threads write to places of their own.
unsafe impl<N: Number> Sync for Work<'_, N> {}

impl<N: Number> Work<'_, N> {
    /// Computes a panel's outputs for the rows of `range`.
    ///
    /// # Safety
    /// [`super::is_supported`]; `range` lies within the rows, and no other thread writes there.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn fill(&self, range: Range<usize>, panel: usize, scratch: &mut Scratch) {
        for start in (0..self.x.width).step_by(DEPTH) {
            let depth = DEPTH.min(self.x.width - start);
            let lines = &mut scratch.lines[..depth * BLOCKS];
            lay_out(self.weight.part(panel * PANEL, start, depth), PANEL, lines);
            let step = Step {
                x: self.x.part(range.start, start, depth),
                lines,
                first: start == 0,
                last: start + depth == self.x.width,
            };
            let rows = range.len();
            let whole = rows - rows % ROWS;
            for row in (0..whole).step_by(ROWS) {
                // SAFETY: by this function's contract.
                unsafe { self.advance::<ROWS>(&step, range.start, row, panel, &mut scratch.sums) };
            }
            for row in whole..rows {
                // SAFETY: by this function's contract.
                unsafe { self.advance::<1>(&step, range.start, row, panel, &mut scratch.sums) };
            }
        }
    }

    /// Adds a step's products to the sums of `R` rows, `row` on from `start`, and writes them at
    /// the end.
    ///
    /// # Safety
    /// As [`fill`](Self::fill).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn advance<const R: usize>(
        &self,
        step: &Step<'_>,
        start: usize,
        row: usize,
        panel: usize,
        kept: &mut [[[f32; LANES]; BLOCKS]],
    ) {
        let mut sums = [[_mm512_setzero_ps(); BLOCKS]; R];
        if !step.first {
            for (sums, kept) in sums.iter_mut().zip(&kept[row..][..R]) {
                // SAFETY: by this function's contract.
                *sums = kept.map(|kept| unsafe { f32::exact(kept) });
            }
        }
        // SAFETY: by this function's contract.
        let sums = unsafe { add_products::<N, R, BLOCKS>(sums, step.x.some(row), step.lines) };
        if step.last {
            // SAFETY: by this function's contract.
            return unsafe { self.finish(start + row, panel, sums) };
        }
        for (sums, kept) in sums.into_iter().zip(&mut kept[row..][..R]) {
            // SAFETY: by this function's contract.
            *kept = sums.map(|sum| unsafe { f32::rounded(sum) });
        }
    }

    /// Writes the sums of `R` rows from `row` on.
    ///
    /// # Safety
    /// As [`fill`](Self::fill).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn finish<const R: usize>(&self, row: usize, panel: usize, sums: [[__m512; BLOCKS]; R]) {
        debug_assert!(row + R <= self.rows);
        for (number, sums) in sums.into_iter().enumerate() {
            for (block, sum) in sums.into_iter().enumerate() {
                let column = panel * PANEL + block * LANES;
                let place = (row + number) * self.outputs + column;
                // SAFETY: by this function's contract.
                let sixteen = |numbers: &[N], place: usize| unsafe {
                    N::exact(numbers[place..].as_chunks().0[0])
                };
                let sum = match self.bias {
                    Some(bias) => _mm512_add_ps(sum, sixteen(bias, column)),
                    None => sum,
                };
                let sum = match self.epilogue {
                    Finish::Nothing => sum,
                    Finish::Silu => silu(sum),
                    Finish::Add(to) => _mm512_add_ps(sum, sixteen(to, place)),
                };
                // SAFETY: by this function's contract there are 16 places.
                unsafe {
                    let place = self.to.add(place).cast::<[N; LANES]>();
                    place.write_unaligned(N::rounded(sum));
                }
            }
        }
    }
}

/// Some of the words of all rows.
struct Step<'a> {
    /// From the first of the computed rows.
    x: Rows<'a>,
    lines: &'a [Line],
    first: bool,
    last: bool,
}

#[cfg(test)]
mod needs_avx512 {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BF16: (Kind, Device) = (Kind::BFloat16, Device::Cpu);

    #[test]
    #[ignore = "needs AVX-512 with bf16"]
    fn a_product_of_panels_is_the_product() {
        tch::manual_seed(5);
        let shapes = [(64, 32), (128, 64), (192, 768), (64, 3072)];
        let rows = [&[1][..], &[6], &[2, 4], &[3, 25]];
        let cases = shapes.into_iter().flat_map(|s| rows.map(|r| (s, r)));
        // Several portions; a last step that is not a whole one, for both kinds; more rows than a
        // portion.
        let others = [
            ((64, 32), &[1040][..]),
            ((192, 768), &[2, 197]),
            ((64, 1024), &[50]),
            ((64, 1600), &[50]),
            ((64, 1600), &[2100]),
        ];
        for ((outputs, inputs), rows) in cases.chain(others) {
            for kind in [Kind::Float, Kind::BFloat16] {
                let options = (kind, Device::Cpu);
                let weight = Tensor::randn([outputs, inputs], options);
                let bias = Tensor::randn([outputs], options);
                let shape = |width| [rows, &[width]].concat();
                let x = Tensor::randn(shape(inputs), options);
                let residual = Tensor::randn(shape(outputs), options);
                let exact = |tensor: &Tensor| tensor.to_kind(Kind::Double);
                for with in [None, Some(&bias)] {
                    let plain = exact(&x).linear(&exact(&weight), with.map(exact).as_ref());
                    for (epilogue, expected) in [
                        (Epilogue::Identity, plain.shallow_clone()),
                        (Epilogue::Silu, plain.silu()),
                        (Epilogue::Add(&residual), &plain + exact(&residual)),
                    ] {
                        let got = product(&x, &weight, with, epilogue).unwrap();
                        assert_eq!((got.size(), got.kind()), (expected.size(), kind));
                        // Half a unit in the last digit, and a little for the sum.
                        let digits = if kind == Kind::Float { 20 } else { 8 };
                        let little = 1e-5 * (inputs as f64).sqrt();
                        let bound = expected.abs() * 2f64.powi(-digits) + little;
                        let beyond = (got - &expected).abs().gt_tensor(&bound).sum(Kind::Int64);
                        let case = format!("{kind:?} {outputs} {inputs} {rows:?} {epilogue:?}");
                        assert_eq!(beyond.int64_value(&[]), 0, "{case}");
                    }
                }
            }
        }
    }

    #[test]
    #[ignore = "needs AVX-512 with bf16"]
    fn what_does_not_fit_is_left_to_others() {
        let refused = |x: &Tensor, weight: &Tensor, bias, epilogue| {
            product(x, weight, bias, epilogue).is_none()
        };
        let (x, weight) = (Tensor::zeros([40, 32], BF16), Tensor::zeros([64, 32], BF16));
        assert!(!refused(&x, &weight, None, Epilogue::Identity));
        for weight in [
            Tensor::zeros([48, 32], BF16),
            Tensor::zeros([64, 48], BF16),
            Tensor::zeros([32, 64], BF16).tr(),
            Tensor::zeros([64, 32], (Kind::Float, Device::Cpu)),
        ] {
            let x = Tensor::zeros([40, weight.size()[1]], BF16);
            assert!(refused(&x, &weight, None, Epilogue::Identity));
        }
        for x in [
            Tensor::zeros([40, 64], BF16),
            Tensor::zeros([32, 40], BF16).tr(),
            Tensor::zeros([0, 32], BF16),
        ] {
            assert!(refused(&x, &weight, None, Epilogue::Identity));
        }
        let (short, other) = (Tensor::zeros([32], BF16), Tensor::zeros([39, 64], BF16));
        assert!(refused(&x, &weight, Some(&short), Epilogue::Identity));
        assert!(refused(&x, &weight, None, Epilogue::Add(&other)));
    }
}
