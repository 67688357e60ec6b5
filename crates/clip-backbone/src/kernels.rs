//! What libtorch has no fast operator for: kernels in AVX-512 with bf16 products, on libtorch's
//! own threads.
//!
//! Each answers `None` where the machine, the precision or the shape is not its own; the caller
//! then composes the same of libtorch's operators, which are the reference.
#![allow(unsafe_code)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod wide;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use wide::{Panels, attention};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod nowhere {
    use tch::Tensor;

    use crate::packed::Then;

    pub(crate) fn attention(_: &Tensor, _: i64) -> Option<Tensor> {
        None
    }

    #[derive(Debug)]
    pub(crate) enum Panels {}

    impl Panels {
        pub(crate) fn new(_: &Tensor) -> Option<Self> {
            None
        }

        pub(crate) fn product(
            &self,
            _: &Tensor,
            _: Option<&Tensor>,
            _: Then<'_>,
        ) -> Option<Tensor> {
            match *self {}
        }
    }
}
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) use nowhere::{Panels, attention};
