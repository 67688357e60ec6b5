//! Who is there, who is lost, and the end of the process.
//!
//! A thread of each member writes a number into the store every few seconds and reads the others'. It
//! ends the process when one falls silent or says that it fails, whatever the main thread does:
//! computing, waiting in an exchange, or hanging in the store. A second thread notices when the store
//! itself does not answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Error;
use crate::c10d::{Said, Store};
use crate::join::Signals;

/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(200);
/// The longest time between two looks that counts as silence: a process, or a whole machine, that was
/// stopped blames nobody for it.
const COUNTED: Duration = Duration::from_secs(1);
/// How long the others have to say that they are there.
const ROLL_CALL: Duration = Duration::from_secs(2);

/// Keys of the store.
const TROUBLE: &str = "trouble";
const FAILED: &str = "failed";
const STOP: &str = "stop";

pub(crate) struct Watch {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The main thread knows why the group ends.
    explained: AtomicBool,
}

struct Shared {
    /// A connection of its own.
    store: Store,
    /// Whether rank 0 serves the store.
    served: bool,
    rank: usize,
    members: Vec<String>,
    silence: Duration,
    signals: Signals,
    /// The watch is over.
    over: AtomicBool,
    /// One thread ends the process.
    ending: AtomicBool,
    /// Answers of the store, counted.
    answers: AtomicU64,
}

impl Watch {
    /// Begins; `members` are named as [`crate::Group::member`] does.
    pub(crate) fn start(
        store: Store,
        served: bool,
        rank: usize,
        members: Vec<String>,
        silence: Duration,
        signals: Signals,
    ) -> Self {
        let shared = Arc::new(Shared {
            store,
            served,
            rank,
            members,
            silence,
            signals,
            over: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            answers: AtomicU64::new(0),
        });
        let (looking, timing) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || looking.look()),
            thread::spawn(move || timing.time()),
        ];
        Self {
            shared,
            threads: Mutex::new(threads),
            explained: AtomicBool::new(false),
        }
    }

    /// The reason of a failed exchange: who is lost, or failed. Ends the watch. If another thread
    /// is ending the process, it does not return.
    pub(crate) fn explain(&self, op: &'static str, reason: String) -> Error {
        if self.explained.swap(true, Ordering::SeqCst) {
            return Error::Exchange { op, reason };
        }
        self.shared.claim();
        let error = self.shared.verdict(Cause::Exchange { op, reason });
        self.shared.over.store(true, Ordering::SeqCst);
        error
    }

    /// Tells the others that this member fails.
    /// Tells nothing of an end that the others have brought about.
    pub(crate) fn fail(&self, reason: &str) {
        if self.explained.swap(true, Ordering::SeqCst) {
            return;
        }
        self.shared.claim();
        self.shared.tell(reason);
        self.shared.over.store(true, Ordering::SeqCst);
    }

    /// Ends the watch before the members part.
    pub(crate) fn stop(&self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A panic of it changes nothing any more.
            let _ = thread.join();
        }
    }
}

/// How trouble was noticed.
enum Cause {
    Exchange { op: &'static str, reason: String },
    Silent,
    Told,
}

impl Shared {
    /// The right to end the process. Without it the thread waits for the end.
    fn claim(&self) {
        if self.ending.swap(true, Ordering::SeqCst) {
            loop {
                thread::park();
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || self.ending.load(Ordering::SeqCst)
    }

    /// Ends the process after a verdict.
    fn end(&self, cause: Cause) {
        self.claim();
        let error = self.verdict(cause);
        (self.signals.end)(&error);
    }

    fn answered<T>(&self, answer: Said<T>) -> Said<T> {
        self.answers.fetch_add(1, Ordering::SeqCst);
        answer
    }

    /// The watching thread.
    fn look(&self) {
        let between = (self.silence / 6).min(Duration::from_secs(5));
        let (mut beat, mut since) = (0u64, between);
        let mut silent = vec![(String::new(), Duration::ZERO); self.members.len()];
        let mut last = Instant::now();
        while !self.is_over() {
            let passed = last.elapsed().min(COUNTED);
            last = Instant::now();
            since += passed;
            let beats = since >= between;
            if beats {
                beat += 1;
                since = Duration::ZERO;
            }
            match self.answered(self.exchange(beats.then_some(beat), passed, &mut silent)) {
                Ok(None) => thread::sleep(LOOK),
                Ok(Some(_)) | Err(_) if self.is_over() => return,
                Ok(Some(cause)) => return self.end(cause),
                Err(reason) => {
                    return self.end(Cause::Exchange {
                        op: "the store",
                        reason,
                    });
                }
            }
        }
    }

    /// One look at the store.
    fn exchange(
        &self,
        beat: Option<u64>,
        passed: Duration,
        silent: &mut [(String, Duration)],
    ) -> Said<Option<Cause>> {
        if self.store.has(TROUBLE)? {
            return Ok(Some(Cause::Told));
        }
        if (self.signals.stopping)() {
            self.store.set(STOP, "1")?;
        } else if self.store.has(STOP)? {
            (self.signals.stop)();
        }
        for (_, time) in silent.iter_mut() {
            *time += passed;
        }
        let Some(beat) = beat else {
            return Ok(None);
        };
        self.store
            .set(&format!("beat/{}", self.rank), &beat.to_string())?;
        for (rank, (known, time)) in silent.iter_mut().enumerate() {
            let now = self.store.get(&format!("beat/{rank}"))?.unwrap_or_default();
            if now != *known {
                (*known, *time) = (now, Duration::ZERO);
            }
            if *time > self.silence && rank != self.rank {
                return Ok(Some(Cause::Silent));
            }
        }
        Ok(None)
    }

    /// The thread that notices a store that does not answer.
    fn time(&self) {
        let (mut known, mut waited, mut last) = (0, Duration::ZERO, Instant::now());
        while !self.over.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
            let passed = last.elapsed().min(COUNTED);
            last = Instant::now();
            let answers = self.answers.load(Ordering::SeqCst);
            (known, waited) = match answers == known {
                true => (known, waited + passed),
                false => (answers, Duration::ZERO),
            };
            // A verdict asks the store, too, and has a time of its own.
            let limit = match self.ending.load(Ordering::SeqCst) {
                true => ROLL_CALL * 3,
                false => self.silence,
            };
            if waited > limit {
                (self.signals.end)(&self.lost_store());
                return;
            }
        }
    }

    fn lost_store(&self) -> Error {
        let who = self.members.first().cloned().unwrap_or_default();
        let how = "whose store does not answer: it is gone, stopped or cut off";
        Error::Lost {
            who: format!("{who}, {how}"),
        }
    }

    /// Says that this member is there and leaves; then who is not.
    fn verdict(&self, cause: Cause) -> Error {
        match self.roll_call(&cause) {
            Ok(error) => error,
            Err(_) if self.served => self.lost_store(),
            Err(reason) => Error::Exchange {
                op: "the rendezvous file",
                reason,
            },
        }
    }

    fn roll_call(&self, cause: &Cause) -> Said<Error> {
        let left = |rank: usize| format!("left/{rank}");
        self.answered(self.store.set(&left(self.rank), "1"))?;
        self.answered(self.store.set(TROUBLE, "1"))?;
        let mut missing: Vec<usize> = (0..self.members.len()).collect();
        let mut failed = None;
        let mut time = Patience::new(ROLL_CALL);
        while time.is_left() && failed.is_none() && !missing.is_empty() {
            thread::sleep(LOOK / 4);
            failed = self.answered(self.store.get(FAILED))?;
            let mut still = Vec::new();
            for rank in missing {
                if !self.answered(self.store.has(&left(rank)))? {
                    still.push(rank);
                }
            }
            missing = still;
        }
        let error = match (failed, missing.is_empty()) {
            (Some(reason), _) => Error::Elsewhere(reason),
            (None, false) => {
                let names = missing
                    .iter()
                    .filter_map(|rank| self.members.get(*rank).cloned());
                Error::Lost {
                    who: names.collect::<Vec<_>>().join(" and "),
                }
            }
            (None, true) => match cause {
                Cause::Exchange { op, reason } => Error::Exchange {
                    op,
                    reason: reason.clone(),
                },
                Cause::Silent | Cause::Told => Error::Exchange {
                    op: "an exchange",
                    reason: "failed on another rank, see its message".into(),
                },
            },
        };
        self.part(&missing)?;
        Ok(error)
    }

    /// Publishes why this member fails.
    fn tell(&self, reason: &str) {
        let told = || -> Said<()> {
            if self.answered(self.store.get(FAILED))?.is_none() {
                let own = self.members.get(self.rank).cloned().unwrap_or_default();
                self.answered(self.store.set(FAILED, &format!("{own} failed: {reason}")))?;
            }
            self.answered(self.store.set(&format!("left/{}", self.rank), "1"))?;
            self.answered(self.store.set(TROUBLE, "1"))?;
            self.part(&[])
        };
        // Without a store the others notice it by themselves.
        let _ = told();
    }

    /// Says that this member needs the store no longer; the one that serves it waits for the others.
    fn part(&self, missing: &[usize]) -> Said<()> {
        let gone = |rank: usize| format!("gone/{rank}");
        self.answered(self.store.set(&gone(self.rank), "1"))?;
        if !(self.served && self.rank == 0) {
            return Ok(());
        }
        let mut time = Patience::new(ROLL_CALL + LOOK * 5);
        let mut others: Vec<usize> = (1..self.members.len()).collect();
        others.retain(|rank| !missing.contains(rank));
        while time.is_left() && !others.is_empty() {
            thread::sleep(LOOK / 4);
            let mut still = Vec::new();
            for rank in others {
                if !self.answered(self.store.has(&gone(rank)))? {
                    still.push(rank);
                }
            }
            others = still;
        }
        Ok(())
    }
}

/// Time that passes for a running process only.
pub(crate) struct Patience {
    left: Duration,
    last: Instant,
}

impl Patience {
    pub(crate) fn new(left: Duration) -> Self {
        Self {
            left,
            last: Instant::now(),
        }
    }

    pub(crate) fn is_left(&mut self) -> bool {
        self.left = self.left.saturating_sub(self.last.elapsed().min(COUNTED));
        self.last = Instant::now();
        self.left > Duration::ZERO
    }
}
