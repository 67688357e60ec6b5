//! The threads of a process, and what they compute.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tch::Device;

use crate::{Error, Result};

/// The threads of this process, if there are any.
static THREADS: RwLock<Option<Arc<Threads>>> = RwLock::new(None);

thread_local! {
    /// Whether the thread computes something undivided.
    static WHOLE: Cell<bool> = const { Cell::new(false) };
}

struct Threads {
    pool: ThreadPool,
    working: Mutex<Working>,
    changed: Condvar,
}

#[derive(Default)]
struct Working {
    threads: usize,
    /// Callers that wait until none works: no more may begin.
    whole: usize,
}

/// From now on, the parts of a computation on the CPU share `threads` threads, and the calling
/// thread, which waits for them, has one libtorch thread.
///
/// Without this call nothing is divided, and the calling thread computes with all libtorch threads.
/// How a computation is divided does not depend on `threads`, and so its results do not, as long as
/// there are at least as many parts.
///
/// # Errors
/// [`Error::Threads`] if they cannot be started.
pub fn use_threads(threads: usize) -> Result<()> {
    let count = threads.max(1);
    if self::threads().is_some_and(|used| used.pool.current_num_threads() == count) {
        set_libtorch_threads(1);
        return Ok(());
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|number| format!("part-{number}"))
        .build()
        .map_err(|error| Error::Threads {
            threads: count,
            reason: error.to_string(),
        })?;
    let started = Arc::new(Threads {
        pool,
        working: Mutex::default(),
        changed: Condvar::new(),
    });
    *THREADS.write().unwrap_or_else(PoisonError::into_inner) = Some(started);
    set_libtorch_threads(1);
    Ok(())
}

/// Whether computations on `device` are divided.
pub fn divides(device: Device) -> bool {
    device == Device::Cpu && outside() && threads().is_some()
}

/// The result of each part of a computation on `device`, in order. libtorch's settings of a thread,
/// such as `no_grad`, are not those of the caller. Parts of a part follow one another.
pub fn each<T, R>(device: Device, parts: Vec<T>, compute: impl Fn(T) -> R + Sync) -> Vec<R>
where
    T: Send,
    R: Send,
{
    let Some(threads) = threads().filter(|_| device == Device::Cpu && outside()) else {
        return parts.into_iter().map(compute).collect();
    };
    let pool = &threads.pool;
    let each = (pool.current_num_threads() / parts.len().max(1)).max(1);
    let part = |part| {
        let _turn = Turn::of(&threads, each);
        set_libtorch_threads(each);
        compute(part)
    };
    pool.install(|| parts.into_par_iter().map(part).collect())
}

/// `compute`, which works on `device`, with all threads as libtorch's, while no part and no other
/// thread with a [`Turn`] works: for a few large operations. Nothing in it is divided. A GPU leaves the
/// threads to others.
pub fn whole<R>(device: Device, compute: impl FnOnce() -> R) -> R {
    let Some(threads) = threads().filter(|_| device == Device::Cpu && outside()) else {
        return compute();
    };
    let count = threads.pool.current_num_threads();
    let _whole = Whole::of(&threads, count);
    compute()
}

/// All threads at once.
struct Whole {
    threads: Arc<Threads>,
    count: usize,
}

impl Whole {
    fn of(threads: &Arc<Threads>, count: usize) -> Self {
        let mut working = threads.working();
        working.whole += 1;
        working = threads.wait_while(working, |working| working.threads > 0);
        working.whole -= 1;
        working.threads = count;
        drop(working);
        WHOLE.set(true);
        set_libtorch_threads(count);
        Self {
            threads: Arc::clone(threads),
            count,
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        set_libtorch_threads(1);
        WHOLE.set(false);
        self.threads.ended(self.count);
    }
}

/// Waits until fewer threads work than [`use_threads`] allows. Other threads beside the parts', such
/// as decoders, work while they hold one of these, so that all together are no more.
pub fn turn() -> Option<Turn> {
    Some(Turn::of(&threads()?, 1))
}

/// One or several of the threads that may work; others may when it is dropped.
pub struct Turn {
    threads: Arc<Threads>,
    count: usize,
}

impl Turn {
    /// Waits for `count` threads, no more than there are.
    fn of(threads: &Arc<Threads>, count: usize) -> Self {
        let most = threads.pool.current_num_threads();
        let taken = |working: &Working| working.threads + count > most || working.whole > 0;
        let mut working = threads.wait_while(threads.working(), taken);
        working.threads += count;
        Self {
            threads: Arc::clone(threads),
            count,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.threads.ended(self.count);
    }
}

impl Threads {
    fn working(&self) -> MutexGuard<'_, Working> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        working: MutexGuard<'a, Working>,
        wait: impl Fn(&Working) -> bool,
    ) -> MutexGuard<'a, Working> {
        let waited = self.changed.wait_while(working, |working| wait(working));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, count: usize) {
        self.working().threads -= count;
        self.changed.notify_all();
    }
}

/// Whether the calling thread computes neither a part nor something undivided.
fn outside() -> bool {
    rayon::current_thread_index().is_none() && !WHOLE.get()
}

fn threads() -> Option<Arc<Threads>> {
    let threads = THREADS.read().unwrap_or_else(PoisonError::into_inner);
    threads.clone()
}

/// Sets the calling thread's number. A thread that has none takes the last one set anywhere at its
/// first use, which must not come later.
fn set_libtorch_threads(threads: usize) {
    let _ = tch::get_num_threads();
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// The settings are those of the process, so that one test tries them in turn.
    #[test]
    fn parts_share_the_threads_and_keep_their_order() {
        assert!(!divides(Device::Cpu) && turn().is_none());
        assert_eq!(each(Device::Cpu, vec![3, 1, 2], |part| part * 2), [6, 2, 4]);

        use_threads(3).unwrap();
        assert!(divides(Device::Cpu) && !divides(Device::Cuda(0)));
        assert_eq!(tch::get_num_threads(), 1);
        assert_eq!(whole(Device::Cpu, tch::get_num_threads), 3);
        let twice = || {
            (
                whole(Device::Cpu, tch::get_num_threads),
                tch::get_num_threads(),
            )
        };
        assert_eq!(whole(Device::Cpu, twice), (3, 3));
        assert!(!whole(Device::Cpu, || divides(Device::Cpu)));
        assert_eq!(whole(Device::Cuda(0), tch::get_num_threads), 1);
        assert_eq!(tch::get_num_threads(), 1);

        // As many libtorch threads as there are for each part, and no more parts in a part.
        let inside = |_| {
            (
                tch::get_num_threads(),
                divides(Device::Cpu),
                whole(Device::Cpu, tch::get_num_threads),
            )
        };
        assert_eq!(each(Device::Cpu, vec![()], inside), [(3, false, 3)]);
        assert_eq!(each(Device::Cpu, vec![(); 4], inside), [(1, false, 1); 4]);
        let nested = |part| each(Device::Cpu, vec![part, part + 1], |part| part * 10);
        assert_eq!(each(Device::Cpu, vec![1, 5], nested), [[10, 20], [50, 60]]);

        // Parts and others that work in turns are never more than the threads.
        let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            working.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let _turn = turn();
                        work();
                    }
                });
            }
            each(Device::Cpu, vec![(); 30], |()| work());
        });
        assert_eq!(most.load(Ordering::SeqCst), 3);

        // Something undivided waits for them, and they for it.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let _turn = turn();
                        work();
                    }
                });
            }
            for _ in 0..5 {
                let alone = || {
                    let before = working.load(Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                    (before, working.load(Ordering::SeqCst))
                };
                assert_eq!(whole(Device::Cpu, alone), (0, 0));
                // The only part has all libtorch threads, too.
                assert_eq!(each(Device::Cpu, vec![()], |()| alone()), [(0, 0)]);
            }
        });
    }
}
