//! What libtorch has no fast operator for: kernels in AVX-512, with bf16 or fp32 products, on
//! libtorch's own threads.
//!
//! Each answers `None` where the machine, the precision or the shape is not its own; the caller
//! then composes the same of libtorch's operators, which are the reference.
#![allow(unsafe_code)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod wide;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use wide::{attention, product};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod nowhere {
    use tch::Tensor;

    use crate::packed::Then;

    pub(crate) fn attention(_: &Tensor, _: i64) -> Option<Tensor> {
        None
    }

    pub(crate) fn product(
        _: &Tensor,
        _: &Tensor,
        _: Option<&Tensor>,
        _: Then<'_>,
    ) -> Option<Tensor> {
        None
    }
}
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) use nowhere::{attention, product};
