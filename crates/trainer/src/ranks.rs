//! A training and its tests, shared by the processes of a group.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use dist::{Group, Sums};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Numbers sent at once: their copies take memory.
const BUCKET: usize = 8 << 20;

/// A lane of a batch: its number, and its clips' places in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) number: usize,
    pub(crate) places: Range<usize>,
}

/// A batch of `count` clips in `lanes`, whose sizes differ by at most one.
pub(crate) fn cuts(count: usize, lanes: usize) -> Vec<Cut> {
    let at = |lane: usize| lane * count / lanes;
    (0..lanes)
        .map(|number| Cut {
            number,
            places: at(number)..at(number + 1),
        })
        .collect()
}

/// The numbers of the lanes of a process.
pub(crate) fn own_lanes(lanes: usize, rank: usize, size: usize) -> Range<usize> {
    rank * lanes / size..(rank + 1) * lanes / size
}

/// The lanes without the clips that could not be read.
pub(crate) fn without(cuts: &[Cut], wanted: &[usize], kept: &[usize]) -> Vec<Cut> {
    let kept: HashSet<&usize> = kept.iter().collect();
    let mut start = 0;
    let cut = |cut: &Cut| {
        let clips = wanted.get(cut.places.clone()).unwrap_or_default();
        let count = clips.iter().filter(|clip| kept.contains(clip)).count();
        start += count;
        Cut {
            number: cut.number,
            places: start - count..start,
        }
    };
    cuts.iter().map(cut).collect()
}

/// What every process tells the others at the start of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The step, from 1.
    pub(crate) step: u64,
    /// SHA-256 over the batch's clips.
    pub(crate) batch: String,
    /// The clips that this process has read.
    pub(crate) kept: Vec<usize>,
    /// Ids of those it could not read.
    pub(crate) left_out: Vec<String>,
    /// A stop is asked for.
    pub(crate) stop: bool,
}

/// All processes' values, in their order.
pub(crate) fn gather<T: Serialize + DeserializeOwned>(
    group: &dyn Group,
    own: &T,
) -> Result<Vec<T>> {
    let invalid = |error: serde_json::Error| Error::Syntax {
        origin: "a message between ranks".into(),
        reason: error.to_string(),
    };
    let own = serde_json::to_vec(own).map_err(invalid)?;
    let all = group.gather_bytes(&own)?;
    all.iter()
        .map(|bytes| serde_json::from_slice(bytes).map_err(invalid))
        .collect()
}

/// The headers of a step, which have to be of the same one.
pub(crate) fn exchange(group: &dyn Group, own: &Header) -> Result<Vec<Header>> {
    let all = gather(group, own)?;
    for (rank, header) in all.iter().enumerate() {
        if (header.step, &header.batch) != (own.step, &own.batch) {
            return Err(Error::mismatch(
                format!("the batch of {}", group.member(rank)),
                format!("that of step {} here", own.step),
                format!(
                    "another, of step {}: its data or checkpoint differs",
                    header.step
                ),
            ));
        }
    }
    Ok(all)
}

/// The processes that compute a batch together.
pub(crate) struct Mates<'a> {
    group: &'a dyn Group,
    /// The processes that have clips of the batch.
    present: Vec<bool>,
    failed: RefCell<Option<dist::Error>>,
    /// Whether all that this process has sent is.
    finite: Cell<bool>,
}

impl<'a> Mates<'a> {
    /// Those that compute a batch in these lanes.
    pub(crate) fn new(group: &'a dyn Group, lanes: &[Cut]) -> Self {
        let has_clips = |rank: usize| {
            let own = own_lanes(lanes.len(), rank, group.size());
            let mut own = lanes.get(own).unwrap_or_default().iter();
            own.any(|cut| !cut.places.is_empty())
        };
        Self {
            group,
            present: (0..group.size()).map(has_clips).collect(),
            failed: RefCell::default(),
            finite: Cell::new(true),
        }
    }

    /// The error of a step.
    pub(crate) fn failure(&self, error: models::Error) -> Error {
        match self.failed.take() {
            Some(failed) => Error::Dist(failed),
            None => Error::Model(error),
        }
    }

    /// ` on rank 1 (...)` for the processes that have computed something not finite. All ask at once.
    pub(crate) fn culprits(&self) -> Result<String> {
        if self.group.size() == 1 {
            return Ok(String::new());
        }
        let all = gather(self.group, &self.finite.get())?;
        let of = all.iter().enumerate().filter(|(_, finite)| !**finite);
        let names: Vec<String> = of.map(|(rank, _)| self.group.member(rank)).collect();
        Ok(match names.is_empty() {
            true => String::new(),
            false => format!(" on {}", names.join(" and ")),
        })
    }

    fn send<T>(&self, exchange: impl FnOnce() -> dist::Result<T>) -> models::Result<T> {
        exchange().map_err(|error| {
            let message = error.to_string();
            self.failed.replace(Some(error));
            models::Error::Mates(message)
        })
    }

    fn note(&self, sent: &Tensor) -> models::Result<()> {
        if sent.is_floating_point() && sent.numel() > 0 {
            let sum = sent.f_sum(Kind::Double)?.double_value(&[]);
            self.finite.set(self.finite.get() && sum.is_finite());
        }
        Ok(())
    }
}

impl models::Mates for Mates<'_> {
    fn gather(&self, own: Tensor) -> models::Result<Tensor> {
        if self.group.size() == 1 {
            return Ok(own);
        }
        self.note(&own)?;
        let rows = self.send(|| self.group.gather_rows(&own))?;
        Ok(Tensor::f_cat(&rows, 0)?)
    }

    fn sums(&self) -> Box<dyn models::Sums + '_> {
        match self.group.size() {
            1 => models::Alone.sums(),
            _ => Box::new(Sending {
                mates: self,
                sums: Sums::new(self.group, &self.present),
                sent: Vec::new(),
            }),
        }
    }
}

/// Sums of gradients that are under way.
struct Sending<'a> {
    mates: &'a Mates<'a>,
    sums: Sums<'a>,
    /// The parameters of each sum.
    sent: Vec<Vec<Tensor>>,
}

impl models::Sums for Sending<'_> {
    fn begin(&mut self, own: Option<Vec<Tensor>>, parameters: &[Tensor]) -> models::Result<()> {
        let _guard = tch::no_grad_guard();
        let own = own.unwrap_or_else(|| parameters.iter().map(|_| Tensor::new()).collect());
        let mut waiting: Vec<(&Tensor, &Tensor)> = Vec::new();
        let mut numbers = 0;
        for (own, parameter) in own.iter().zip(parameters) {
            let other_kind = waiting
                .first()
                .is_some_and(|(_, first)| first.kind() != parameter.kind());
            if other_kind || numbers + parameter.numel() > BUCKET {
                self.send(&waiting)?;
                (waiting, numbers) = (Vec::new(), 0);
            }
            waiting.push((own, parameter));
            numbers += parameter.numel();
        }
        self.send(&waiting)
    }

    fn finish(self: Box<Self>) -> models::Result<Vec<Tensor>> {
        let _guard = tch::no_grad_guard();
        let Self { mates, sums, sent } = *self;
        let mut gradients = Vec::new();
        for (sum, parameters) in mates.send(|| sums.finish())?.iter().zip(sent) {
            let mut counts: Vec<i64> = parameters.iter().map(|one| one.numel() as i64).collect();
            counts.push(parameters.len() as i64);
            let mut parts = sum.f_split_with_sizes(&counts, 0)?;
            let defined = parts.pop().unwrap_or_default().f_to_kind(Kind::Double)?;
            let defined = Vec::<f64>::try_from(defined)?;
            for ((part, parameter), defined) in parts.iter().zip(parameters).zip(defined) {
                gradients.push(match defined > 0.0 {
                    true => part.f_view_as(&parameter)?,
                    false => Tensor::new(),
                });
            }
        }
        Ok(gradients)
    }
}

impl Sending<'_> {
    /// Sends gradients of parameters of one kind, and behind them, for each, whether it is defined.
    fn send(&mut self, gradients: &[(&Tensor, &Tensor)]) -> models::Result<()> {
        let Some((_, first)) = gradients.first() else {
            return Ok(());
        };
        let mut flat = Vec::new();
        for (own, parameter) in gradients {
            flat.push(match own.defined() {
                true => own.f_reshape([-1])?,
                false => parameter.f_zeros_like()?.f_reshape([-1])?,
            });
        }
        let defined: Vec<f32> = gradients
            .iter()
            .map(|(own, _)| f32::from(own.defined()))
            .collect();
        let defined = Tensor::from_slice(&defined);
        flat.push(
            defined
                .f_to_device(first.device())?
                .f_to_kind(first.kind())?,
        );
        let flat = Tensor::f_cat(&flat, 0)?;
        self.mates.note(&flat)?;
        self.mates.send(|| self.sums.begin(&flat))?;
        let parameters = gradients.iter().map(|(_, one)| one.shallow_clone());
        self.sent.push(parameters.collect());
        Ok(())
    }
}

/// Computes the parts of a work round robin over the processes, and returns all results in order on
/// each; `None` if one of them was stopped. However long a part takes, the others wait.
pub(crate) fn dealt<T: Serialize + DeserializeOwned>(
    group: &dyn Group,
    parts: usize,
    mut compute: impl FnMut(usize) -> Result<Option<T>>,
) -> Result<Option<Vec<T>>> {
    let mut own = Vec::new();
    let mut stopped = false;
    for part in (group.rank()..parts).step_by(group.size()) {
        match compute(part)? {
            Some(result) => own.push((part, result)),
            None => {
                stopped = true;
                break;
            }
        }
    }
    if group.size() > 1 {
        group.meet()?;
        let all: Vec<(bool, Vec<(usize, T)>)> = gather(group, &(stopped, own))?;
        stopped = all.iter().any(|(stopped, _)| *stopped);
        own = all.into_iter().flat_map(|(_, results)| results).collect();
        own.sort_by_key(|(part, _)| *part);
    }
    if stopped {
        return Ok(None);
    }
    if !own.iter().map(|(part, _)| *part).eq(0..parts) {
        let count = own.len();
        return Err(Error::mismatch("scored windows, each once", parts, count));
    }
    Ok(Some(own.into_iter().map(|(_, result)| result).collect()))
}

/// Checks that `folder` is the same on every process: of one disk that all share.
///
/// # Errors
/// [`Error::Disk`]; [`Error::NotShared`] with the processes that see another.
pub(crate) fn expect_shared(group: &dyn Group, folder: &Path) -> Result<()> {
    if group.size() == 1 {
        return Ok(());
    }
    let path = folder.join(".shared");
    let own = format!(
        "{} {:?}",
        group.member(group.rank()),
        std::time::SystemTime::now()
    );
    if group.rank() == 0 {
        std::fs::create_dir_all(folder).map_err(Error::file("cannot create", folder))?;
        disk::write(&path, own.as_bytes())?;
    }
    let all = gather(group, &own)?;
    let seen = std::fs::read_to_string(&path).ok();
    let seen = seen.as_ref() == all.first();
    let seen = gather(group, &seen)?;
    if group.rank() == 0 {
        // It is of no use any more; its absence is none either.
        let _ = std::fs::remove_file(&path);
    }
    let others = seen.iter().enumerate().filter(|(_, seen)| !**seen);
    let names: Vec<String> = others.map(|(rank, _)| group.member(rank)).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(Error::NotShared {
            folder: folder.into(),
            first: group.member(0),
            others: names.join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Barrier, Mutex};

    use models::Mates as _;

    use super::*;

    /// A member of a group of two threads.
    struct Thread<'a> {
        rank: usize,
        meeting: &'a Barrier,
        slots: &'a Mutex<[Tensor; 2]>,
    }

    impl Group for Thread<'_> {
        fn rank(&self) -> usize {
            self.rank
        }

        fn size(&self) -> usize {
            2
        }

        fn member(&self, rank: usize) -> String {
            format!("rank {rank}")
        }

        fn all_gather(&self, own: &Tensor) -> dist::Result<Tensor> {
            self.slots.lock().unwrap()[self.rank] = own.copy();
            self.meeting.wait();
            let all = Tensor::f_stack(self.slots.lock().unwrap().as_slice(), 0)?;
            self.meeting.wait();
            Ok(all)
        }

        fn all_to_all(&self, rows: &Tensor) -> dist::Result<Tensor> {
            Ok(self.all_gather(rows)?.f_select(1, self.rank as i64)?)
        }

        fn sum(&self, own: &Tensor) -> dist::Result<Tensor> {
            Ok(self
                .all_gather(own)?
                .f_sum_dim_intlist(0i64, false, own.kind())?)
        }

        fn claim(&self, _what: &str) -> dist::Result<bool> {
            Ok(self.rank == 0)
        }

        fn meet(&self) -> dist::Result<()> {
            self.meeting.wait();
            Ok(())
        }

        fn fail(&self, _reason: &str) {}

        fn leave(&self) -> dist::Result<()> {
            Ok(())
        }
    }

    /// The result of two threads that form a group.
    fn together<T: Send>(run: impl Fn(&Thread<'_>) -> T + Sync) -> [T; 2] {
        let meeting = Barrier::new(2);
        let slots = Mutex::new([Tensor::new(), Tensor::new()]);
        let member = |rank| Thread {
            rank,
            meeting: &meeting,
            slots: &slots,
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| run(&member(1)));
            [run(&member(0)), other.join().unwrap()]
        })
    }

    #[test]
    fn the_rank_with_a_gradient_that_is_not_finite_is_named_on_every_rank() {
        for bad in [f32::NAN, f32::INFINITY] {
            let whose = together(|group| {
                let mates = Mates::new(group, &cuts(4, 2));
                let own = Tensor::from_slice(&[1.0, if group.rank == 1 { bad } else { 2.0 }]);
                let all = [own.shallow_clone(), Tensor::new()];
                let sums = mates
                    .sum(Some(all.into()), &[own.copy(), own.copy()])
                    .unwrap();
                assert!(sums[0].size() == [2] && !sums[1].defined());
                mates.culprits().unwrap()
            });
            assert_eq!(whose, [" on rank 1", " on rank 1"]);
        }
    }

    #[test]
    fn gradients_of_a_rank_without_clips_add_nothing() {
        let sums = together(|group| {
            // The first of two lanes is empty.
            let mates = Mates::new(group, &cuts(1, 2));
            let own = Tensor::from_slice(&[-0.0f32, 3.0]);
            let given = (group.rank == 1).then(|| vec![own.shallow_clone()]);
            let sum = mates.sum(given, &[own]).unwrap().remove(0);
            Vec::<f32>::try_from(sum).unwrap()
        });
        let bits = |numbers: &Vec<f32>| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let expected = vec![0x8000_0000, 0x4040_0000];
        assert_eq!(sums.each_ref().map(bits), [expected.clone(), expected]);
    }

    #[test]
    fn windows_are_dealt_and_each_comes_once() {
        let results = together(|group| {
            let all = dealt(group, 5, |part| Ok(Some((part, group.rank)))).unwrap();
            let stopped = dealt(group, 5, |part| Ok((part != 3).then_some(part))).unwrap();
            (all, stopped)
        });
        let all = Some(vec![(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)]);
        assert_eq!(results, [(all.clone(), None), (all, None)]);
    }

    #[test]
    fn every_clip_is_in_one_lane_of_one_process() {
        for count in 0..40 {
            for lanes in [1usize, 2, 4, 8] {
                let all = cuts(count, lanes);
                let places: Vec<usize> = all.iter().flat_map(|cut| cut.places.clone()).collect();
                assert_eq!(places, (0..count).collect::<Vec<_>>());
                let sizes = all.iter().map(|cut| cut.places.len());
                assert!(sizes.clone().max() <= sizes.min().map(|least| least + 1));
                for size in [1, 2, 4, 8].into_iter().filter(|size| *size <= lanes) {
                    let numbers = (0..size).flat_map(|rank| own_lanes(lanes, rank, size));
                    assert!(numbers.eq(0..lanes));
                }
            }
        }
    }

    #[test]
    fn clips_that_cannot_be_read_leave_their_own_lane() {
        let wanted = [7, 3, 9, 1, 5, 0];
        let left = without(&cuts(6, 4), &wanted, &[7, 9, 1, 0]);
        let places: Vec<Range<usize>> = left.into_iter().map(|cut| cut.places).collect();
        assert_eq!(places, [0..1, 1..2, 2..3, 3..4]);
        let left = without(&cuts(6, 2), &wanted, &[1, 5, 0]);
        let places: Vec<Range<usize>> = left.into_iter().map(|cut| cut.places).collect();
        assert_eq!(places, [0..0, 0..3]);
    }
}
