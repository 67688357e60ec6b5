#![doc = include_str!("../README.md")]

mod data_path;
mod disk;
mod error;
#[cfg(any(test, feature = "faults"))]
pub mod faults;
mod hash;
mod map;
mod seal;
mod there;
mod write;

pub use data_path::data_path;
pub use disk::{Disk, RealDisk};
pub use error::Error;
pub use hash::{hex, sha256};
pub use map::Mapped;
pub use seal::{expect_sealed, seal, unseal};
pub use there::{is_file, is_there};
pub use write::{TemporaryFolder, make_folder, persist, temporary_for, write};
