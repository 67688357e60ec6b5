//! An earlier run in the folder of the one asked for.

use std::path::Path;

use anyhow::Result;
use trainer::config::Checked;
use trainer::run::{self, Earlier, Session};

/// The configuration in the precision of the run in `folder`, unless it names one: the fastest one
/// may be another on this machine.
pub(crate) fn in_precision_of(folder: &Path, config: Checked) -> Checked {
    match run::precision(folder) {
        Some(precision) => config.in_precision(precision),
        None => config,
    }
}

/// Sets the run in `folder` aside if `again`; else says that a finished one is not trained anew.
pub(crate) fn note_earlier(session: &Session, folder: &Path, again: bool) -> Result<()> {
    match run::earlier(session, folder)? {
        Earlier::None => {}
        _ if again => set_aside(session, folder)?,
        Earlier::Same if run::is_finished(session, folder)? => eprintln!(
            "note: nothing has changed since the run in {}: this is its result; --again trains anew",
            folder.display()
        ),
        // Resumed, or refused by the run itself.
        _ => {}
    }
    Ok(())
}

pub(crate) fn set_aside(session: &Session, folder: &Path) -> Result<()> {
    let place = run::set_aside(folder, &session.config().data.cache)?;
    eprintln!("note: the earlier run is now {}", place.display());
    Ok(())
}
