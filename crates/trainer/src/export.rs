//! A trained run as a folder for another machine or a hub: [`recogniser::export`] with a model card.

mod model_card;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use clip_backbone::Checkpoint;
use disk::TemporaryFolder;
use recogniser::newest;

use self::model_card::ModelCard;
use crate::json::read_record;
use crate::run::{RESULT, Record, TrialResult};
use crate::start::trained_of;
use crate::{Error, Result};

/// Writes the newest checkpoint of the run in `folder` into `out`, with its backbone, from its place in
/// training or from `backbone`, and a card that states `license`: all of it or nothing. Returns sentences about what the card
/// lacks.
///
/// # Errors
/// [`Error::NotEmpty`] if `out` holds anything; [`Error::Checkpoint`] for a run without a checkpoint and
/// for another backbone; any error of reading or writing a file.
pub fn export(
    folder: &Path,
    backbone: Option<&Path>,
    license: &str,
    out: &Path,
) -> Result<Vec<String>> {
    expect_empty(out)?;
    let loaded = newest::<Record>(folder)?.ok_or_else(|| Error::Checkpoint {
        path: folder.into(),
        reason: "no checkpoint was written yet".into(),
    })?;
    let card = &loaded.state.card;
    let own = &card.backbone;
    let checkpoint =
        Checkpoint::open_as(backbone.unwrap_or(&own.place), own.architecture.as_deref())?;
    let sha256 = checkpoint.sha256()?;
    if sha256 != own.sha256 {
        return Err(Error::mismatch(
            format!("SHA-256 of the backbone {}", checkpoint.place().display()),
            format!("{}, that of the training", own.sha256),
            sha256,
        ));
    }
    let result = folder.join(RESULT);
    let result = disk::is_file(&result)?.then(|| read_record::<TrialResult>(&result));
    let result = result.transpose()?;
    let whole = TemporaryFolder::of(out)?;
    recogniser::export(card, trained_of(&loaded)?, &checkpoint, whole.path())?;
    let written = ModelCard {
        record: &loaded.state,
        result: result.as_ref(),
        license,
    };
    let text = written.to_string();
    disk::write(&whole.path().join("README.md"), text.as_bytes())?;
    whole.persist(out)?;
    let unfinished = || {
        format!(
            "{}: not finished, so the card has no results",
            folder.display()
        )
    };
    Ok(result.is_none().then(unfinished).into_iter().collect())
}

fn expect_empty(out: &Path) -> Result<()> {
    match fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::NotEmpty { folder: out.into() }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("cannot open", out)(error)),
    }
}
