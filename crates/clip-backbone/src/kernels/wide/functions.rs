//! Functions of sixteen numbers.

use std::arch::x86_64::{
    __m256i, __m512, _mm512_add_ps, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_fmadd_ps,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_rcp14_ps, _mm512_roundscale_ps,
    _mm512_scalef_ps, _mm512_set1_ps, _mm512_slli_epi32, _mm512_sub_ps,
};
use std::f32::consts::{LN_2, LOG2_E};
use std::mem::transmute;

use super::lines::LANES;

/// Taylor's coefficients of 2ˣ, from x⁴ down to x.
const COEFFICIENTS: [f32; 4] = [
    LN_2 * LN_2 * LN_2 * LN_2 / 24.0,
    LN_2 * LN_2 * LN_2 / 6.0,
    LN_2 * LN_2 / 2.0,
    LN_2,
];

/// 2ˣ to within 6e-5 of itself, a small part of what rounding to bf16 then takes; of an infinity
/// what is not a number.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn exp2(x: __m512) -> __m512 {
    let whole = _mm512_roundscale_ps::<0>(x);
    let rest = _mm512_sub_ps(x, whole); // within half of 0
    let mut power = _mm512_set1_ps(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(*coefficient));
    }
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(1.0));
    _mm512_scalef_ps(power, whole)
}

/// x σ(x) to within 2e-4 of itself.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn silu(x: __m512) -> __m512 {
    /// Beyond it 2ˣ is 0 or infinite in fp32.
    const MOST: f32 = 150.0;
    let power = _mm512_mul_ps(x, _mm512_set1_ps(-LOG2_E));
    // In this order what is not a number passes through.
    let power = _mm512_max_ps(
        _mm512_set1_ps(-MOST),
        _mm512_min_ps(_mm512_set1_ps(MOST), power),
    );
    let divisor = _mm512_add_ps(_mm512_set1_ps(1.0), exp2(power));
    _mm512_mul_ps(x, _mm512_rcp14_ps(divisor))
}

/// From bf16.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn exact(numbers: [u16; LANES]) -> __m512 {
    // SAFETY: 32 bytes.
    let words = _mm512_cvtepu16_epi32(unsafe { transmute::<[u16; LANES], __m256i>(numbers) });
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::wide::lines::rounded;

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn silu_of(numbers: [u16; LANES]) -> [u16; LANES] {
        rounded(silu(exact(numbers)))
    }

    /// Every bf16 there is.
    #[test]
    fn every_number_has_its_silu() {
        if !super::super::has_what_it_takes() {
            return;
        }
        let float = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        let all: Vec<u16> = (0..=u16::MAX).collect();
        for numbers in all.as_chunks::<LANES>().0 {
            // SAFETY: the processor has been asked.
            let found = unsafe { silu_of(*numbers) };
            for (x, found) in numbers.map(float).into_iter().zip(found.map(float)) {
                let wanted = x / (1.0 + (-x).exp());
                let close = (found - wanted).abs() <= wanted.abs() / 200.0 + f32::MIN_POSITIVE;
                let alike = found == wanted || found.is_nan() && wanted.is_nan();
                assert!(close || alike, "silu({x}) = {found}, not {wanted}");
            }
        }
    }
}
