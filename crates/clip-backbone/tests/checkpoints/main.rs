//! Checkpoints: every layout, real ones, hostile ones, and the hub.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod equality;
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod real;
mod scripts;
mod writers;
