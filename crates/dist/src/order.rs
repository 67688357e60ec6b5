//! Sums over a group in a fixed order.

use parallel::in_tree;
use tch::Tensor;

use crate::{Group, Result};

/// The sum of the members' tensors `[n]` as [`in_tree`] over their ranks, the same bits on each: of
/// those that are `present`, at least one. The others' tensors have the size too, and are not read.
///
/// It sends as many bytes as a ring does: each member adds up a part of all, and gathers the others'.
///
/// # Errors
/// As [`Group::all_gather`].
pub fn sum_in_order(group: &dyn Group, own: &Tensor, present: &[bool]) -> Result<Tensor> {
    let _guard = tch::no_grad_guard();
    let size = group.size() as i64;
    if size == 1 {
        return Ok(own.shallow_clone());
    }
    let count = own.size1()?;
    let room = (size - count % size) % size;
    let padded = match room {
        0 => own.shallow_clone(),
        _ => own.f_constant_pad_nd([0, room])?,
    };
    let parts = group.all_to_all(&padded.f_view([size, -1])?)?; // (W, n / W)
    let present = present.iter().enumerate().filter(|(_, there)| **there);
    let summands = present.map(|(rank, _)| (rank, parts.get(rank as i64)));
    let sum = in_tree(summands.collect(), |first, second| first + second);
    let sum = sum.unwrap_or_else(|| parts.get(0).zeros_like());
    let all = group.all_gather(&sum)?; // (W, n / W)
    Ok(all.f_view([-1])?.f_narrow(0, 0, count)?)
}
