//! The kernels, and who can use them.

mod attention;
mod functions;
mod lines;
mod product;
mod team;

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use tch::{Device, Kind, Tensor};

pub(crate) use attention::attention;
pub(crate) use product::product;
use team::Team;

/// Whether `x` is what the kernels work on: a contiguous tensor of bf16 or fp32 on the CPU, not
/// empty, without gradient, in an optimised build, where the processor multiplies bf16 and
/// libtorch's threads can be had. With AMX oneDNN's products in bf16 are
/// several times as fast as these, and those in fp32 have not been compared.
pub(crate) fn serve(x: &Tensor) -> bool {
    matches!(x.kind(), Kind::BFloat16 | Kind::Float)
        && x.device() == Device::Cpu
        && x.is_contiguous()
        && x.numel() > 0
        && !x.requires_grad()
        && SWIFT
        && *MACHINE
            .get_or_init(|| has_what_it_takes() && !has_amx() && Team::of_libtorch().is_some())
}

/// Without optimisation each instruction is a call, and libtorch hundreds of times as fast; the
/// tests of the kernels themselves are small enough.
const SWIFT: bool = !cfg!(debug_assertions) || cfg!(test);

/// Asked once: a virtual machine answers for the processor, and takes its time.
static MACHINE: OnceLock<bool> = OnceLock::new();

fn has_what_it_takes() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

fn has_amx() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    __cpuid_count(7, 0).edx & AMX_BF16 != 0
}
