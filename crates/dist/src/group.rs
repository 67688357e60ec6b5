//! The interface of a group of processes.

use std::collections::{BTreeMap, BTreeSet};

use tch::Tensor;

use crate::{Error, Result};

/// What was sent, and how long that took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Bytes sent to other members.
    pub bytes: u64,
    /// Seconds in exchanges, waiting for slower members included.
    pub seconds: f64,
}

/// An exchange under way.
pub trait Pending {
    /// Its result, once it has ended.
    ///
    /// # Errors
    /// As of the call that began it.
    fn wait(self: Box<Self>) -> Result<Tensor>;
}

/// The result of an exchange that has ended.
struct Arrived(Tensor);

impl Pending for Arrived {
    fn wait(self: Box<Self>) -> Result<Tensor> {
        Ok(self.0)
    }
}

/// Processes that compute one result together. Every member calls the same functions in the same
/// order; a call returns when all have made it.
pub trait Group {
    /// The number of this member, from 0.
    fn rank(&self) -> usize;

    /// The number of members.
    fn size(&self) -> usize;

    /// A member for messages, such as `rank 1 (host a, process 31190)`.
    fn member(&self, rank: usize) -> String;

    /// The tensors of all members in their order: `[..]` to `[W, ..]`. Shapes and kinds have to be
    /// the same on all.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Elsewhere`] or [`Error::Exchange`].
    fn all_gather(&self, own: &Tensor) -> Result<Tensor>;

    /// Row r of each member goes to member r: `[W, ..]` to `[W, ..]`.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn all_to_all(&self, rows: &Tensor) -> Result<Tensor>;

    /// Begins an [`all_gather`](Self::all_gather); a group that cannot wait for it later waits here.
    /// Exchanges are begun in the same order on all members, and may be waited for in another.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn begin_all_gather<'a>(&'a self, own: &Tensor) -> Result<Box<dyn Pending + 'a>> {
        Ok(Box::new(Arrived(self.all_gather(own)?)))
    }

    /// Begins an [`all_to_all`](Self::all_to_all), likewise.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn begin_all_to_all<'a>(&'a self, rows: &Tensor) -> Result<Box<dyn Pending + 'a>> {
        Ok(Box::new(Arrived(self.all_to_all(rows)?)))
    }

    /// The engine's own sum over the members: its bits depend on their number.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn sum(&self, own: &Tensor) -> Result<Tensor>;

    /// Whether this member is the first to claim `what`. Not a common call: any member, at any time.
    ///
    /// # Errors
    /// [`Error::Lost`] if the store cannot be reached.
    fn claim(&self, what: &str) -> Result<bool>;

    /// Waits until every member is here, however long it takes.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn meet(&self) -> Result<()>;

    /// Tells the others that this member ends because of `reason`, so that they end too.
    fn fail(&self, reason: &str);

    /// Ends the group in order.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn leave(&self) -> Result<()>;

    /// Everything sent so far.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }

    /// Each member's bytes, which may differ in number, in the members' order.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let rows = self.gather_rows(&Tensor::from_slice(own))?;
        let bytes = rows.into_iter().map(|row| Ok(Vec::<u8>::try_from(row)?));
        bytes.collect()
    }

    /// Each member's rows `[n, ..]`, which may differ in number, in the members' order.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    fn gather_rows(&self, own: &Tensor) -> Result<Vec<Tensor>> {
        let count = own.size().first().copied().unwrap_or(0);
        let counts = self.all_gather(&Tensor::from_slice(&[count]))?;
        let counts = Vec::<i64>::try_from(counts.view(-1))?;
        let most = counts.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return Ok(counts.iter().map(|_| own.shallow_clone()).collect());
        }
        let mut padded = own.size();
        if let Some(first) = padded.first_mut() {
            *first = most;
        }
        let room = own.f_new_zeros(&padded, (own.kind(), own.device()))?;
        room.narrow(0, 0, count).f_copy_rows(own)?;
        let all = self.all_gather(&room)?;
        let rows = counts.iter().enumerate();
        rows.map(|(rank, count)| Ok(all.f_get(rank as i64)?.f_narrow(0, 0, *count)?))
            .collect()
    }

    /// Checks that the named facts are the same on every member.
    ///
    /// # Errors
    /// [`Error::Disagree`] on every member, with the members that differ from rank 0.
    fn agree(&self, facts: &[(&str, String)]) -> Result<()> {
        let own: Vec<String> = facts
            .iter()
            .map(|(name, value)| format!("{name}\0{value}"))
            .collect();
        let all = self.gather_bytes(own.join("\0").as_bytes())?;
        let read = |bytes: &Vec<u8>| -> BTreeMap<String, String> {
            let text = String::from_utf8_lossy(bytes);
            let words: Vec<&str> = text.split('\0').collect();
            let pairs = words
                .chunks(2)
                .filter_map(|pair| Some((pair.first()?, pair.get(1)?)));
            pairs
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect()
        };
        let all: Vec<BTreeMap<String, String>> = all.iter().map(read).collect();
        let mut lines = Vec::new();
        for (rank, other) in all.iter().enumerate().skip(1) {
            let Some(first) = all.first() else {
                continue;
            };
            let names: BTreeSet<&String> = first.keys().chain(other.keys()).collect();
            for name in names {
                let value = |of: &BTreeMap<String, String>| {
                    of.get(name).cloned().unwrap_or_else(|| "not set".into())
                };
                if first.get(name) != other.get(name) {
                    lines.push(format!(
                        "{name} is {} on {}, {} on {}",
                        value(other),
                        self.member(rank),
                        value(first),
                        self.member(0)
                    ));
                }
            }
        }
        match lines.is_empty() {
            true => Ok(()),
            false => Err(Error::Disagree(lines.join("; "))),
        }
    }
}

/// Copies without the graph.
trait CopyRows {
    fn f_copy_rows(&self, from: &Tensor) -> Result<()>;
}

impl CopyRows for Tensor {
    fn f_copy_rows(&self, from: &Tensor) -> Result<()> {
        let mut place = self.shallow_clone();
        Ok(tch::no_grad(|| place.f_copy_(from))?)
    }
}

/// The bytes of a tensor.
#[cfg(c10d)]
pub(crate) fn size_in_bytes(tensor: &Tensor) -> u64 {
    use tch::Kind;
    let each = match tensor.kind() {
        Kind::Uint8 | Kind::Int8 | Kind::Bool => 1,
        Kind::Half | Kind::BFloat16 | Kind::Int16 => 2,
        Kind::Double | Kind::Int64 => 8,
        _ => 4,
    };
    each * tensor.numel() as u64
}
