//! Everything between video files and batches.

pub mod frame;

pub use frame::Frame;
