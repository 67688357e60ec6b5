//! `trainer train`: train and test every seed of a configuration.

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Result;
use cli::train::Arguments;
use clips::{Ended, Interrupt};
use dist::Group;
use trainer::run::{self, Session};

use super::earlier::{in_precision_of, note_earlier};
use super::exit;
use super::group;
use super::settings::Configured as _;
use super::summary::summary;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let interrupt = super::install_interrupt()?;
    let group = group::join(arguments.distributed, &interrupt)?;
    group::within(group.as_ref(), || {
        train(arguments, interrupt, group.clone())
    })
}

fn train(arguments: &Arguments, interrupt: Interrupt, group: Rc<dyn Group>) -> Result<u8> {
    let leads = group.rank() == 0;
    let config = arguments.settings.resolve()?;
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None => PathBuf::from("runs").join(&config.name),
    };
    let session = Session::open(
        in_precision_of(&folder, config),
        interrupt,
        arguments.settings.quiet || !leads,
    )?;
    let session = session.in_group(group.clone());
    if leads {
        for note in session.notes() {
            eprintln!("note: {note}");
        }
    }
    // All have read the earlier run's precision, and see the folder as rank 0 leaves it.
    group.meet()?;
    if leads {
        note_earlier(&session, &folder, arguments.again)?;
    }
    group.meet()?;
    match run::run(&session, &folder)? {
        Ended::Done(_) if !leads => Ok(exit::DONE),
        Ended::Done(results) => {
            say_part!("{}", summary(&results));
            eprintln!("results in {}", folder.display());
            Ok(exit::DONE)
        }
        Ended::Stopped if !leads => Ok(exit::INTERRUPTED),
        Ended::Stopped => Ok(super::stopped()),
    }
}
