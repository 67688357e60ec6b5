#![doc = include_str!("../README.md")]

mod activation;
mod attention;
mod error;
mod feed_forward;
pub mod init;
mod linear;
mod norm;
mod transformer;

pub use activation::{Activation, QUICK_GELU};
pub use attention::{
    MultiHeadAttention, attend, attend_flat, causal_bias, join_heads, split_heads,
};
pub use error::Error;
pub use feed_forward::FeedForward;
pub use linear::{Linear, LinearInit};
pub use norm::LayerNorm;
pub use transformer::{NormOrder, TransformerLayer};

pub use tch;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
