//! Registers of 64 bytes, for pictures.

/// Whether this processor has what conversion and resizing in them need.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vnni")
}
