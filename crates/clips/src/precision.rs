//! The precision of the towers.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The precision of the backbone's computations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits.
    Fp32,
    /// 16 bits with fp32's range.
    Bf16,
    /// 16 bits with a longer mantissa and less range, on a GPU.
    Fp16,
}

impl Precision {
    /// The `tch` kind.
    #[must_use]
    pub fn kind(self) -> tch::Kind {
        match self {
            Self::Fp32 => tch::Kind::Float,
            Self::Bf16 => tch::Kind::BFloat16,
            Self::Fp16 => tch::Kind::Half,
        }
    }

    /// The same if `device` supports it, else fp32.
    #[must_use]
    pub fn on(self, device: tch::Device) -> Self {
        match (self, device) {
            (Self::Fp16, tch::Device::Cpu) => Self::Fp32,
            (precision, _) => precision,
        }
    }
}

/// A precision, or the fastest one whose features are close to those in fp32:
/// [`Chosen::of`](crate::Chosen::of).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PrecisionChoice {
    /// The fastest one.
    Auto,
    /// This one.
    Fixed(Precision),
}

impl PrecisionChoice {
    /// The precision, if it is fixed.
    #[must_use]
    pub fn fixed(self) -> Option<Precision> {
        match self {
            Self::Auto => None,
            Self::Fixed(precision) => Some(precision),
        }
    }
}

impl std::fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(precision) => precision.fmt(f),
        }
    }
}

impl std::str::FromStr for PrecisionChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            fixed => fixed.parse().map(Self::Fixed).map_err(|_| Error::Option {
                name: "precision",
                expected: "auto, fp32, bf16 or fp16".into(),
                got: text.into(),
            }),
        }
    }
}

impl TryFrom<String> for PrecisionChoice {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PrecisionChoice> for String {
    fn from(choice: PrecisionChoice) -> Self {
        choice.to_string()
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "fp16" => Ok(Self::Fp16),
            _ => Err(Error::Option {
                name: "precision",
                expected: "fp32, bf16 or fp16".into(),
                got: text.into(),
            }),
        }
    }
}
