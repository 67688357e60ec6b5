//! x Wᵀ + b, with what follows done before a sum is rounded and written.

use std::arch::x86_64::{__m512, _mm512_add_ps, _mm512_setzero_ps};
use std::fmt;

use tch::{Device, Kind, Tensor};

use super::functions::{exact, silu};
use super::lines::{BLOCKS, LANES, Line, ROWS, Rows, lay_out, numbers, pairs, products, rounded};
use super::team::Team;
use crate::packed::Then;

/// Outputs of a panel.
const PANEL: usize = BLOCKS * LANES;
/// Numbers of x that stay in a core's own cache while panels pass by.
const PORTION: usize = 1 << 17;

/// A weight as [`products`] takes it: panels of 64 outputs.
pub(crate) struct Panels {
    /// For each panel, for each pair of inputs, four lines.
    lines: Vec<Line>,
    inputs: usize,
    outputs: usize,
}

impl Panels {
    /// Lays `weight`, `[out, in]`, out; `None` where this kernel does not serve.
    pub(crate) fn new(weight: &Tensor) -> Option<Self> {
        let &[outputs, inputs] = weight.size().as_slice() else {
            return None;
        };
        let (outputs, inputs) = (
            usize::try_from(outputs).ok()?,
            usize::try_from(inputs).ok()?,
        );
        let divides = outputs.is_multiple_of(PANEL) && inputs.is_multiple_of(2 * LANES);
        if !super::serve(weight) || !divides {
            return None;
        }
        let width = inputs / 2;
        let mut lines = vec![Line::EMPTY; width * outputs / LANES];
        let rows = Rows {
            // SAFETY: asked for above.
            pairs: unsafe { pairs(weight) },
            stride: width,
            width,
        };
        for (panel, lines) in lines.chunks_exact_mut(width * BLOCKS).enumerate() {
            let rows = Rows {
                pairs: &rows.pairs[panel * PANEL * width..],
                ..rows
            };
            // SAFETY: the processor has been asked.
            unsafe { lay_out(rows, PANEL, lines) };
        }
        Some(Self {
            lines,
            inputs,
            outputs,
        })
    }

    /// `[.., in]` to `[.., out]`; `None` where this kernel does not serve.
    pub(crate) fn product(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        then: Then<'_>,
    ) -> Option<Tensor> {
        let mut size = x.size();
        let inputs = size.pop()?;
        let fits = |tensor: &Tensor, numbers| super::serve(tensor) && tensor.numel() == numbers;
        let width = self.inputs / 2;
        let rows = x.numel().checked_div(self.inputs)?;
        let written = rows * self.outputs;
        if inputs != self.inputs as i64
            || !super::serve(x)
            || bias.is_some_and(|bias| !fits(bias, self.outputs))
            || matches!(then, Then::Add(to) if !fits(to, written))
        {
            return None;
        }
        let team = Team::of_libtorch()?;
        size.push(self.outputs as i64);
        let result = Tensor::empty(size, (Kind::BFloat16, Device::Cpu));
        let work = Work {
            x: Rows {
                // SAFETY: all three were asked for above.
                pairs: unsafe { pairs(x) },
                stride: width,
                width,
            },
            rows,
            bias: bias.map(|bias| unsafe { numbers(bias) }),
            then: match then {
                Then::Nothing => Finish::Nothing,
                Then::Silu => Finish::Silu,
                Then::Add(to) => Finish::Add(unsafe { numbers(to) }),
            },
            outputs: self.outputs,
            to: result.data_ptr().cast(),
        };
        let panels = self.outputs / PANEL;
        let portion = (PORTION / self.inputs / ROWS).max(1) * ROWS;
        team.share(
            panels * rows.div_ceil(portion),
            || (),
            |(), number| {
                let (start, panel) = (number / panels * portion, number % panels);
                let lines = &self.lines[panel * width * BLOCKS..][..width * BLOCKS];
                // SAFETY: the processor has been asked, and no other call has these rows of this
                // panel.
                unsafe { work.fill(start..rows.min(start + portion), panel, lines) };
            },
        );
        Some(result)
    }
}

impl fmt::Debug for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Panels([{}, {}])", self.outputs, self.inputs)
    }
}

/// One product under way.
struct Work<'a> {
    x: Rows<'a>,
    rows: usize,
    bias: Option<&'a [u16]>,
    then: Finish<'a>,
    outputs: usize,
    /// `[rows, outputs]`
    to: *mut u16,
}

/// What is done to the sums.
#[derive(Clone, Copy)]
enum Finish<'a> {
    Nothing,
    Silu,
    Add(&'a [u16]),
}

// SAFETY: the threads write to places of their own.
unsafe impl Sync for Work<'_> {}

impl Work<'_> {
    /// Makes a panel's outputs for the rows of `range`.
    ///
    /// # Safety
    /// [`super::serve`]; `range` lies within the rows, and no other thread writes there.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn fill(&self, range: std::ops::Range<usize>, panel: usize, lines: &[Line]) {
        let mut next = range.start;
        while next + ROWS <= range.end {
            // SAFETY: by this function's contract.
            unsafe {
                self.finish(
                    next,
                    panel,
                    products::<ROWS, BLOCKS>(self.x.some(next), lines),
                )
            };
            next += ROWS;
        }
        for row in next..range.end {
            // SAFETY: by this function's contract.
            unsafe { self.finish(row, panel, products::<1, BLOCKS>(self.x.some(row), lines)) };
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
                let bias = self
                    .bias
                    .map_or(_mm512_setzero_ps(), |bias| sixteen(bias, column));
                let sum = _mm512_add_ps(sum, bias);
                let sum = match self.then {
                    Finish::Nothing => sum,
                    Finish::Silu => silu(sum),
                    Finish::Add(to) => _mm512_add_ps(sum, sixteen(to, place)),
                };
                // SAFETY: by this function's contract there are 16 places.
                unsafe {
                    self.to
                        .add(place)
                        .cast::<[u16; LANES]>()
                        .write(rounded(sum))
                };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sixteen(numbers: &[u16], place: usize) -> __m512 {
    exact(numbers[place..].as_chunks().0[0])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BF16: (Kind, Device) = (Kind::BFloat16, Device::Cpu);

    #[test]
    fn a_product_of_panels_is_the_product() {
        tch::manual_seed(5);
        let shapes = [(64, 32), (128, 64), (192, 768), (64, 3072)];
        let rows = [&[1][..], &[6], &[2, 4], &[3, 5], &[200], &[2, 197]];
        for ((outputs, inputs), rows) in shapes.into_iter().flat_map(|s| rows.map(|r| (s, r))) {
            let weight = Tensor::randn([outputs, inputs], BF16);
            let bias = Tensor::randn([outputs], BF16);
            let Some(panels) = Panels::new(&weight) else {
                assert!(!super::super::serve(&weight));
                return;
            };
            let shape = |width| [rows, &[width]].concat();
            let x = Tensor::randn(shape(inputs), BF16);
            let residual = Tensor::randn(shape(outputs), BF16);
            let exact = |tensor: &Tensor| tensor.to_kind(Kind::Double);
            for with in [None, Some(&bias)] {
                let plain = exact(&x).linear(&exact(&weight), with.map(exact).as_ref());
                for (then, expected) in [
                    (Then::Nothing, plain.shallow_clone()),
                    (Then::Silu, plain.silu()),
                    (Then::Add(&residual), &plain + exact(&residual)),
                ] {
                    let got = panels.product(&x, with, then).unwrap();
                    assert_eq!((got.size(), got.kind()), (expected.size(), Kind::BFloat16));
                    // Half a unit in the last of bf16's 8 digits, and a little for the sum.
                    let bound = expected.abs() * 2f64.powi(-8) + 1e-3;
                    let beyond = (got - &expected).abs().gt_tensor(&bound).sum(Kind::Int64);
                    assert_eq!(
                        beyond.int64_value(&[]),
                        0,
                        "{outputs} {inputs} {rows:?} {then:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_left_to_others() {
        assert!(Panels::new(&Tensor::zeros([48, 32], BF16)).is_none());
        assert!(Panels::new(&Tensor::zeros([64, 48], BF16)).is_none());
        assert!(Panels::new(&Tensor::zeros([32, 64], BF16).tr()).is_none());
        assert!(Panels::new(&Tensor::zeros([64, 32], (Kind::Float, Device::Cpu))).is_none());
        if let Some(panels) = Panels::new(&Tensor::zeros([64, 32], BF16)) {
            let refused = |x: &Tensor, bias, then| panels.product(x, bias, then).is_none();
            let x = Tensor::zeros([7, 32], BF16);
            assert!(!refused(&x, None, Then::Nothing));
            assert!(refused(&Tensor::zeros([7, 64], BF16), None, Then::Nothing));
            assert!(refused(
                &Tensor::zeros([32, 7], BF16).tr(),
                None,
                Then::Nothing
            ));
            let (short, other) = (Tensor::zeros([32], BF16), Tensor::zeros([6, 64], BF16));
            assert!(refused(&x, Some(&short), Then::Nothing));
            assert!(refused(&x, None, Then::Add(&other)));
        }
    }
}
