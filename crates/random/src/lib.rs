#![doc = include_str!("../README.md")]

mod bits;
mod step_stream;
mod stream;

pub use bits::Bits;
pub use step_stream::{Purpose, StepStream};
pub use stream::Stream;
