//! `trainer report`: finished runs as one HTML page.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use cli::report::Arguments;
use trainer::config::Config;
use trainer::report::{FilmStrips, FinishedRun, html_below};

use super::exit;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let runs = arguments
        .runs
        .iter()
        .map(|folder| FinishedRun::read(folder))
        .collect::<trainer::Result<Vec<_>>>()?;
    let out = match (&arguments.out, runs.first()) {
        (Some(out), _) => out.clone(),
        (None, Some(run)) => page_of(&run.folder),
        (None, None) => PathBuf::from("report.html"),
    };
    write(&runs, &out)?;
    say!("{}", out.display());
    Ok(exit::DONE)
}

/// Writes the page of one run into its folder and returns its path.
pub(crate) fn beside(folder: &Path) -> Result<PathBuf> {
    let out = page_of(folder);
    write(&[FinishedRun::read(folder)?], &out)?;
    Ok(out)
}

fn page_of(folder: &Path) -> PathBuf {
    folder.join("report.html")
}

/// Writes the page about `runs` to `out`.
fn write(runs: &[FinishedRun], out: &Path) -> Result<()> {
    write_below("", runs, out)
}

/// As [`write`], below `intro`, which is HTML.
pub(crate) fn write_below(intro: &str, runs: &[FinishedRun], out: &Path) -> Result<()> {
    let strips: Vec<Option<FilmStrips>> = runs.iter().map(strips).collect();
    let page = html_below(intro, runs, &strips)?;
    Ok(trainer::report::write(out, &page)?)
}

/// The videos of a run, if its data set still exists.
fn strips(run: &FinishedRun) -> Option<FilmStrips> {
    let config = Config::parse("config.toml", &run.config, &[]).ok()?;
    let dataset = match config.data.read() {
        Ok(dataset) => dataset,
        Err(error) => {
            eprintln!("note: no film strips for {}: {error}", run.folder.display());
            return None;
        }
    };
    let clips = dataset.manifest.clips().iter();
    let paths: HashMap<String, PathBuf> = clips
        .map(|clip| (clip.id.clone(), dataset.manifest.file(clip)))
        .collect();
    Some(FilmStrips::new(paths))
}
