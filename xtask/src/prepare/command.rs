//! The commands `prepare-NAME`, one for each public data set.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, Command, FromArgMatches, Subcommand};
use data::formats::{Format, Published, Source};

use super::{Options, ShardOptions, Tools, prepare};
use crate::Result;

/// The command `prepare-NAME` with its options.
#[derive(Debug, Clone)]
pub struct Prepare {
    format: &'static Format,
    options: Options,
}

impl Prepare {
    /// Runs [`prepare`].
    ///
    /// # Errors
    /// See [`prepare`].
    pub fn run(&self, tools: &Tools) -> Result<PathBuf> {
        prepare(self.format, &self.options, tools)
    }
}

fn name_of(format: &Format) -> String {
    format!("prepare-{}", format.name)
}

fn command((format, published): (&Format, &Published)) -> Command {
    let mut command = Options::augment_args(Command::new(name_of(format)));
    if let Source::Shards(_) = published.source {
        command = ShardOptions::augment_args(command);
    }
    let verbs = match published.source {
        Source::Archives { url: None, .. } => "Unpack and list",
        _ => "Download, unpack and list",
    };
    command
        .about(format!("{verbs} {}", format.title))
        .after_help(format!(
            "--from accepts {}.",
            published.source.files().replace('`', "")
        ))
}

impl Subcommand for Prepare {
    fn augment_subcommands(parent: Command) -> Command {
        parent.subcommands(Format::published().map(command))
    }

    fn augment_subcommands_for_update(parent: Command) -> Command {
        Self::augment_subcommands(parent)
    }

    fn has_subcommand(name: &str) -> bool {
        Format::published().any(|(format, _)| name_of(format) == name)
    }
}

impl FromArgMatches for Prepare {
    fn from_arg_matches(matches: &ArgMatches) -> clap::error::Result<Self> {
        let absent = || clap::Error::new(ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(absent)?;
        let (format, published) = Format::published()
            .find(|(format, _)| name_of(format) == name)
            .ok_or_else(absent)?;
        let mut options = Options::from_arg_matches(matches)?;
        if let Source::Shards(_) = published.source {
            options.shards = ShardOptions::from_arg_matches(matches)?;
        }
        Ok(Self { format, options })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> clap::error::Result<()> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
