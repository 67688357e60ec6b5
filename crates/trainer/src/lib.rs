#![doc = include_str!("../README.md")]

/// Says something beside the result. Where nobody listens, nothing is lost.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod calibration;
pub mod config;
pub mod engine;
mod error;
pub mod evaluate;
pub mod experiment;
pub mod export;
pub mod fit;
pub mod folds;
pub mod json;
pub mod live;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod paper;
mod ranks;
pub mod report;
pub mod run;
pub mod runtime;
pub mod source;
pub mod start;
pub mod threads;
pub mod trial;

pub use error::Error;

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
