//! Both towers and the temperature between them.

use tch::{Device, Kind, Tensor};

use crate::config::Config;
use crate::parameters::{Builder, ParameterSource, Usage};
use crate::{Result, TextTower, VisionTower};

/// A CLIP model.
#[derive(Debug)]
pub struct Clip {
    config: Config,
    /// The image tower.
    pub vision: VisionTower,
    /// The text tower.
    pub text: TextTower,
    logit_scale: Tensor,
    parameters: Vec<(String, Tensor)>,
}

impl Clip {
    /// Builds both towers from `source`.
    ///
    /// `kind` is the precision they compute in; the logit scale stays in fp32.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for an impossible configuration, and for the first parameter
    /// that is missing or of the wrong shape its name and shape.
    pub fn new(
        config: &Config,
        source: &mut dyn ParameterSource,
        usage: Usage,
        device: Device,
        kind: Kind,
    ) -> Result<Self> {
        config.check()?;
        let mut builder = Builder::new(source, usage, device, kind);
        let vision = VisionTower::take(&mut builder, &config.vision, config.joint_width)?;
        let text = TextTower::take(&mut builder, &config.text, config.joint_width)?;
        let logit_scale = builder.read("logit_scale", &[])?;
        let logit_scale = builder.finish_as("logit_scale", &logit_scale, Kind::Float);
        Ok(Self {
            config: config.clone(),
            vision,
            text,
            logit_scale,
            parameters: builder.into_taken(),
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// ln of the factor on cosines, a scalar in fp32 (4.6052 = ln 100 in OpenAI's models).
    pub fn logit_scale(&self) -> &Tensor {
        &self.logit_scale
    }

    /// The named leaves of a fine-tuned model; empty for a frozen one.
    ///
    /// Names are Hugging Face's, but for the stacked projections `…self_attn.qkv_proj.…` and
    /// the patch embedding's kernel, which is flattened to `[width, 3 * patch * patch]`.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}
