#![doc = include_str!("../README.md")]

mod cache;
mod client;
mod download;
mod error;
mod hash;
mod id;
mod progress;
mod repository;
mod selection;
mod settings;

pub use cache::Cached;
pub use client::{Client, Head, Patience, Text};
pub use download::{Promise, Wanted};
pub use error::Error;
pub use hash::sha256_of;
pub use id::Id;
pub use progress::{Event, Observer, bytes, lines};
pub use selection::{CLIP, Selection};
pub use settings::Hub;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
