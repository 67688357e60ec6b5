/// Why threads are not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Threads cannot be started.
    #[error("{threads} threads cannot be started: {reason}")]
    Threads {
        /// Their number.
        threads: usize,
        /// The system's reason.
        reason: String,
    },
}
