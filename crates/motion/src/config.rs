//! The configuration of the block, and its validation.

use layers::{Activation, NormOrder};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::encoder::EncoderConfig;
use crate::error::invalid;

/// The configuration of the motion modelling block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MotionConfig {
    /// Whether there is a motion stream; without it the block is the paper's "Baseline".
    pub motion_stream: bool,
    /// s, the largest distance in frames of a difference (Eq. 4): 1 to T - 1.
    pub max_step: i64,
    /// Encoder layers per stream.
    pub layers: i64,
    /// Attention heads; a divisor of the width.
    pub heads: i64,
    /// Hidden width of the feed-forward networks.
    pub ffn_dim: i64,
    /// Their activation.
    pub activation: Activation,
    /// The position of the layer norms.
    pub norm: NormOrder,
    /// Probability of dropping an attention weight, a hidden unit or a residual element: 0 to
    /// below 1.
    pub dropout: f64,
    /// Learned positions: a frame's index in the spatial stream; a difference's first frame
    /// and its gap in the motion stream. Without them neither stream sees the order of its
    /// tokens.
    pub positions: bool,
    /// V = mean(I) + W_s mean(S) + W_m mean(M) instead of mean(S) + mean(M).
    pub outer_residual: bool,
    /// Whether W_s and W_m of the outer residual start at zero.
    pub zero_init: bool,
    /// Whether attention and feed-forward network of the spatial stream start with zero output, so
    /// that S starts as the frames with their positions.
    #[serde(default)]
    pub spatial_identity: bool,
    /// Whether the motion stream adds W_t of the frames' [`TimeStatistics`](crate::TimeStatistics) to the
    /// outer residual.
    #[serde(default)]
    pub time_statistics: bool,
}

impl MotionConfig {
    /// The paper, read literally: "Attention Is All You Need" without positions.
    pub fn paper() -> Self {
        Self {
            motion_stream: true,
            max_step: 4,
            layers: 1,
            heads: 8,
            ffn_dim: 2048,
            activation: Activation::Relu,
            norm: NormOrder::Post,
            dropout: 0.0,
            positions: false,
            outer_residual: false,
            zero_init: false,
            spatial_identity: false,
            time_statistics: false,
        }
    }

    /// The variant that sees order and starts as the mean of the frame features.
    pub fn best() -> Self {
        Self {
            activation: Activation::QuickGelu,
            norm: NormOrder::Pre,
            positions: true,
            outer_residual: true,
            zero_init: true,
            spatial_identity: true,
            time_statistics: true,
            ..Self::paper()
        }
    }

    /// Checks the temporal step for clips of `frames` frames (T).
    ///
    /// # Errors
    /// [`crate::Error::Config`] if it is out of range.
    pub fn check_steps(&self, frames: i64) -> Result<()> {
        if self.motion_stream && !(1..frames).contains(&self.max_step) {
            let expected = format!("1 to {} for {frames} frames", frames - 1);
            return Err(invalid("max_step", expected, self.max_step));
        }
        Ok(())
    }

    /// Checks every field for clips of `frames` frames (T) with features of `width` (D).
    ///
    /// # Errors
    /// [`crate::Error::Config`] with the first field that is out of range.
    pub fn check(&self, frames: i64, width: i64) -> Result<CheckedMotion> {
        // The upper bounds keep products of two fields far from overflow.
        for (field, value) in [
            ("frames", frames),
            ("width", width),
            ("ffn_dim", self.ffn_dim),
        ] {
            if !(1..=1 << 20).contains(&value) {
                return Err(invalid(field, "1 to 1,048,576", value));
            }
        }
        self.check_steps(frames)?;
        if self.time_statistics && !self.outer_residual {
            return Err(invalid(
                "time_statistics",
                "false without `outer_residual`",
                true,
            ));
        }
        if !(1..=64).contains(&self.layers) {
            return Err(invalid("layers", "1 to 64", self.layers));
        }
        if self.heads < 1 || width % self.heads != 0 {
            let expected = format!("a divisor of the width {width}");
            return Err(invalid("heads", expected, self.heads));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(invalid("dropout", "0 to below 1", self.dropout));
        }
        Ok(CheckedMotion {
            config: self.clone(),
            frames,
            width,
            further: 0,
        })
    }
}

/// A validated configuration, with its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedMotion {
    config: MotionConfig,
    frames: i64,
    width: i64,
    further: i64,
}

impl CheckedMotion {
    /// The same for frames with `count` (E) further features of width D each, such as that of their
    /// moving patches: the motion stream adds W_p of their means to the outer residual.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if it is out of range, or there is no outer residual.
    pub fn with_further_features(mut self, count: i64) -> Result<Self> {
        if count > 0 && !self.config.outer_residual {
            return Err(invalid(
                "outer_residual",
                "true for further features of each frame",
                false,
            ));
        }
        if !(0..=64).contains(&count) {
            return Err(invalid("further features", "0 to 64", count));
        }
        self.further = count;
        Ok(self)
    }

    /// The configuration.
    pub fn config(&self) -> &MotionConfig {
        &self.config
    }

    /// T, frames per clip.
    pub fn frames(&self) -> i64 {
        self.frames
    }

    /// Width of a frame, (1 + E) D.
    pub fn frame_width(&self) -> i64 {
        (1 + self.further) * self.width
    }

    /// E, further features of a frame.
    pub fn further_features(&self) -> i64 {
        self.further
    }

    /// D, width of a frame feature.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// The spatial stream's encoder.
    pub(crate) fn spatial_encoder(&self) -> EncoderConfig {
        EncoderConfig {
            identity: self.config.spatial_identity,
            ..self.motion_encoder()
        }
    }

    /// The motion stream's encoder.
    pub(crate) fn motion_encoder(&self) -> EncoderConfig {
        EncoderConfig {
            width: self.width,
            layers: self.config.layers,
            heads: self.config.heads,
            ffn_dim: self.config.ffn_dim,
            activation: self.config.activation,
            norm: self.config.norm,
            dropout: self.config.dropout,
            identity: false,
        }
    }
}
