//! The options of ActionCLIP, and which combinations are valid.

use clip_backbone::Freeze;
use prompts::Template;
use serde::{Deserialize, Serialize};

use super::heads::Head;
use super::templates::TEMPLATES;
use crate::{Error, Result};

/// The options of ActionCLIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionClipConfig {
    /// T, frames per clip.
    pub frames: i64,
    /// The temporal head.
    pub head: Head,
    /// Temporal modelling in the image tower, besides the head (the "post-network" prompt).
    pub visual_prompt: VisualPrompt,
    /// The frozen parts of CLIP; everything else is trained.
    #[serde(default)]
    pub frozen: Freeze,
    /// Activation checkpointing: the image tower's activations are recomputed in the backward pass
    /// instead of kept. The gradients are the same.
    #[serde(default)]
    pub recompute: bool,
    /// Templates with `{}` for the class; the published sixteen if absent.
    #[serde(default)]
    pub templates: Option<Vec<String>>,
}

/// Temporal modelling in the image tower: the visual prompts of ActionCLIP except the
/// "post-network" one, which is the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualPrompt {
    /// None: each frame is encoded alone.
    None,
    /// "In-network": before every block, patch tokens exchange channels with their neighbours in
    /// time (shift).
    InNetwork,
    /// "Pre-network": the patches of all frames are one sequence (joint attention).
    PreNetwork,
}

impl std::fmt::Display for VisualPrompt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::InNetwork => "in_network",
            Self::PreNetwork => "pre_network",
        })
    }
}

impl ActionClipConfig {
    /// The published default: the transformer head over 8 frames, no other visual prompt.
    pub fn published() -> Self {
        Self {
            frames: 8,
            head: Head::Transformer,
            visual_prompt: VisualPrompt::None,
            frozen: Freeze::default(),
            recompute: true,
            templates: None,
        }
    }

    /// The parsed templates.
    ///
    /// # Errors
    /// [`Error::Prompts`] for one without a placeholder for the class; [`Error::Config`] for none.
    pub(crate) fn templates(&self) -> Result<Vec<Template>> {
        let sentences: Vec<&str> = match &self.templates {
            Some(own) => own.iter().map(String::as_str).collect(),
            None => TEMPLATES.to_vec(),
        };
        if sentences.is_empty() {
            return Err(Error::Config {
                field: "templates",
                expected: "at least one sentence".into(),
                got: "none".into(),
            });
        }
        sentences
            .into_iter()
            .map(|sentence| Ok(Template::new(sentence)?))
            .collect()
    }

    /// Refuses invalid combinations.
    ///
    /// # Errors
    /// [`Error::Config`] with the field and the reason.
    pub fn check(&self) -> Result<()> {
        if self.frames < 1 {
            return Err(Error::Config {
                field: "frames",
                expected: "at least 1".into(),
                got: self.frames.to_string(),
            });
        }
        if self.visual_prompt == VisualPrompt::PreNetwork && self.frozen.image_blocks > 0 {
            return Err(Error::Config {
                field: "frozen.image_blocks",
                expected: "0: joint attention changes the input of the first block, which has \
                           to be trained with it"
                    .into(),
                got: self.frozen.image_blocks.to_string(),
            });
        }
        if self.visual_prompt == VisualPrompt::PreNetwork && self.head != Head::Mean {
            return Err(Error::Config {
                field: "head",
                expected: "mean: joint attention leaves one token per clip, so a temporal \
                           head has nothing to order"
                    .into(),
                got: self.head.to_string(),
            });
        }
        Ok(())
    }
}
