//! Machines without kernels.

use tch::Tensor;

use crate::Epilogue;

/// Whether this machine can run the kernels: always false.
pub fn is_supported() -> bool {
    false
}

/// Whether the kernels are the fastest way: always false.
pub fn is_preferred() -> bool {
    false
}

/// No kernel: `None`.
pub fn attention(_: &Tensor, _: i64) -> Option<Tensor> {
    None
}

/// No kernel: `None`.
pub fn product(_: &Tensor, _: &Tensor, _: Option<&Tensor>, _: Epilogue<'_>) -> Option<Tensor> {
    None
}
