//! `trainer export-embeddings`: frame features as files for other programs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clips::Ended;
use trainer::run::{Embeddings, Session};

use super::exit;
use super::settings::Settings;

/// Write the frame features of every video of a data set or folder for other programs.
///
/// OUT gets embeddings.safetensors with frames [N, F, D], their mean pooled [N, D] and labels [N]; the
/// same as .npy files; clips.json with each row's id, the SHA-256 of its file, its labels and its
/// part of every split; and about.json. Features are as the image tower projects them, f32, not
/// normalised, with the test views of the configuration; those that are cached are not computed
/// again. docs/datasets.md has the lines by which MTEB's video benchmark reads them.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// The folder to write.
    #[arg(long, short, value_name = "DIR", default_value = "embeddings")]
    out: PathBuf,
}

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
    println!(
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
