//! A batch's embeddings, with the part of their graph that is kept.

use clip_backbone::Recomputed;
use tch::{Kind, Tensor};

use super::ActionClip;
use crate::{Clips, Result};

/// Videos and sentences of one batch in the joint space.
pub(super) struct Embedded<'a> {
    /// `[B, D]`
    pub(super) video: Tensor,
    /// `[B, D]`
    pub(super) text: Tensor,
    /// The image tower's part of the graph, if it was not kept.
    pub(super) held: Option<Held<'a>>,
}

/// The image tower's backward pass, run and dropped once the frame features have their gradient.
pub(super) struct Held<'a> {
    model: &'a ActionClip,
    tower: Recomputed<'a>,
    /// The input of the first block, with the graph of the embeddings.
    tokens: Tensor,
    /// The input of the head: a leaf, `[N, D]`.
    features: Tensor,
}

impl ActionClip {
    /// Embeds clips and their sentences `[B, context]` for a training step.
    pub(super) fn embed(&self, clips: &Clips, sentences: &Tensor) -> Result<Embedded<'_>> {
        let (frames, held) = match clips {
            Clips::Pixels(pixels) if self.config.recompute => {
                let tokens = self.tokens(pixels)?;
                let hook = &mut *self.hook();
                let tower = self.clip.vision.forward_recomputed(&tokens, hook);
                let features = tower.features.detach().set_requires_grad(true);
                let held = Held {
                    model: self,
                    tower,
                    tokens,
                    features: features.shallow_clone(),
                };
                (self.by_clip(&features, pixels), Some(held))
            }
            _ => (self.frames(clips)?, None),
        };
        let text = self.clip.text.forward(sentences)?;
        Ok(Embedded {
            video: self.head.forward(&frames.to_kind(Kind::Float), true)?,
            text: text.to_kind(Kind::Float),
            held,
        })
    }
}

impl Held<'_> {
    /// Propagates the frame features' gradient further back. After each block, the number of which `passed`
    /// is told, this pass adds nothing more to its parameters.
    pub(super) fn backward(self, mut passed: impl FnMut(usize) -> Result<()>) -> Result<()> {
        let hook = &mut *self.model.hook();
        let mut way = self.tower.way_back(&self.features.grad());
        while let Some(block) = way.step(hook)? {
            passed(block)?;
        }
        match way.end() {
            Some(below) => pull(&[(&self.tokens, &below)]),
            None => Ok(()),
        }
    }
}

/// Adds to every leaf below the tensors the gradient that reaches it: each tensor is
/// paired with its own gradient. Tensors without a graph are skipped.
pub(super) fn pull(pairs: &[(&Tensor, &Tensor)]) -> Result<()> {
    let graphs = pairs.iter().filter(|(tensor, _)| tensor.requires_grad());
    let parts: Vec<Tensor> = graphs
        .map(|(tensor, gradient)| (*tensor * *gradient).sum(Kind::Float))
        .collect();
    if parts.is_empty() {
        return Ok(());
    }
    Ok(Tensor::f_stack(&parts, 0)?
        .f_sum(Kind::Float)?
        .f_backward()?)
}
