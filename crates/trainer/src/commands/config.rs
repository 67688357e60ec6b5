//! `trainer config`: the papers' rows, and a configuration with every key spelled out.

use std::io::Write as _;

use anyhow::Result;
use clap::Args;
use trainer::paper::Cell;

use super::exit;
use super::settings::Settings;

/// Print the papers' rows with their published numbers, or a configuration.
///
/// Without arguments: the name of every row, with the paper's top-1 in per cent (on Charades its
/// mAP); `other` stands for any data set without published numbers. With a row, a file or keys:
/// the configuration they make, as TOML with every key.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A row, as --row takes it.
    name: Option<String>,

    #[command(flatten)]
    settings: Settings,
}

pub(crate) fn run(mut arguments: Arguments) -> Result<u8> {
    let settings = &mut arguments.settings;
    settings.row = arguments.name.take().or_else(|| settings.row.take());
    let cell = settings.cell()?;
    let nothing = cell.is_none() && settings.file().is_none() && settings.overrides().is_empty();
    let text = if nothing {
        let line = |cell: Cell| format!("{:<60} {}\n", cell.name(), published(&cell));
        Cell::all().map(line).collect()
    } else {
        cell.as_ref().map_or_else(String::new, head) + &settings.resolve()?.to_toml()?
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(exit::DONE)
}

/// The command of a row, and what is published of it, as comments.
fn head(cell: &Cell) -> String {
    let (name, paper) = (cell.name(), published(cell));
    format!(
        "# trainer train --row {name} --weights CLIP --root DIR --lists DIR\n\
         # {}, {}. Paper: {paper}\n\n",
        cell.row, cell.column
    )
}

fn published(cell: &Cell) -> String {
    match cell.paper {
        Some(paper) => format!("{paper:?} {}", cell.more).trim_end().to_owned(),
        None => "-".into(),
    }
}
