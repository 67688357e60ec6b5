//! Stopping long work on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user has asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Whether to stop now.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Asks to stop; whether that had been asked before.
    pub fn ask(&self) -> bool {
        self.asked.swap(true, Ordering::SeqCst)
    }
}

/// How long work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended<T> {
    /// To its end.
    Done(T),
    /// Stopped on request; the same call goes on where it stopped.
    Stopped,
}

impl<T> Ended<T> {
    /// The same with another result.
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
