//! Results as JSON files.

use std::path::Path;

use serde::Serialize;

use crate::{Error, Result};

/// Reads a JSON file.
///
/// # Errors
/// [`Error::Disk`] and [`Error::Syntax`], naming the file.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(Error::file("cannot read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Syntax {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// Writes a JSON file atomically.
///
/// # Errors
/// [`Error::Disk`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Error::Syntax {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })?;
    text.push(b'\n');
    Ok(disk::write(path, &text)?)
}
