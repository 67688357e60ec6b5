//! The motion adapter: what a video's motion adds to its prompt vectors, Eq. 7.

use serde::{Deserialize, Serialize};
use tch::Tensor;
use tch::nn::{Init, Path};

use crate::{Error, Result};

/// How much narrower the adapter's waist is than the motion features.
const REDUCTION: i64 = 16;

/// Every switch of the adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// Width of the waist; a sixteenth of the motion features' if absent.
    #[serde(default)]
    pub bottleneck: Option<i64>,
    /// Whether the second map starts at zero, so that the prompts start as their words.
    pub zero_init: bool,
    /// Whether no gradient flows back into the motion features.
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

    /// The variant that starts silent.
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
    squeeze: [Tensor; 2],
    expand: [Tensor; 2],
    detach: bool,
}

impl MotionAdapter {
    /// An adapter from motion features of width `joint` (D) to prompt vectors of `width` (W),
    /// its maps at `path.ad1` and `path.ad2`.
    ///
    /// # Errors
    /// [`Error::Config`] where a width is out of range.
    pub fn new(path: &Path<'_>, config: &AdapterConfig, joint: i64, width: i64) -> Result<Self> {
        let waist = config.bottleneck.unwrap_or((joint / REDUCTION).max(1));
        for (field, value) in [("joint", joint), ("width", width), ("bottleneck", waist)] {
            if !(1..=1 << 20).contains(&value) {
                return Err(Error::Config {
                    field,
                    expected: "1 to 1,048,576".into(),
                    got: value.to_string(),
                });
            }
        }
        let linear = |name: &str, inputs: i64, outputs: i64, zero: bool| -> Result<[Tensor; 2]> {
            let bound = (inputs as f64).powf(-0.5);
            let start = match zero {
                true => Init::Const(0.0),
                false => Init::Uniform {
                    lo: -bound,
                    up: bound,
                },
            };
            let at = path / name;
            Ok([
                at.f_var("weight", &[outputs, inputs], start)?,
                at.f_var("bias", &[outputs], start)?,
            ])
        };
        Ok(Self {
            squeeze: linear("ad1", joint, waist, false)?,
            expand: linear("ad2", waist, width, config.zero_init)?,
            detach: config.detach,
        })
    }

    /// Pooled motion features `[B, D]` to the residual r, `[B, W]`, which is added to every
    /// prompt vector of its video.
    ///
    /// # Errors
    /// [`Error::Shape`] where `motion` is not `[B, D]`.
    pub fn forward(&self, motion: &Tensor) -> Result<Tensor> {
        let joint = self.squeeze[0].size()[1];
        let size = motion.size();
        if size.len() != 2 || size[1] != joint {
            return Err(Error::Shape {
                op: "motion adapter",
                expected: format!("[B, {joint}]"),
                got: size,
            });
        }
        let motion = match self.detach {
            true => motion.detach(),
            false => motion.shallow_clone(),
        };
        let hidden = motion
            .linear(&self.squeeze[0], Some(&self.squeeze[1]))
            .relu();
        Ok(hidden.linear(&self.expand[0], Some(&self.expand[1])))
    }
}
