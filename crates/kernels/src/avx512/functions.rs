//! Functions of sixteen lanes.

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_div_ps, _mm512_fmadd_ps, _mm512_max_ps, _mm512_min_ps,
    _mm512_mul_ps, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_sub_ps,
};
use std::f32::consts::{LN_2, LOG2_E};

/// Taylor's coefficients of 2ˣ, from x⁷ down to x.
const COEFFICIENTS: [f32; 7] = {
    let mut coefficients = [0.0; 7];
    let (mut power, mut order) = (1.0, 1);
    while order <= 7 {
        power *= LN_2 / order as f32;
        coefficients[7 - order] = power;
        order += 1;
    }
    coefficients
};

/// 2ˣ to within two units in the last place; NaN for an infinity.
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

/// x σ(x).
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn silu(x: __m512) -> __m512 {
    /// Beyond it 2ˣ is 0 or infinite in fp32.
    const MOST: f32 = 150.0;
    let power = _mm512_mul_ps(x, _mm512_set1_ps(-LOG2_E));
    // In this order NaN passes through.
    let power = _mm512_max_ps(
        _mm512_set1_ps(-MOST),
        _mm512_min_ps(_mm512_set1_ps(MOST), power),
    );
    let divisor = _mm512_add_ps(_mm512_set1_ps(1.0), exp2(power));
    _mm512_div_ps(x, divisor)
}

#[cfg(test)]
mod needs_avx512 {
    use super::*;
    use crate::avx512::lines::LANES;

    #[target_feature(enable = "avx512f")]
    fn silu_of(numbers: [f32; LANES]) -> [f32; LANES] {
        // SAFETY: registers.
        unsafe { std::mem::transmute(silu(std::mem::transmute::<[f32; LANES], __m512>(numbers))) }
    }

    /// All bf16 values, and as many numbers between them.
    #[test]
    #[ignore = "needs AVX-512 with bf16"]
    fn every_number_has_its_silu() {
        assert!(crate::is_supported());
        for low in [0, 0x5a5a] {
            let float = |bits: u16| f32::from_bits(u32::from(bits) << 16 | low);
            let all: Vec<f32> = (0..=u16::MAX).map(float).collect();
            for numbers in all.as_chunks::<LANES>().0 {
                // SAFETY: the processor supports it.
                let found = unsafe { silu_of(*numbers) };
                for (x, found) in numbers.iter().map(|x| f64::from(*x)).zip(found) {
                    let wanted = x / (1.0 + (-x).exp());
                    let gap = (f64::from(found) - wanted).abs();
                    // The exponent is rounded once, at most 128 of fp32's units.
                    let close = gap <= wanted.abs() * 1e-5 + 1e-30; // e^89 is beyond fp32
                    let alike = f64::from(found) == wanted || found.is_nan() && wanted.is_nan();
                    assert!(close || alike, "silu({x}) = {found}, not {wanted}");
                }
            }
        }
    }
}
