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

    /// The number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.segments()
    }

    /// The block that computes with a parameter, by its [name](crate::ClipModel::parameters): what comes between
    /// tokens and features belongs to the first or the last block. `None` for another's, such as one that
    /// makes the tokens.
    #[must_use]
    pub fn block_of(&self, name: &str) -> Option<usize> {
        if name == "visual_projection.weight" {
            return self.segments().checked_sub(1);
        }
        let name = name.strip_prefix("vision_model.")?;
        if name.starts_with("post_layernorm.") {
            return self.segments().checked_sub(1);
        }
        if name.starts_with("pre_layrnorm.") {
            return Some(0);
        }
        let (number, _) = name.strip_prefix("encoder.layers.")?.split_once('.')?;
        number.parse().ok()
    }
}

impl<'a> Recomputed<'a> {
    /// Accumulates the gradient in every trainable parameter, given the `gradient` of the
    /// features, `[N, D]`. Returns the gradient of the tokens, or `None` if they require none
    /// and the pass ended above them.
    ///
    /// `hook` must do the same as in the forward pass.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if a libtorch operation fails, usually for lack of memory.
    pub fn backward(self, gradient: &Tensor, hook: &mut dyn BlockHook) -> Result<Option<Tensor>> {
        let mut way = self.way_back(gradient);
        while way.step(hook)?.is_some() {}
        Ok(way.end())
    }

    /// The same block by block, for a caller with work between them.
    #[must_use]
    pub fn way_back(self, gradient: &Tensor) -> WayBack<'a> {
        WayBack {
            tower: self.tower,
            first: self.first,
            inputs: self.inputs,
            gradient: gradient.shallow_clone(),
        }
    }
}

/// A backward pass under way.
#[derive(Debug)]
pub struct WayBack<'a> {
    tower: &'a VisionTower,
    first: usize,
    inputs: Vec<Tensor>,
    /// Of the output of the next block.
    gradient: Tensor,
}

impl WayBack<'_> {
    /// Computes a block again and propagates through it; its number, or `None` after the last. The gradients of
    /// [the parameters of that block](VisionTower::block_of) are complete.
    ///
    /// # Errors
    /// As [`Recomputed::backward`].
    pub fn step(&mut self, hook: &mut dyn BlockHook) -> Result<Option<usize>> {
        let Some(input) = self.inputs.pop() else {
            return Ok(None);
        };
        let index = self.first + self.inputs.len();
        let leaf = input.detach().set_requires_grad(true);
        let out = self.tower.segment(index, leaf.shallow_clone(), hook);
        (out * &self.gradient).f_sum(Kind::Float)?.f_backward()?;
        self.gradient = leaf.grad();
        Ok(Some(index))
    }

    /// The gradient of the tokens, or `None` if they require none.
    pub fn end(self) -> Option<Tensor> {
        (self.first == 0).then_some(self.gradient)
    }
}
