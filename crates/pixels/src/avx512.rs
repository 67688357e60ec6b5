//! Detection of the instructions needed by conversion and resizing in 64-byte registers.

/// Whether this processor has AVX-512 BW, VBMI and VNNI.
#[must_use]
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni")
}
