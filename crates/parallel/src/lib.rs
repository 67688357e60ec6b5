#![doc = include_str!("../README.md")]

mod error;
mod parts;
mod tree;

pub use error::Error;
pub use parts::{Turn, divides, each, turn, use_threads, whole};
pub use tree::{Tree, in_tree};

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
