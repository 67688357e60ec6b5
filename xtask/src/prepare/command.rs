//! The commands `prepare-NAME`, one for each public data set of the registry.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, Command, FromArgMatches, Subcommand};
use data::formats::{Format, Published, Source};

use super::{Options, ShardOptions, Workplace, prepare};
use crate::Result;

/// A `prepare-NAME` with its options.
#[derive(Debug, Clone)]
pub struct Prepare {
    format: &'static Format,
    options: Options,
}

impl Prepare {
    /// As [`prepare`].
    ///
    /// # Errors
    /// As [`prepare`].
    pub fn run(&self, place: &Workplace) -> Result<PathBuf> {
        prepare(self.format, &self.options, place)
    }
}

fn name_of(format: &Format) -> String {
    format!("prepare-{}", format.name)
}

fn command((format, published): (&Format, &Published)) -> Command {
    let command = Options::augment_args(Command::new(name_of(format)));
    let (command, verbs) = match published.source {
        Source::Shards(_) => (
            ShardOptions::augment_args(command),
            "Fetch, unpack and list",
        ),
        Source::Archives { url: Some(_), .. } => (command, "Fetch, unpack and list"),
        Source::Archives { url: None, .. } => (command, "Unpack and list"),
    };
    command
        .about(format!("{verbs} {}", format.title))
        .after_help(format!(
            "--from takes {}.",
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
