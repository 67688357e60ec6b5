//! Exit codes that scripts can rely on.

/// Everything was done.
pub(crate) const DONE: u8 = 0;
/// Some of several inputs failed; the results of the others were printed.
pub(crate) const PARTIAL: u8 = 1;
/// Wrong arguments, as in clap.
pub(crate) const USAGE: u8 = 2;
/// Nothing could be done.
pub(crate) const FAILED: u8 = 3;
/// Stopped by Ctrl-C after a checkpoint; the same command resumes.
pub(crate) const INTERRUPTED: u8 = 130;
