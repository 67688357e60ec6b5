//! The configuration of the block, and its validation.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The configuration of the communication block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McbConfig {
    /// The kind of both attentions.
    pub attention: Attention,
    /// The keys and values of SMA.
    pub sma_kv: SmaKeys,
    /// Heads of projected attention; a divisor of the width.
    pub heads: i64,
    /// Whether both output projections start at zero, so that the block starts as the identity.
    pub zero_init: bool,
}

impl McbConfig {
    /// The paper, read literally.
    pub fn paper() -> Self {
        Self {
            attention: Attention::Projected,
            sma_kv: SmaKeys::Vector,
            heads: 8,
            zero_init: false,
        }
    }

    /// The variant whose classes attend to frames and motion, and which starts as the identity.
    pub fn best() -> Self {
        Self {
            sma_kv: SmaKeys::FramesAndMotion,
            zero_init: true,
            ..Self::paper()
        }
    }

    /// Checks every field for features of `width` (D).
    ///
    /// # Errors
    /// [`Error::Config`] with the first field that is out of range.
    pub fn check(&self, width: i64) -> Result<CheckedMcb> {
        if !(1..=1 << 20).contains(&width) {
            return Err(Error::Config {
                field: "width",
                expected: "1 to 1,048,576".into(),
                got: width.to_string(),
            });
        }
        if self.heads < 1 || width % self.heads != 0 {
            return Err(Error::Config {
                field: "heads",
                expected: format!("a divisor of the width {width}"),
                got: self.heads.to_string(),
            });
        }
        Ok(CheckedMcb {
            config: self.clone(),
            width,
        })
    }
}

/// A validated configuration, with its width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedMcb {
    config: McbConfig,
    width: i64,
}

impl CheckedMcb {
    /// The configuration.
    pub fn config(&self) -> &McbConfig {
        &self.config
    }

    /// D, width of text features and video tokens.
    pub fn width(&self) -> i64 {
        self.width
    }
}

/// The kind of both attentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// Multi-head with learned projections.
    Projected,
    /// softmax(q kᵀ / √D) v on the features themselves, one head, no parameters.
    ParameterFree,
    /// No communication: T' = T, V' = V.
    Off,
}

/// The keys and values of semantic matching attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmaKeys {
    /// V alone. The softmax over one key is 1, so every class receives the same vector.
    Vector,
    /// The T tokens of S.
    Frames,
    /// The T + L tokens of S and M.
    FramesAndMotion,
}
