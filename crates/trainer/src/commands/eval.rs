//! `trainer eval`: test a trained checkpoint.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cli::eval::Arguments;
use clips::Ended;
use trainer::config::{Config, Unsplit};
use trainer::run::{self, Record, Session};

use super::exit;
use super::settings::Configured as _;
use super::summary::summary;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    if arguments.settings.file().is_some() || arguments.settings.row.is_some() {
        bail!("eval takes its configuration from the checkpoint; change keys with --set");
    }
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| arguments.run.join("eval"));
    let interrupt = super::install_interrupt()?;
    let mut results = Vec::new();
    let mut session: Option<Session> = None;
    for folder in seeds(&arguments.run)? {
        let loaded = recogniser::newest::<Record>(&folder)?
            .with_context(|| format!("no checkpoint in {}", folder.display()))?;
        let toml = loaded.state.config.to_toml()?;
        let overrides = arguments.settings.overrides();
        let mut config = Config::clone(&*Config::parse("checkpoint", &toml, &overrides)?);
        let names = |key: &str| {
            let key = format!("data.{key}=");
            overrides.iter().any(|setting| setting.starts_with(&key))
        };
        // The lists of the training videos do not apply to others.
        let data = &mut config.data;
        let elsewhere = names("root");
        if elsewhere || names("lists") || names("train_list") || names("test_list") {
            data.lists = data.lists.take().filter(|_| names("lists"));
            data.train_list = data.train_list.take().filter(|_| names("train_list"));
            data.test_list = data.test_list.take().filter(|_| names("test_list"));
        }
        if elsewhere {
            data.class_table = data.class_table.take().filter(|_| names("class_table"));
            data.columns = data.columns.take().filter(|_| names("columns"));
        }
        if elsewhere && config.data.unsplit == Unsplit::CrossValidate {
            config.data.unsplit = Unsplit::Test;
        }
        // The training's starting point may no longer exist.
        config.train.start_from = None;
        let config = config.check()?;
        let session = match &mut session {
            Some(session) => session,
            None => {
                let quiet = arguments.settings.quiet;
                let opened = Session::open(config, interrupt.clone(), quiet)?;
                opened.notes().for_each(|note| eprintln!("note: {note}"));
                session.insert(opened)
            }
        };
        match run::evaluate(session, &loaded, &out)? {
            Ended::Done(more) => results.extend(more),
            Ended::Stopped => return Ok(super::stopped()),
        }
    }
    say_part!("{}", summary(&results));
    eprintln!("results in {}", out.display());
    Ok(exit::DONE)
}

/// The folder itself if it has checkpoints, else its `seed-*` folders in order.
pub(crate) fn seeds(run: &Path) -> Result<Vec<PathBuf>> {
    if run.join("checkpoints").is_dir() {
        return Ok(vec![run.to_path_buf()]);
    }
    let entries =
        std::fs::read_dir(run).with_context(|| format!("cannot open the run {}", run.display()))?;
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let seed = name.to_str()?.strip_prefix("seed-")?.parse().ok()?;
            Some((seed, entry.path()))
        })
        .collect();
    found.sort();
    if found.is_empty() {
        bail!(
            "{} is not a run folder: it has neither checkpoints/ nor seed-* folders",
            run.display()
        );
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
