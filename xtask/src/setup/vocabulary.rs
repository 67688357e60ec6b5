//! OpenAI's byte-pair vocabulary, for checkpoints without a tokenizer.

use std::fs;
use std::path::PathBuf;

use hub::sha256_of;

use super::wheels::open_clip;
use crate::archive::zip::unpack;
use crate::places::{Places, lock, make_folder, move_to};
use crate::registry::{Registry, check_hash};
use crate::{Error, Result};

/// OpenAI's name of the file.
const FILE: &str = "bpe_simple_vocab_16e6.txt.gz";
/// The hash of OpenAI's file.
const SHA256: &str = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a";

/// The path of the vocabulary.
pub(crate) fn path(places: &Places) -> PathBuf {
    places.data.join(FILE)
}

/// Whether the file exists with the right content.
pub(crate) fn is_present(places: &Places) -> bool {
    sha256_of(&path(places)).is_ok_and(|hash| hash == SHA256)
}

/// Fetches the vocabulary if it is missing. Returns whether it was.
pub(crate) fn ensure(places: &Places, registry: &Registry) -> Result<bool> {
    if is_present(places) {
        return Ok(false);
    }
    let _lock = lock(&places.data.join(".lock"))?;
    if is_present(places) {
        return Ok(false);
    }
    let wheel = registry.fetch(&open_clip(), &places.cache.join("downloads"))?;
    make_folder(&places.data)?;
    let unpacked = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(&places.data)
        .map_err(Error::io("cannot create a folder in", &places.data))?;
    let entry = format!("open_clip/{FILE}");
    unpack(&wheel, unpacked.path(), "vocabulary", |name| {
        (name == entry).then(|| FILE.into())
    })?;
    let file = unpacked.path().join(FILE);
    let what = format!("{entry} in {}", wheel.display());
    check_hash(&what, SHA256, sha256_of(&file)?)?;
    fs::File::open(&file)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("cannot sync", &file))?;
    move_to(&file, &path(places))?;
    let _ = fs::remove_file(&wheel);
    Ok(true)
}
