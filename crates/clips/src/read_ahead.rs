//! Runs jobs ahead of their use, on several threads, in a fixed order.
//!
//! All decoding uses it, with these rules:
//! - order: results come in the order of the jobs, and within a job in the order it emits them,
//!   whatever the number of threads;
//! - back-pressure: no more jobs are started than may be in flight, and one that emits several
//!   results waits with each until the previous one was taken;
//! - errors: a job that fails or panics gives its error as its last result; the others continue;
//! - stop: dropping the stream starts no further job, ends those in flight at their next result,
//!   and waits for the threads.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::{Error, Result};

/// The number of threads and of jobs ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Threads, 1 to 1024.
    pub workers: usize,
    /// Jobs in flight or waiting to be taken, 1 or more; bounds the memory.
    pub jobs: usize,
}

impl Default for Ahead {
    /// One thread per core, and two jobs ahead for each.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers,
            jobs: 2 * workers + 2,
        }
    }
}

impl Ahead {
    fn check(self) -> Result<()> {
        let refuse = |name, expected: &str, got: usize| Error::Option {
            name,
            expected: expected.into(),
            got: got.to_string(),
        };
        if !(1..=1024).contains(&self.workers) {
            return Err(refuse("workers", "1 to 1024", self.workers));
        }
        if self.jobs == 0 {
            return Err(refuse("jobs ahead", "at least 1", 0));
        }
        Ok(())
    }
}

/// Takes the results of a job; it breaks once the stream was dropped.
pub type Emit<'a, T> = dyn FnMut(T) -> ControlFlow<()> + 'a;

/// Results of jobs, an iterator in the jobs' order: the number of the job, from 0, and one of its
/// results. It ends when no job is left, and continues when one is pushed.
pub struct ReadAhead<J, T> {
    jobs: usize,
    waiting: VecDeque<J>,
    under_way: VecDeque<Receiver<Result<T>>>,
    /// The number of the current job, and whether a result of it was taken.
    front: (usize, bool),
    // Dropped before the threads are joined, which ends them.
    tasks: Option<Sender<Task<J, T>>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Task<J, T> {
    job: J,
    results: Sender<Result<T>>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    busy: AtomicU64,
}

impl<J: Send + 'static, T: Send + 'static> ReadAhead<J, T> {
    /// Starts the threads. Each runs its jobs with a worker made by `worker`, and works in
    /// [turns](parallel::turn) with the model's.
    ///
    /// # Errors
    /// A number of `ahead` is out of range, or a thread cannot be started.
    pub fn new<W>(ahead: Ahead, worker: impl Fn() -> W) -> Result<Self>
    where
        W: FnMut(J, &mut Emit<'_, T>) -> Result<()> + Send + 'static,
    {
        ahead.check()?;
        let (tasks, queue) = unbounded();
        let mut stream = Self {
            jobs: ahead.jobs,
            waiting: VecDeque::new(),
            under_way: VecDeque::new(),
            front: (0, false),
            tasks: Some(tasks),
            shared: Arc::default(),
            threads: Vec::with_capacity(ahead.workers),
        };
        for number in 0..ahead.workers {
            let (queue, shared, worker) = (queue.clone(), stream.shared.clone(), worker());
            let thread = std::thread::Builder::new()
                .name(format!("clips-{number}"))
                .spawn(move || work(&queue, &shared, worker))
                .map_err(|error| Error::Option {
                    name: "workers",
                    expected: "threads that can be started".into(),
                    got: error.to_string(),
                })?;
            stream.threads.push(thread);
        }
        Ok(stream)
    }

    /// Adds a job after all others, without blocking.
    pub fn push(&mut self, job: J) {
        self.waiting.push_back(job);
        self.begin();
    }

    /// Total working time of all threads.
    #[must_use]
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.shared.busy.load(Ordering::Relaxed))
    }

    fn begin(&mut self) {
        let Some(tasks) = &self.tasks else { return };
        while self.under_way.len() < self.jobs + usize::from(self.front.1) {
            let Some(job) = self.waiting.pop_front() else {
                return;
            };
            let (results, receiver) = bounded(1);
            self.under_way.push_back(receiver);
            // The threads end after the queue does.
            let _ = tasks.send(Task { job, results });
        }
    }
}

impl<J: Send + 'static, T: Send + 'static> Iterator for ReadAhead<J, T> {
    type Item = (usize, Result<T>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let result = self.under_way.front()?.recv();
            let number = self.front.0;
            if result.is_err() {
                self.under_way.pop_front();
                self.front = (number + 1, false);
            } else {
                self.front.1 = true;
            }
            self.begin();
            if let Ok(result) = result {
                return Some((number, result));
            }
        }
    }
}

impl<J, T> Drop for ReadAhead<J, T> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        drop(self.tasks.take());
        self.under_way.clear();
        for thread in self.threads.drain(..) {
            // A panic of a job was its result.
            let _ = thread.join();
        }
    }
}

fn work<J, T, W>(queue: &Receiver<Task<J, T>>, shared: &Shared, mut worker: W)
where
    W: FnMut(J, &mut Emit<'_, T>) -> Result<()>,
{
    for Task { job, results } in queue {
        if shared.stopped.load(Ordering::Relaxed) {
            continue;
        }
        let mut turn = parallel::turn();
        let began = Instant::now();
        let mut waited = Duration::ZERO;
        let mut emit = |result| {
            let handed_over = Instant::now();
            drop(turn.take());
            let taken = results.send(Ok(result));
            turn = parallel::turn();
            waited += handed_over.elapsed();
            match taken {
                Ok(()) if !shared.stopped.load(Ordering::Relaxed) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        // A file that crashes a decoder must not end the run.
        let ended = catch_unwind(AssertUnwindSafe(|| worker(job, &mut emit)));
        drop(turn);
        let busy = began.elapsed().saturating_sub(waited);
        let busy = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        shared.busy.fetch_add(busy, Ordering::Relaxed);
        if let Err(error) = ended.unwrap_or(Err(Error::Panicked)) {
            // The receiver is gone only if the stream was dropped.
            let _ = results.send(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Each job gives as many results as it says; 9 panics after its second.
    fn counting(jobs: usize, given: &Arc<AtomicUsize>) -> ReadAhead<usize, usize> {
        ReadAhead::new(Ahead { workers: 3, jobs }, || {
            let given = given.clone();
            move |job: usize, emit: &mut Emit<'_, usize>| {
                for result in 0..job {
                    assert!(job != 9 || result < 2, "a bug");
                    given.fetch_add(1, Ordering::SeqCst);
                    if emit(result).is_break() {
                        break;
                    }
                }
                Ok(())
            }
        })
        .unwrap()
    }

    #[test]
    fn results_come_job_by_job_and_a_panic_is_the_last_of_its_job() {
        let mut stream = counting(4, &Arc::default());
        for job in [2, 0, 9, 3] {
            stream.push(job);
        }
        let results: Vec<(usize, Option<usize>)> =
            stream.map(|(job, result)| (job, result.ok())).collect();
        let expected = [
            (0, Some(0)),
            (0, Some(1)),
            (2, Some(0)),
            (2, Some(1)),
            (2, None),
            (3, Some(0)),
            (3, Some(1)),
            (3, Some(2)),
        ];
        assert_eq!(results, expected);
    }

    #[test]
    fn a_job_waits_with_its_results_and_ends_with_the_stream() {
        let given = Arc::default();
        let mut stream = counting(2, &given);
        for _ in 0..5 {
            stream.push(1000);
        }
        for _ in 0..10 {
            stream.next().unwrap().1.unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        // Taken; waiting in the channels and at the doors of the jobs that may be under way.
        assert!(given.load(Ordering::SeqCst) <= 10 + 3 * 2);
        drop(stream);
    }
}
