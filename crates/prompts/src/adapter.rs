//! The motion adapter: the residual that a video's motion adds to its prompt vectors, Eq. 7.

use layers::{Activation, FeedForward, Linear, LinearInit};
use serde::{Deserialize, Serialize};
use tch::Tensor;
use tch::nn::Path;

use crate::{Error, Result};

/// The ratio of the motion features' width to that of the bottleneck.
const REDUCTION: i64 = 16;

/// The configuration of the adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// Width of the bottleneck; a sixteenth of the motion features' if absent.
    #[serde(default)]
    pub bottleneck: Option<i64>,
    /// Whether the second map starts at zero, so that the residual starts at zero.
    pub zero_init: bool,
    /// Whether gradients into the motion features are stopped.
    pub detach: bool,
}

impl AdapterConfig {
    /// The paper, read literally.
    pub fn paper() -> Self {
        Self {
            bottleneck: None,
            zero_init: false,
            detach: false,
        }
    }

    /// The variant whose residual starts at zero.
    pub fn best() -> Self {
        Self {
            zero_init: true,
            ..Self::paper()
        }
    }
}

/// Linear D -> D/16, ReLU, Linear -> W.
#[derive(Debug)]
pub struct MotionAdapter {
    network: FeedForward,
    detach: bool,
}

impl MotionAdapter {
    /// An adapter from motion features of width `joint` (D) to prompt vectors of `width` (W),
    /// with its maps at `path.ad1` and `path.ad2`.
    ///
    /// # Errors
    /// [`Error::Config`] if a width is out of range; [`Error::Layers`] if a parameter cannot
    /// be allocated.
    pub fn new(path: &Path<'_>, config: &AdapterConfig, joint: i64, width: i64) -> Result<Self> {
        let bottleneck = config.bottleneck.unwrap_or((joint / REDUCTION).max(1));
        for (field, value) in [
            ("joint", joint),
            ("width", width),
            ("bottleneck", bottleneck),
        ] {
            if !(1..=1 << 20).contains(&value) {
                return Err(Error::Config {
                    field,
                    expected: "1 to 1,048,576".into(),
                    got: value.to_string(),
                });
            }
        }
        let last = match config.zero_init {
            true => LinearInit::Zero,
            false => LinearInit::Uniform,
        };
        Ok(Self {
            network: FeedForward {
                linear1: Linear::new(&(path / "ad1"), joint, bottleneck, LinearInit::Uniform)?,
                activation: Activation::Relu,
                linear2: Linear::new(&(path / "ad2"), bottleneck, width, last)?,
            },
            detach: config.detach,
        })
    }

    /// Pooled motion features `[B, D]` to the residual r, `[B, W]`, which is added to every
    /// prompt vector of its video.
    ///
    /// # Errors
    /// [`Error::Shape`] if `motion` is not `[B, D]`.
    pub fn forward(&self, motion: &Tensor) -> Result<Tensor> {
        let joint = self.network.linear1.weight.size()[1];
        let size = motion.size();
        if size.len() != 2 || size[1] != joint {
            return Err(Error::Shape {
                op: "motion adapter",
                expected: format!("[B, {joint}]"),
                got: size,
            });
        }
        Ok(match self.detach {
            true => self.network.forward(&motion.detach(), 0.0),
            false => self.network.forward(motion, 0.0),
        })
    }
}
