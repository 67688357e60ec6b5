//! Decoding: exact on real files and on made ones, and unmoved by hostile ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hostile;
mod kept;
mod made;
mod muxed;
mod shared;
mod shown;
mod skipping;
mod support;
mod torture;
