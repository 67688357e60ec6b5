//! `trainer config`: the papers' rows, or a configuration with every key.

use std::io::Write as _;

use anyhow::Result;
use cli::config::Arguments;
use trainer::paper::Cell;

use super::exit;
use super::settings::Configured as _;

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

/// The row's command and published numbers, as comments.
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
