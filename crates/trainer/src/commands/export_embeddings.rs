//! `trainer export-embeddings`: frame features as files for other programs.

use anyhow::Result;
use cli::export_embeddings::Arguments;
use clips::Ended;
use trainer::run::{Embeddings, Session};

use super::exit;
use super::settings::Configured as _;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let session = Session::open(
        arguments.settings.resolve()?,
        super::install_interrupt()?,
        arguments.settings.quiet,
    )?;
    session.notes().for_each(|note| eprintln!("note: {note}"));
    let Ended::Done(embeddings) = Embeddings::of(&session)? else {
        return Ok(super::stopped());
    };
    embeddings.save(&arguments.out)?;
    for (id, reason) in &embeddings.skipped {
        eprintln!("skipped: {id}: {reason}");
    }
    say!(
        "{}: frames {:?}, {} videos cannot be decoded",
        arguments.out.display(),
        embeddings.size(),
        embeddings.skipped.len()
    );
    Ok(match embeddings.skipped.is_empty() {
        true => exit::DONE,
        false => exit::PARTIAL,
    })
}
