//! A run as a folder that holds everything: for another machine, or for a hub.
//!
//! ```text
//! config.json, preprocessor_config.json, tokenizer.json, model.safetensors    the frozen CLIP
//! trained.safetensors                                                         the trained tensors
//! seeing_in_flowing.json                                                      the card
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use clip_backbone::Checkpoint;
use clips::Identity;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::{Tensors, decode_tensors, encode_tensors, sealed};
use crate::run_folder::Card;
use crate::{Error, Result};

/// Written last: a folder without it is not an exported run.
const CARD: &str = "seeing_in_flowing.json";
const PARAMETERS: &str = "trained.safetensors";

/// The content of the card's file, which ends with its own SHA-256.
#[derive(Serialize, Deserialize)]
struct Exported {
    #[serde(flatten)]
    card: Card,
    /// SHA-256 of the trained tensors' file.
    trained: String,
}

/// Whether `folder` holds an exported run.
#[must_use]
pub fn is_exported(folder: &Path) -> bool {
    folder.join(CARD).is_file()
}

/// Writes a trained model and its `backbone` into `folder`. The backbone's files are in Hugging Face's
/// layout, their numbers unchanged; `config.json` also has `id2label`.
///
/// # Errors
/// The backbone has no such layout, or a file cannot be read or written.
pub fn export(card: &Card, trained: &Tensors, backbone: &Checkpoint, folder: &Path) -> Result<()> {
    let names = match card.names.is_empty() {
        true => &card.labels,
        false => &card.names,
    };
    let numbered = || names.iter().enumerate();
    let id2label: Map<String, Value> = numbered()
        .map(|(id, name)| (id.to_string(), name.as_str().into()))
        .collect();
    let label2id: Map<String, Value> = numbered()
        .map(|(id, name)| (name.clone(), id.into()))
        .collect();
    let labels = [("id2label", id2label), ("label2id", label2id)];
    let labels = labels.map(|(key, map)| (key.to_owned(), map.into()));
    backbone.save(folder, labels.into_iter().collect())?;
    let mut card = card.clone();
    card.backbone = Identity {
        place: PathBuf::from("."),
        architecture: None,
        sha256: Checkpoint::open(folder)?.sha256()?.to_owned(),
        ..card.backbone
    };
    let tensors = encode_tensors(trained)?;
    disk::write(&folder.join(PARAMETERS), &tensors)?;
    let trained = disk::sha256(tensors);
    let exported = sealed(&Exported { card, trained })?;
    Ok(disk::write(&folder.join(CARD), &exported)?)
}

/// The exported run in `folder`.
///
/// # Errors
/// [`Error::Checkpoint`] for a missing or damaged file.
pub(crate) fn read_exported(folder: &Path) -> Result<(Card, Tensors)> {
    let refuse = |reason: String| Error::Checkpoint {
        path: folder.into(),
        reason,
    };
    let read = |name: &str| {
        fs::read(folder.join(name)).map_err(|error| refuse(format!("cannot read {name}: {error}")))
    };
    let text =
        disk::expect_sealed(&read(CARD)?).map_err(|reason| refuse(format!("{CARD} {reason}")))?;
    let Exported { card, trained } =
        serde_json::from_str(&text).map_err(|error| refuse(format!("{CARD}: {error}")))?;
    let tensors = read(PARAMETERS)?;
    if disk::sha256(&tensors) != trained {
        return Err(refuse(format!(
            "{PARAMETERS} has changed: its SHA-256 differs"
        )));
    }
    let parameters =
        decode_tensors(&tensors).map_err(|reason| refuse(format!("{PARAMETERS}: {reason}")))?;
    Ok((card, parameters))
}
