//! Activation checkpointing (Chen et al., 2016): of the image tower's states only the input of
//! each block is kept, and the block is recomputed in the backward pass.
//!
//! The backward pass is written out here, block by block, since tch cannot define an autograd
//! function.

use tch::{Kind, Tensor};

use crate::{BlockHook, Result, VisionTower};

/// Features of a forward pass whose graph was not kept.
#[derive(Debug)]
#[must_use]
pub struct Recomputed<'a> {
    /// `[N, D]`, not normalised, detached from the graph.
    pub features: Tensor,
    tower: &'a VisionTower,
    /// The first block of the backward pass.
    first: usize,
    /// The inputs of that block and each later one.
    inputs: Vec<Tensor>,
}

impl VisionTower {
    /// As [`forward_tokens`](Self::forward_tokens), bit for bit, keeping no graph.
    ///
    /// Blocks below the first trainable one run only forward, unless
    /// `tokens` require a gradient.
    pub fn forward_recomputed(&self, tokens: &Tensor, hook: &mut dyn BlockHook) -> Recomputed<'_> {
        let first = match tokens.requires_grad() {
            true => 0,
            false => self.first_learning().unwrap_or(self.segments()),
        };
        let mut x = tokens.detach();
        let mut inputs = Vec::new();
        for index in 0..self.segments() {
            if index >= first {
                inputs.push(x.shallow_clone());
                // With the graph that the way back will have, so that both passes take the
                // same kernels; it is dropped at once.
                x = x.detach().set_requires_grad(true);
            }
            x = self.segment(index, x, hook).detach();
        }
        Recomputed {
            features: x,
            tower: self,
            first,
            inputs,
        }
    }
}

impl Recomputed<'_> {
    /// Accumulates the gradient in every trainable parameter, given the `gradient` of the
    /// features, `[N, D]`. Returns the gradient of the tokens, or `None` if they require none
    /// and the pass ended above them.
    ///
    /// `hook` must do the same as in the forward pass.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if a libtorch operation fails, usually for lack of memory.
    pub fn backward(
        mut self,
        gradient: &Tensor,
        hook: &mut dyn BlockHook,
    ) -> Result<Option<Tensor>> {
        let mut gradient = gradient.shallow_clone();
        while let Some(input) = self.inputs.pop() {
            let index = self.first + self.inputs.len();
            let leaf = input.detach().set_requires_grad(true);
            let out = self.tower.segment(index, leaf.shallow_clone(), hook);
            (out * gradient).f_sum(Kind::Float)?.f_backward()?;
            gradient = leaf.grad();
        }
        Ok((self.first == 0).then_some(gradient))
    }
}
