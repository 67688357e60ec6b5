//! The kernels, and detection of machines that run them.

mod attention;
mod functions;
mod lines;
mod product;
mod team;

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use tch::{Device, Kind, Tensor};

pub use attention::attention;
pub use product::product;
use team::Team;

/// Whether this machine can run the kernels: the processor multiplies bf16 in AVX-512, and
/// libtorch's threads are available.
pub fn is_supported() -> bool {
    /// Queried once: in a virtual machine the query is slow.
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16")
            && Team::of_libtorch().is_some()
    })
}

/// Whether the kernels are the fastest way on this machine and in this build. With AMX oneDNN's
/// bf16 products are several times as fast as these; its fp32 products have not been compared.
pub fn is_preferred() -> bool {
    static AMX: OnceLock<bool> = OnceLock::new();
    OPTIMISED && is_supported() && !*AMX.get_or_init(has_amx)
}

/// Without optimisation each instruction is a call, and libtorch hundreds of times as fast.
const OPTIMISED: bool = !cfg!(debug_assertions);

fn has_amx() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    __cpuid_count(7, 0).edx & AMX_BF16 != 0
}

/// Whether the kernels can work on `x`: a contiguous tensor of bf16 or fp32 on the CPU, not empty,
/// without gradient, on a machine that runs them.
fn accepts(x: &Tensor) -> bool {
    matches!(x.kind(), Kind::BFloat16 | Kind::Float)
        && x.device() == Device::Cpu
        && x.is_contiguous()
        && x.numel() > 0
        && !x.requires_grad()
        && is_supported()
}
