#![doc = include_str!("../README.md")]
#![allow(unsafe_code)] // Vector instructions, and numbers shared among threads.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod avx512;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use avx512::{attention, is_preferred, is_supported, product};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod fallback;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub use fallback::{attention, is_preferred, is_supported, product};

pub use tch;

/// An operation applied to a product before it is written.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    /// None.
    Identity,
    /// x σ(x).
    Silu,
    /// The sum with a residual of the product's shape.
    Add(&'a tch::Tensor),
}
