//! `trainer config`: the papers' rows, and a configuration with every key spelled out.

use anyhow::Result;
use clap::Args;
use trainer::paper::Cell;

use super::exit;
use super::settings::Settings;

/// Print the papers' rows with their published numbers, or a configuration.
///
/// Without arguments: the name of every row, with the paper's top-1 in per cent (on Charades its
/// mAP). With a row, a file or keys: the configuration they make, as TOML with every key.
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
    if cell.is_none() && settings.file().is_none() && settings.overrides().is_empty() {
        for cell in Cell::all() {
            println!("{:<60} {}", cell.name(), published(&cell));
        }
        return Ok(exit::DONE);
    }
    let config = settings.resolve()?;
    if let Some(cell) = cell {
        let name = cell.name();
        println!("# trainer train --row {name} --weights CLIP --root DIR --lists DIR");
        println!(
            "# {}, {}. Paper: {}\n",
            cell.row,
            cell.column,
            published(&cell)
        );
    }
    print!("{}", config.to_toml()?);
    Ok(exit::DONE)
}

fn published(cell: &Cell) -> String {
    match cell.paper {
        Some(paper) => format!("{paper} {}", cell.more).trim_end().to_owned(),
        None => "-".into(),
    }
}
