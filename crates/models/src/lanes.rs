//! A batch in lanes, computed by one process or several.

use tch::{Tensor, nn};

use crate::{Piece, Result, Targets};

/// A part of a batch with gradients of its own.
#[derive(Debug)]
pub struct Lane {
    /// Its number among the batch's lanes.
    pub number: usize,
    /// The seed of what it draws. With a single lane, it draws from the generator as it is.
    pub seed: Option<i64>,
    /// Its clips.
    pub pieces: Vec<Piece>,
}

/// A batch, or one process's lanes of it.
#[derive(Debug)]
pub struct Lanes {
    /// The number of lanes of the whole batch.
    pub count: usize,
    /// This process's lanes in ascending order, without those that have no clip.
    pub own: Vec<Lane>,
    /// The targets of the whole batch.
    pub targets: Targets,
    /// The first own clip's place in the whole batch; own clips follow one another.
    pub start: i64,
}

impl Lanes {
    /// A batch in one lane.
    pub fn single(pieces: Vec<Piece>, targets: Targets) -> Self {
        Self {
            count: 1,
            own: vec![Lane {
                number: 0,
                seed: None,
                pieces,
            }],
            targets,
            start: 0,
        }
    }
}

/// The processes that compute a batch together. Each makes the same calls in the same order.
pub trait Mates {
    /// The rows `[n, ..]` of all processes in the order of their lanes.
    ///
    /// # Errors
    /// [`crate::Error::Mates`].
    fn gather(&self, own: Tensor) -> Result<Tensor>;

    /// Sums of gradients over all processes, none yet.
    fn sums(&self) -> Box<dyn Sums + '_>;

    /// The sum of gradients over all processes, as of [`Sums`].
    ///
    /// # Errors
    /// [`crate::Error::Mates`].
    fn sum(&self, own: Option<Vec<Tensor>>, parameters: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut sums = self.sums();
        sums.begin(own, parameters)?;
        sums.finish()
    }
}

/// Sums of gradients over all processes that have lanes with clips, in the order of the lanes' tree, which
/// may be under way while other gradients are computed.
pub trait Sums {
    /// Begins that of the gradients of `parameters`. `own` has one for each, undefined where the loss does not
    /// depend on it; it is `None` for a process without clips. All processes begin with the same
    /// parameters in the same order.
    ///
    /// # Errors
    /// [`crate::Error::Mates`].
    fn begin(&mut self, own: Option<Vec<Tensor>>, parameters: &[Tensor]) -> Result<()>;

    /// One for each parameter so far, in their order.
    ///
    /// # Errors
    /// [`crate::Error::Mates`].
    fn finish(self: Box<Self>) -> Result<Vec<Tensor>>;
}

/// One process that computes all lanes.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Mates for Alone {
    fn gather(&self, own: Tensor) -> Result<Tensor> {
        Ok(own)
    }

    fn sums(&self) -> Box<dyn Sums + '_> {
        Box::new(Own(Vec::new()))
    }
}

/// The gradients of one process, which are the sums.
struct Own(Vec<Tensor>);

impl Sums for Own {
    fn begin(&mut self, own: Option<Vec<Tensor>>, parameters: &[Tensor]) -> Result<()> {
        match own {
            Some(own) => self.0.extend(own),
            None => self.0.extend(parameters.iter().map(|_| Tensor::new())),
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Tensor>> {
        Ok(self.0)
    }
}

/// The parameters with gradients, in the order of their names.
pub(crate) fn leaves(trained: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut named: Vec<(String, Tensor)> = trained.variables().into_iter().collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    named.retain(|(_, parameter)| parameter.requires_grad());
    named
}

/// Adds gradients of the same parameters; undefined ones add nothing.
pub(crate) fn add_each(first: Vec<Tensor>, second: Vec<Tensor>) -> Vec<Tensor> {
    let pairs = first.into_iter().zip(second);
    pairs
        .map(
            |(first, second)| match (first.defined(), second.defined()) {
                (true, true) => first + second,
                (true, false) => first,
                (false, _) => second,
            },
        )
        .collect()
}

/// Adds gradients to those of their parameters.
pub(crate) fn accumulate(leaves: &[Tensor], gradients: Vec<Tensor>) -> Result<()> {
    for (leaf, gradient) in leaves.iter().zip(gradients) {
        match (gradient.defined(), leaf.grad().defined()) {
            (false, _) => {}
            (true, true) => drop(leaf.grad().g_add_(&gradient)),
            (true, false) => (leaf * gradient).f_sum(leaf.kind())?.f_backward()?,
        }
    }
    Ok(())
}

/// Takes the gradients that have come together in `leaves`, which are zero afterwards.
pub(crate) fn take(leaves: &[Tensor]) -> Vec<Tensor> {
    let _guard = tch::no_grad_guard();
    let take = |leaf: &Tensor| {
        let mut gradient = leaf.grad();
        match gradient.defined() {
            true => {
                let taken = gradient.copy();
                let _ = gradient.zero_();
                taken
            }
            false => gradient,
        }
    };
    leaves.iter().map(take).collect()
}
