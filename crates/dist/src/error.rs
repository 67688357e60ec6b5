/// The errors of this crate. Each names the ranks it is about and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A launcher's variable is missing or invalid.
    #[error("{name}: expected {expected}, got {got}")]
    Variable {
        /// The variable.
        name: String,
        /// The expected value.
        expected: String,
        /// The actual value.
        got: String,
    },
    /// Two launchers' variables contradict each other.
    #[error(
        "two launchers disagree: {first}, but {second}; start with one of them, or unset the \
         variables of the other"
    )]
    Launchers {
        /// One launcher's variables.
        first: String,
        /// The other's.
        second: String,
    },
    /// This build or system has no groups of several processes.
    #[error(
        "a group of {size} processes needs Linux and the feature `c10d`; this build has groups of 1"
    )]
    Unsupported {
        /// The requested size.
        size: usize,
    },
    /// The store cannot be made or reached.
    #[error("{place}: {reason}")]
    Store {
        /// Where it is.
        place: String,
        /// The reason, and what to do.
        reason: String,
    },
    /// The members do not fit together.
    #[error("the ranks do not fit together: {0}")]
    World(String),
    /// Some members did not come.
    #[error(
        "{missing} of {size} did not come within {seconds} s; start every rank with the same \
         rendezvous ({place}) and the same number of ranks"
    )]
    Absent {
        /// Such as `rank 1`.
        missing: String,
        /// The number of ranks.
        size: usize,
        /// The limit.
        seconds: u64,
        /// The rendezvous.
        place: String,
    },
    /// Members have other settings than rank 0.
    #[error("{0}; start every rank with the same")]
    Disagree(String),
    /// Members are gone: killed, cut off, or stopped.
    #[error("lost {who}; start again to resume from the last checkpoint")]
    Lost {
        /// Each with host and process, and how it was noticed.
        who: String,
    },
    /// Another member failed.
    #[error("{0}")]
    Elsewhere(String),
    /// An exchange failed although every member is there.
    #[error("{op}: {reason}")]
    Exchange {
        /// The operation.
        op: &'static str,
        /// The engine's message.
        reason: String,
    },
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl Error {
    /// Whether members were lost, so that the same command may succeed when started again.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}
