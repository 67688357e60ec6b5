//! `trainer train`: train and test every seed of a configuration.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clips::Ended;
use trainer::run::{self, Session};

use super::earlier::{in_precision_of, note_earlier};
use super::exit;
use super::settings::Settings;
use super::summary::summary;

/// Train and test every seed of a configuration.
///
/// Features that are not cached are computed first. The same command resumes where it stopped;
/// finished seeds are not repeated, and a folder with a run on other inputs is refused. Ctrl-C stops after a checkpoint, a second one immediately.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// The run's folder; by default runs/NAME.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Train anew; an earlier run in the folder becomes DIR.1.
    #[arg(long)]
    again: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let config = arguments.settings.resolve()?;
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None => PathBuf::from("runs").join(&config.name),
    };
    let session = Session::open(
        in_precision_of(&folder, config),
        super::install_interrupt()?,
        arguments.settings.quiet,
    )?;
    for note in session.notes() {
        eprintln!("note: {note}");
    }
    note_earlier(&session, &folder, arguments.again)?;
    match run::run(&session, &folder)? {
        Ended::Done(results) => {
            print!("{}", summary(&results));
            eprintln!("results in {}", folder.display());
            Ok(exit::DONE)
        }
        Ended::Stopped => Ok(super::stopped()),
    }
}
