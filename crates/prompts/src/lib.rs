#![doc = include_str!("../README.md")]

mod adapter;
mod context;
mod encoding;
mod error;
mod learner;
mod template;
mod tokens;

pub use adapter::{AdapterConfig, MotionAdapter};
pub use encoding::{EncodedText, TextEncoder, TextEncoding, TextPath};
pub use error::Error;
pub use learner::{PromptLearner, paper_words, word_tokens};
pub use template::{Sentences, Template};
pub use tokens::{ClassTokens, Tokenize};

pub use tch;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
