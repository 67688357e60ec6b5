//! Exit codes that scripts can rely on.

use trainer::Error;

/// Everything was done.
pub(crate) const DONE: u8 = 0;
/// Some of several inputs failed; the results of the others were printed.
pub(crate) const PARTIAL: u8 = 1;
/// Wrong arguments, as in clap.
pub(crate) const USAGE: u8 = 2;
/// Nothing could be done.
pub(crate) const FAILED: u8 = 3;
/// Another process of the group was lost; the same command resumes, as launchers do by themselves.
pub(crate) const LOST: u8 = 75;
/// Stopped by Ctrl-C after a checkpoint; the same command resumes.
pub(crate) const INTERRUPTED: u8 = 130;

/// The code for an error of the group.
pub(crate) fn of_group(error: &dist::Error) -> u8 {
    match error.is_loss() {
        true => LOST,
        false => FAILED,
    }
}

/// The code for an error.
pub(crate) fn of(error: &anyhow::Error) -> u8 {
    let group = match error.downcast_ref::<Error>() {
        Some(Error::Dist(group)) => Some(group),
        _ => error.downcast_ref::<dist::Error>(),
    };
    group.map_or(FAILED, of_group)
}
