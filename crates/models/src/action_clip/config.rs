//! The switches of ActionCLIP, and which go together.

use clip_backbone::Freeze;
use prompts::Template;
use serde::{Deserialize, Serialize};

use super::heads::Head;
use super::templates::TEMPLATES;
use crate::{Error, Result};

/// Every switch of ActionCLIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionClipConfig {
    /// T, frames a clip.
    pub frames: i64,
    /// The temporal head.
    pub head: Head,
    /// How the image tower sees time, beside the head, which is the "post-network" prompt.
    pub visual_prompt: VisualPrompt,
    /// What of CLIP keeps its values; everything else learns.
    #[serde(default)]
    pub frozen: Freeze,
    /// Activation checkpointing: the image tower's states are computed a second time on the way
    /// back instead of kept. The gradients are the same.
    #[serde(default)]
    pub recompute: bool,
    /// Sentences with `{}` where the class goes; the published sixteen if absent.
    #[serde(default)]
    pub templates: Option<Vec<String>>,
}

/// How the image tower sees time: the visual prompts of ActionCLIP but the "post-network" one,
/// which is the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualPrompt {
    /// Not at all: it is given each frame alone.
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

    /// The templates as they are filled.
    ///
    /// # Errors
    /// [`Error::Prompts`] for one without a place for the class; [`Error::Config`] for none.
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

    /// Refuses what makes no sense together.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and saying why.
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
                expected: "0: joint attention changes what the first block is given, so it has \
                           to learn with it"
                    .into(),
                got: self.frozen.image_blocks.to_string(),
            });
        }
        if self.visual_prompt == VisualPrompt::PreNetwork && self.head != Head::Mean {
            return Err(Error::Config {
                field: "head",
                expected: "mean: joint attention leaves one token a clip, in which a temporal \
                           head has nothing to order"
                    .into(),
                got: self.head.to_string(),
            });
        }
        Ok(())
    }
}
