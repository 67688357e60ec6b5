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

/// Reads a record that [`write_record`] wrote.
///
/// # Errors
/// [`Error::Disk`], and [`Error::Syntax`] if it has changed since.
pub fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(Error::file("cannot read", path))?;
    let broken = |reason| Error::Syntax {
        origin: path.display().to_string(),
        reason,
    };
    let text = disk::expect_sealed(&bytes).map_err(broken)?;
    serde_json::from_str(&text).map_err(|error| broken(error.to_string()))
}

/// Writes a JSON file atomically.
///
/// # Errors
/// [`Error::Disk`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    Ok(disk::write(path, (pretty(path, value)? + "\n").as_bytes())?)
}

/// Writes a JSON object atomically, with its SHA-256 as its last field.
///
/// # Errors
/// [`Error::Disk`].
pub fn write_record<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = disk::seal(&pretty(path, value)?);
    Ok(disk::write(path, text.as_bytes())?)
}

fn pretty<T: Serialize>(path: &Path, value: &T) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Syntax {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })
}
