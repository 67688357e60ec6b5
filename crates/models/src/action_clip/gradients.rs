//! Gradients of a step in lanes, added up over processes part by part: each part is on its way while those below
//! it are computed.

use parallel::Tree;
use tch::Tensor;

use super::{ActionClip, BACKBONE, LOGIT_SCALE};
use crate::lanes::{accumulate, add_each, leaves, take};
use crate::{Mates, Result, Sums};

type Add = fn(Vec<Tensor>, Vec<Tensor>) -> Vec<Tensor>;

/// The gradients of all parameters but the temperature, which has its whole gradient from the contrast, on
/// every process.
pub(super) struct Gradients<'a> {
    /// In the order of the backward pass: what lies beside the image tower, its blocks from the last to the
    /// first, what makes its tokens.
    parts: Vec<Part>,
    /// The parts whose sums are under way.
    begun: usize,
    sums: Box<dyn Sums + 'a>,
}

struct Part {
    leaves: Vec<Tensor>,
    own: Tree<Vec<Tensor>, Add>,
}

impl<'a> Gradients<'a> {
    pub(super) fn new(model: &ActionClip, mates: &'a dyn Mates) -> Self {
        let tower = &model.clip.vision;
        let blocks = tower.blocks();
        let mut parts: Vec<Part> = (0..blocks + 2)
            .map(|_| Part {
                leaves: Vec::new(),
                own: Tree::new(add_each),
            })
            .collect();
        for (name, leaf) in leaves(&model.trained) {
            if name.ends_with(LOGIT_SCALE) {
                continue;
            }
            let of_clip = name.strip_prefix(BACKBONE);
            let makes_tokens = name == super::joint::NAME
                || of_clip.is_some_and(|name| name.starts_with("vision_model.embeddings."));
            let place = match of_clip.and_then(|name| tower.block_of(name)) {
                Some(block) => blocks - block,
                None if makes_tokens => blocks + 1,
                None => 0,
            };
            if let Some(part) = parts.get_mut(place) {
                part.leaves.push(leaf);
            }
        }
        Self {
            parts,
            begun: 0,
            sums: mates.sums(),
        }
    }

    /// Takes what a lane has left in the parameters.
    pub(super) fn keep(&mut self, lane: usize) {
        for part in self.parts.iter_mut().skip(self.begun) {
            part.own.push(lane, take(&part.leaves));
        }
    }

    /// The gradients beside the tower of `lane`, this process's last, are complete.
    pub(super) fn passed_head(&mut self, lane: usize) -> Result<()> {
        self.begin(Some(lane), 1)
    }

    /// Those of a block, too.
    pub(super) fn passed_block(&mut self, lane: usize, block: usize) -> Result<()> {
        let places = self.parts.len().saturating_sub(1);
        self.begin(Some(lane), places.saturating_sub(block))
    }

    /// Leaves the sums in the parameters. `lane` is this process's last, `None` where it has none.
    pub(super) fn finish(mut self, lane: Option<usize>) -> Result<()> {
        self.begin(lane, self.parts.len())?;
        let leaves: Vec<Tensor> = self
            .parts
            .into_iter()
            .flat_map(|part| part.leaves)
            .collect();
        accumulate(&leaves, self.sums.finish()?)
    }

    /// Begins the sums of the parts before `end`.
    fn begin(&mut self, lane: Option<usize>, end: usize) -> Result<()> {
        let parts = self.parts.iter_mut().take(end).skip(self.begun);
        for part in parts {
            if let Some(lane) = lane {
                part.own.push(lane, take(&part.leaves));
            }
            let own = std::mem::replace(&mut part.own, Tree::new(add_each));
            self.sums.begin(own.sum(), &part.leaves)?;
        }
        self.begun = self.begun.max(end);
        Ok(())
    }
}
