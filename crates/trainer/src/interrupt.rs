//! Ctrl-C: once asks for a checkpoint and an orderly end, twice ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Whether the user has asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs the handler for Ctrl-C, termination and hang-up; once a process.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where a handler is installed already.
    pub fn install() -> Result<Self> {
        let interrupt = Self::default();
        let asked = Arc::clone(&interrupt.asked);
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!("\nstopping after a checkpoint; once more stops at once");
        })
        .map_err(|error| Error::mismatch("Ctrl-C handler", "none yet", error))?;
        Ok(interrupt)
    }

    /// Whether to stop now.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Asks to stop, as Ctrl-C does.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
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
        first.ask();
        assert!(second.asked());
    }
}
