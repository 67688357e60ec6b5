//! Sums over a group in a fixed order.

use parallel::in_tree;
use tch::Tensor;

use crate::group::Pending;
use crate::{Group, Result};

/// The sum of the members' tensors `[n]` as [`in_tree`] over their ranks, the same bits on each: of
/// those that are `present`, at least one. The others' tensors have the size too, and are not read.
///
/// It sends as many bytes as a ring does: each member adds up a part of all, and gathers the others'.
///
/// # Errors
/// As [`Group::all_gather`].
pub fn sum_in_order(group: &dyn Group, own: &Tensor, present: &[bool]) -> Result<Tensor> {
    let mut sums = Sums::new(group, present);
    sums.begin(own)?;
    let mut all = sums.finish()?;
    Ok(all.pop().unwrap_or_else(|| own.shallow_clone()))
}

/// Sums as of [`sum_in_order`] that are under way while other work goes on: each is begun as soon as its
/// summand is there. A member waits for the parts of a sum when it begins the next, so that exchanges have
/// one order on all.
pub struct Sums<'a> {
    group: &'a dyn Group,
    present: Vec<bool>,
    /// The parts of the newest sum.
    parts: Option<Begun<'a>>,
    /// The earlier sums.
    sums: Vec<Begun<'a>>,
}

struct Begun<'a> {
    count: i64,
    exchange: Box<dyn Pending + 'a>,
}

impl<'a> Sums<'a> {
    /// None yet, over the members that are `present`.
    pub fn new(group: &'a dyn Group, present: &[bool]) -> Self {
        Self {
            group,
            present: present.to_vec(),
            parts: None,
            sums: Vec::new(),
        }
    }

    /// Begins the sum of the members' tensors `[n]`.
    ///
    /// # Errors
    /// As [`Group::all_gather`].
    pub fn begin(&mut self, own: &Tensor) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let size = self.group.size() as i64;
        let count = own.size1()?;
        let room = (size - count % size) % size;
        let padded = match room {
            0 => own.shallow_clone(),
            _ => own.f_constant_pad_nd([0, room])?,
        };
        let exchange = self.group.begin_all_to_all(&padded.f_view([size, -1])?)?; // (W, n / W)
        self.gather()?;
        self.parts = Some(Begun { count, exchange });
        Ok(())
    }

    /// Adds up the parts of the newest sum, and begins to gather the others'.
    fn gather(&mut self) -> Result<()> {
        let Some(Begun { count, exchange }) = self.parts.take() else {
            return Ok(());
        };
        let parts = exchange.wait()?;
        let present = self.present.iter().enumerate().filter(|(_, there)| **there);
        let summands = present.map(|(rank, _)| (rank, parts.get(rank as i64)));
        let sum = in_tree(summands.collect(), |first, second| first + second);
        let sum = sum.unwrap_or_else(|| parts.get(0).zeros_like());
        let exchange = self.group.begin_all_gather(&sum)?; // (W, n / W)
        self.sums.push(Begun { count, exchange });
        Ok(())
    }

    /// The sums, in the order in which they were begun.
    ///
    /// # Errors
    /// As [`Group::all_gather`].
    pub fn finish(mut self) -> Result<Vec<Tensor>> {
        let _guard = tch::no_grad_guard();
        self.gather()?;
        let whole = |Begun { count, exchange }: Begun<'_>| {
            Ok(exchange.wait()?.f_view([-1])?.f_narrow(0, 0, count)?)
        };
        self.sums.into_iter().map(whole).collect()
    }
}
