#![doc = include_str!("../README.md")]

#[cfg(c10d)]
mod c10d;
mod error;
mod group;
mod join;
mod launch;
#[cfg(c10d)]
mod members;
mod order;
mod solo;
#[cfg(c10d)]
mod watch;

pub use error::Error;
pub use group::{Group, Pending, Traffic};
pub use join::{Limits, Signals, join};
pub use launch::{Rendezvous, Share, World};
pub use order::{Sums, sum_in_order};
pub use solo::Solo;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The engine with what its rounding depends on, such as `libtorch 2.13.0 on AVX512`.
#[must_use]
pub fn engine() -> String {
    #[cfg(c10d)]
    return c10d::capability();
    #[cfg(not(c10d))]
    "libtorch".into()
}

/// The size of the engine's group that this crate assumes is exceeded by as many bytes; 0 unless
/// headers and library differ.
#[cfg(c10d)]
#[doc(hidden)]
pub fn excess() -> Result<usize> {
    c10d::excess()
}
