//! Work shared among libtorch's own threads.
//!
//! Between two operators these spin on their cores, waiting for the next: threads of another
//! pool would compete with them. On two cores of an EPYC with `avx512_bf16`, twelve blocks of
//! ViT-B/16 by both kernels took 7 to 13 % longer for eight pictures, and 62 to 95 % longer for one,
//! on rayon's threads; threads started for each call cost as much.
//!
//! The entry is looked up at run time. libtorch's own `parallel_for` is a template without a symbol,
//! and linking libgomp would bring a second pool wherever libtorch has another make of OpenMP, or
//! libgomp under another name, as PyTorch's wheels do.

use std::ffi::{c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

type Region = unsafe extern "C" fn(*mut c_void);
type Parallel = unsafe extern "C" fn(Region, *mut c_void, c_uint, c_uint);

/// OpenMP's team through GNU's entry point, which other implementations provide too: the first in
/// the process, which is libtorch's.
#[derive(Clone, Copy)]
pub(super) struct Team(Parallel);

impl Team {
    /// `None` if there is none.
    pub(super) fn of_libtorch() -> Option<Self> {
        static TEAM: OnceLock<Option<Team>> = OnceLock::new();
        *TEAM.get_or_init(|| {
            // SAFETY: both arguments are valid for dlsym.
            let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) };
            // SAFETY: the symbol of this name is a function of this signature.
            let parallel = |found| unsafe { std::mem::transmute::<*mut c_void, Parallel>(found) };
            (!found.is_null()).then(|| Self(parallel(found)))
        })
    }

    /// Runs `work` for every number below `items`; each thread has its own state. `work`
    /// must not panic: that would abort the process.
    pub(super) fn share<S>(
        self,
        items: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) + Sync,
    ) {
        let next = AtomicUsize::new(0);
        let task = || {
            let mut state = state();
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= items {
                    return;
                }
                work(&mut state, item);
            }
        };
        self.run(self.threads().min(items.max(1)), &task);
    }

    /// Number of threads.
    pub(super) fn threads(self) -> usize {
        usize::try_from(tch::get_num_threads()).map_or(1, |threads| threads.max(1))
    }

    /// Calls `task` once on each of `threads` threads.
    fn run<F: Fn() + Sync>(self, threads: usize, task: &F) {
        unsafe extern "C" fn region<F: Fn()>(task: *mut c_void) {
            // SAFETY: `run` hands in a reference to an F that outlives the region.
            unsafe { (*task.cast::<F>())() }
        }
        let threads = c_uint::try_from(threads).unwrap_or(1);
        let task: *const F = task;
        // SAFETY: the region ends before the call returns, and F may be called from any thread.
        unsafe { (self.0)(region::<F>, task.cast_mut().cast(), threads, 0) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_item_is_done_once() {
        let team = Team::of_libtorch().unwrap();
        for items in [0, 1, 2, 97] {
            let done: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
            team.share(
                items,
                || (),
                |(), item| {
                    done[item].fetch_add(1, Ordering::Relaxed);
                },
            );
            assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
        }
    }
}
