//! `trainer export`: a run as a folder for a hub.

use anyhow::{Result, bail};
use cli::export::Arguments;
use trainer::export::export;

use super::exit;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let place = &arguments.run;
    let Some(folder) = recogniser::find(place) else {
        recogniser::expect_not_run(place)?;
        match recogniser::is_exported(place) {
            true => bail!("{} is exported already; copy the folder", place.display()),
            false => bail!(
                "{} is not a run folder: it has neither checkpoints/ nor seed-* folders",
                place.display()
            ),
        }
    };
    let (dir, backbone) = (&arguments.dir, arguments.backbone.as_deref());
    let notes = export(&folder, backbone, &arguments.license, dir)?;
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    if arguments.license == "other" {
        eprintln!("note: the card states no licence: edit its `license`, or give --license");
    }
    say!("{}", dir.display());
    Ok(exit::DONE)
}
