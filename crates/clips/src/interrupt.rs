//! Stops long work on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The user's request to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Whether to stop now.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Requests a stop; returns whether it had already been requested.
    pub fn ask(&self) -> bool {
        self.asked.swap(true, Ordering::SeqCst)
    }
}

/// How a long computation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended<T> {
    /// Completed.
    Done(T),
    /// Stopped on request; the same call continues.
    Stopped,
}

impl<T> Ended<T> {
    /// The same with the result mapped.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Ended<U> {
        match self {
            Self::Done(result) => Ended::Done(f(result)),
            Self::Stopped => Ended::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_copies_hear_of_it() {
        let first = Interrupt::default();
        let second = first.clone();
        assert!(!second.asked());
        assert!(!first.ask());
        assert!(second.asked() && second.ask());
    }
}
