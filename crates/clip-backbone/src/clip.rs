//! Both towers and the temperature between them.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::config::Config;
use crate::parameters::{Builder, ParameterSource, Usage};
use crate::{Error, Result, TextTower, VisionTower};

/// The frozen part of a fine-tuned model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Freeze {
    /// The whole text tower.
    pub text: bool,
    /// The first n blocks of the image tower, and for n >= 1 the embeddings below them.
    pub image_blocks: i64,
}

impl Freeze {
    /// Whether the parameter `name`, as [`ClipModel::parameters`] spells it, is in this part.
    fn holds(self, name: &str) -> bool {
        if name.starts_with("text_") {
            return self.text;
        }
        let Some(image) = name.strip_prefix("vision_model.") else {
            return false;
        };
        match image.strip_prefix("encoder.layers.") {
            Some(layer) => layer
                .split('.')
                .next()
                .and_then(|index| index.parse::<i64>().ok())
                .is_some_and(|index| index < self.image_blocks),
            None => self.image_blocks > 0 && !image.starts_with("post_layernorm"),
        }
    }
}

/// A CLIP model.
#[derive(Debug)]
pub struct ClipModel {
    config: Config,
    /// The image tower.
    pub vision: VisionTower,
    /// The text tower.
    pub text: TextTower,
    logit_scale: Tensor,
    parameters: Vec<(String, Tensor)>,
}

impl ClipModel {
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
        let name = "logit_scale";
        let found = builder.find(name, &[])?;
        let logit_scale = builder.make(name, &[], Kind::Float, |to| found.write(to, None))?;
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

    /// The same model on the same tensors, so that several owners, each on its own thread,
    /// share one copy in memory. The leaves of a fine-tuned model, and their gradients,
    /// are shared too.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        let leaf = |(name, leaf): &(String, Tensor)| (name.clone(), leaf.shallow_clone());
        Self {
            config: self.config.clone(),
            vision: self.vision.shallow_clone(),
            text: self.text.shallow_clone(),
            logit_scale: self.logit_scale.shallow_clone(),
            parameters: self.parameters.iter().map(leaf).collect(),
        }
    }

    /// Freezes a part of a fine-tuned model: it collects no gradients from here on.
    /// A frozen model is already frozen.
    ///
    /// # Errors
    /// [`Error::Config`] for more image blocks than there are.
    pub fn freeze(&self, part: Freeze) -> Result<()> {
        let layers = self.config.vision.layers;
        if !(0..=layers).contains(&part.image_blocks) {
            return Err(Error::Config {
                field: "frozen image blocks".into(),
                expected: format!("0 to {layers}, the tower's blocks"),
                got: part.image_blocks.to_string(),
            });
        }
        for (name, leaf) in &self.parameters {
            if part.holds(name) {
                let _ = leaf.set_requires_grad(false);
            }
        }
        Ok(())
    }

    /// The named leaves of a fine-tuned model; empty for a frozen one.
    ///
    /// Names are Hugging Face's, but for the stacked projections `…self_attn.qkv_proj.…` and
    /// the patch embedding's kernel, which is flattened to `[width, 3 * patch * patch]`.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}
