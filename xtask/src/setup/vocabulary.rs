//! OpenAI's byte-pair vocabulary, for checkpoints that bring no tokenizer of their own.

use std::fs;
use std::path::PathBuf;

use hub::sha256_of;

use crate::archive::unpack;
use crate::places::{Places, lock, make_folder, sync_folder};
use crate::registry::Registry;
use crate::setup::wheels::OPEN_CLIP;
use crate::{Error, Result};

/// The file's name, as OpenAI gave it.
pub const FILE: &str = "bpe_simple_vocab_16e6.txt.gz";
/// The hash of the file OpenAI published.
pub const SHA256: &str = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a";

/// Where the vocabulary lies for this user.
#[must_use]
pub fn path(places: &Places) -> PathBuf {
    places.data.join(FILE)
}

/// Whether the vocabulary is there, and is the right one.
#[must_use]
pub fn present(places: &Places) -> bool {
    sha256_of(&path(places)).is_ok_and(|hash| hash == SHA256)
}

/// Places the vocabulary; says whether it had to.
///
/// # Errors
/// What [`Registry::fetch`] and [`unpack`] meet, and [`hub::Error::Content`] where the wheel
/// holds another file under that name.
pub fn ensure(places: &Places, registry: &Registry) -> Result<bool> {
    if present(places) {
        return Ok(false);
    }
    let _lock = lock(&places.data.join(".lock"))?;
    if present(places) {
        return Ok(false);
    }
    let downloads = places.cache.join("downloads");
    let wheel = registry.fetch(&OPEN_CLIP, &downloads)?;
    make_folder(&places.data)?;
    let unpacked = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(&places.data)
        .map_err(Error::io("create in", &places.data))?;
    let entry = format!("open_clip/{FILE}");
    unpack(&wheel, unpacked.path(), "vocabulary", |name| {
        (name == entry).then(|| FILE.into())
    })?;
    let file = unpacked.path().join(FILE);
    let sha256 = sha256_of(&file)?;
    if sha256 != SHA256 {
        return Err(hub::Error::Content {
            what: format!("{entry} in {}", wheel.display()),
            expected: format!("sha256 {SHA256}"),
            got: sha256,
        }
        .into());
    }
    fs::File::open(&file)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync", &file))?;
    let target = path(places);
    fs::rename(&file, &target).map_err(Error::io("rename to", &target))?;
    sync_folder(&places.data);
    let _ = fs::remove_file(&wheel);
    Ok(true)
}
