#![doc = include_str!("../README.md")]

mod disk;
mod error;
#[cfg(any(test, feature = "faults"))]
pub mod faults;
mod hash;
mod map;
mod write;

pub use disk::{Disk, RealDisk};
pub use error::Error;
pub use hash::{hex, sha256};
pub use map::Mapped;
pub use write::{persist, temporary_for, write};
