//! Clips prepared ahead of their use, by several threads, in a fixed order.
//!
//! The consumer hands out tasks: at first as many as may be under way or waiting, then
//! one for each clip it takes. So memory is bounded, the next clip wanted is always under
//! way, and neither the number of threads nor their luck changes what comes out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clip_source::ClipSource;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::recipe::{ClipPixels, Recipe};
use crate::skip_list::SkipList;
use crate::transform::Resizer;

/// How clips are loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderConfig {
    /// Threads that decode and transform, 1 or more.
    pub workers: usize,
    /// Clips that may be under way or waiting, 1 or more; bounds the memory.
    pub ahead: usize,
    /// The share of a pass's clips that may fail before the pass does. Clips of the skip
    /// list do not count: they are known.
    pub tolerated: f64,
}

impl Default for LoaderConfig {
    /// A worker a core, two clips ahead for each, and one bad clip in a hundred.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers,
            ahead: 2 * workers + 2,
            tolerated: 0.01,
        }
    }
}

/// Lets the model's threads go first where they share the cores. They work in step: one that is
/// kept off its core by a decoder keeps all others waiting, so decoding in between costs twice
/// its time. Clips ahead are enough to wait for a gap.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        // Linux takes this as the calling thread's own. Where it is refused nothing is lost.
        let _ = rustix::process::setpriority_process(None, 19);
    }
}

/// A clip, ready for the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The clip's position in the manifest.
    pub position: usize,
    /// Its views, as many as [`Recipe::views`] says.
    pub views: Vec<ClipPixels>,
}

/// A clip left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The clip's position in the manifest.
    pub position: usize,
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
    /// Whether the skip list named it.
    pub known: bool,
}

/// Decodes and transforms clips of one manifest.
pub struct Loader {
    shared: Arc<Shared>,
    config: LoaderConfig,
    // Dropped before the threads are joined.
    pool: Option<rayon::ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    manifest: Arc<Manifest>,
    source: Arc<dyn ClipSource>,
    skip: SkipList,
    /// Those that are not at work.
    resizers: Mutex<Vec<Resizer>>,
}

impl Loader {
    /// Starts the threads.
    ///
    /// # Errors
    /// A number of `config` is out of range, or no thread can be started.
    pub fn new(
        manifest: Arc<Manifest>,
        source: Arc<dyn ClipSource>,
        skip: SkipList,
        config: LoaderConfig,
    ) -> Result<Self> {
        let fail = |name, expected: &str, got: String| Error::Option {
            name,
            expected: expected.into(),
            got,
        };
        if !(1..=1024).contains(&config.workers) {
            return Err(fail("workers", "1 to 1024", config.workers.to_string()));
        }
        if config.ahead == 0 {
            return Err(fail("ahead", "at least 1", config.ahead.to_string()));
        }
        if !(0.0..=1.0).contains(&config.tolerated) {
            return Err(fail(
                "tolerated",
                "a share, 0 to 1",
                config.tolerated.to_string(),
            ));
        }
        let mut threads = Vec::with_capacity(config.workers);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.workers)
            .thread_name(|number| format!("clips-{number}"))
            // Threads of our own can be joined; those of rayon end in their own time.
            .spawn_handler(|thread| {
                let name = thread.name().unwrap_or("clips").to_owned();
                threads.push(std::thread::Builder::new().name(name).spawn(|| {
                    give_way();
                    thread.run();
                })?);
                Ok(())
            })
            .build()
            .map_err(|error| fail("workers", "threads that start", error.to_string()))?;
        let shared = Arc::new(Shared {
            manifest,
            source,
            skip,
            resizers: Mutex::default(),
        });
        Ok(Self {
            shared,
            config,
            pool: Some(pool),
            threads,
        })
    }

    /// One pass over `positions`, in their order.
    ///
    /// # Errors
    /// The recipe is out of range, or a position is not in the manifest.
    pub fn pass(&self, positions: &[usize], recipe: &Recipe) -> Result<Pass<'_>> {
        recipe.check()?;
        let clips = self.shared.manifest.clips().len();
        if let Some(bad) = positions.iter().find(|position| **position >= clips) {
            return Err(Error::Option {
                name: "position",
                expected: format!("below {clips}"),
                got: bad.to_string(),
            });
        }
        // All that is under way fits, so that no worker ever waits to hand in.
        let (sender, receiver) = bounded(self.config.ahead);
        let mut pass = Pass {
            loader: self,
            positions: positions.to_vec(),
            recipe: Arc::new(recipe.clone()),
            cancelled: Arc::new(AtomicBool::new(false)),
            sender,
            receiver,
            started: 0,
            received: 0,
            next: 0,
            waiting: BTreeMap::new(),
            report: PassReport {
                total: positions.len(),
                seen: 0,
                skipped: Vec::new(),
            },
            busy: Duration::ZERO,
            bad: 0,
            failed: false,
        };
        for _ in 0..self.config.ahead {
            pass.start_next();
        }
        Ok(pass)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // A pass borrows the loader and waits for its tasks, so that none is left here.
        drop(self.pool.take());
        for thread in self.threads.drain(..) {
            // A panic in a worker was reported as a bad clip.
            let _ = thread.join();
        }
    }
}

/// What became of the clips of a pass: `seen + skipped.len() == total` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassReport {
    /// Clips asked for.
    pub total: usize,
    /// Clips handed over.
    pub seen: usize,
    /// Clips left out.
    pub skipped: Vec<Skipped>,
}

/// A pass under way: an iterator over its good clips, in order. It ends after the first
/// error. Dropping it stops the work that has not begun and waits for the rest.
pub struct Pass<'a> {
    loader: &'a Loader,
    positions: Vec<usize>,
    recipe: Arc<Recipe>,
    cancelled: Arc<AtomicBool>,
    sender: Sender<Done>,
    receiver: Receiver<Done>,
    started: usize,
    received: usize,
    next: usize,
    waiting: BTreeMap<usize, Outcome>,
    report: PassReport,
    busy: Duration,
    bad: usize,
    failed: bool,
}

struct Done {
    place: usize,
    outcome: Outcome,
    took: Duration,
}

enum Outcome {
    Views(Vec<ClipPixels>),
    Known(String),
    Bad(String),
}

impl Pass<'_> {
    /// What became of the clips so far.
    #[must_use]
    pub fn report(&self) -> &PassReport {
        &self.report
    }

    /// Time that all workers together have spent on the clips handed over so far.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.busy
    }

    fn start_next(&mut self) {
        let (place, Some(&position)) = (self.started, self.positions.get(self.started)) else {
            return;
        };
        self.started += 1;
        let shared = Arc::clone(&self.loader.shared);
        let recipe = Arc::clone(&self.recipe);
        let cancelled = Arc::clone(&self.cancelled);
        let sender = self.sender.clone();
        let task = move || {
            let began = Instant::now();
            let outcome = if cancelled.load(Ordering::Relaxed) {
                Outcome::Bad("not begun".into())
            } else {
                // A clip that breaks a decoder must not take the run with it.
                catch_unwind(AssertUnwindSafe(|| shared.prepare(position, &recipe)))
                    .unwrap_or_else(|_| Outcome::Bad("decoding panicked".into()))
            };
            // Nobody listens any more only where the pass was dropped.
            let took = began.elapsed();
            let _ = sender.send(Done {
                place,
                outcome,
                took,
            });
        };
        if let Some(pool) = &self.loader.pool {
            pool.spawn_fifo(task);
        }
    }

    /// The outcome of the clip at `self.next`.
    fn wait(&mut self) -> Option<Outcome> {
        loop {
            if let Some(outcome) = self.waiting.remove(&self.next) {
                return Some(outcome);
            }
            // Every task sends exactly once, and this pass holds a sender itself.
            let done = self.receiver.recv().ok()?;
            self.received += 1;
            self.busy += done.took;
            self.waiting.insert(done.place, done.outcome);
        }
    }

    fn skip(&mut self, position: usize, reason: String, known: bool) -> Result<()> {
        let id = self.loader.shared.manifest.clips().get(position);
        let id = id.map(|clip| clip.id.clone()).unwrap_or_default();
        self.report.skipped.push(Skipped {
            position,
            id: id.clone(),
            reason: reason.clone(),
            known,
        });
        self.bad += usize::from(!known);
        let allowed = (self.loader.config.tolerated * self.report.total as f64).floor() as usize;
        if self.bad <= allowed {
            return Ok(());
        }
        Err(Error::TooManyBadClips {
            skipped: self.bad,
            total: self.report.total,
            allowed,
            id,
            what: reason,
        })
    }
}

impl Iterator for Pass<'_> {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_before(usize::MAX)
    }
}

impl Pass<'_> {
    /// The next good clip, as the iterator gives it, where all up to it are at positions
    /// below `end`; `None` once the clip whose turn it is lies at or beyond `end`.
    pub fn next_before(&mut self, end: usize) -> Option<Result<Sample>> {
        while !self.failed {
            let position = *self.positions.get(self.next)?;
            if position >= end {
                return None;
            }
            let outcome = self.wait()?;
            self.next += 1;
            self.start_next();
            let skipped = match outcome {
                Outcome::Views(views) => {
                    self.report.seen += 1;
                    return Some(Ok(Sample { position, views }));
                }
                Outcome::Known(reason) => self.skip(position, reason, true),
                Outcome::Bad(reason) => self.skip(position, reason, false),
            };
            if let Err(error) = skipped {
                self.failed = true;
                return Some(Err(error));
            }
        }
        None
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        while self.received < self.started && self.receiver.recv().is_ok() {
            self.received += 1;
        }
    }
}

impl Shared {
    fn prepare(&self, position: usize, recipe: &Recipe) -> Outcome {
        let Some(clip) = self.manifest.clips().get(position) else {
            return Outcome::Bad("is not in the manifest".into());
        };
        if let Some(reason) = self.skip.reason(&clip.id) {
            return Outcome::Known(reason.to_owned());
        }
        let resizers = || self.resizers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut resizer = resizers().pop().unwrap_or_default();
        let file = self.manifest.file(clip);
        let views = recipe.prepare(self.source.as_ref(), clip, &file, &mut resizer);
        resizers().push(resizer);
        match views {
            Ok(views) => Outcome::Views(views),
            Err(Error::Clip { what, .. }) => Outcome::Bad(what),
            Err(error) => Outcome::Bad(error.to_string()),
        }
    }
}
