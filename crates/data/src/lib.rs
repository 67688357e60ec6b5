//! Everything between video files and batches.

#[cfg(feature = "decode")]
pub mod decode;
pub mod frame;

pub use frame::Frame;
