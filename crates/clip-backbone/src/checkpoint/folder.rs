//! The files of a checkpoint's folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fields::{Fields, read_json};
use crate::{Error, Result};

/// The layouts of a folder: its configuration file, and the weight files that may go with it.
/// Both are in order of preference: the first layout with both is read.
pub(crate) const FOLDERS: [(&str, &[&str]); 2] = [
    (
        "config.json",
        &[
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ],
    ),
    (
        "open_clip_config.json",
        &["open_clip_model.safetensors", "open_clip_pytorch_model.bin"],
    ),
];

/// Files listed in a message.
const LISTED: usize = 8;

/// The files chosen in a folder.
pub(super) struct Files {
    pub(super) config: Option<PathBuf>,
    /// One file, or those of an index.
    pub(super) weights: Vec<PathBuf>,
    /// The choice, if there was one.
    pub(super) note: Option<String>,
}

/// The configuration file that would be read in `folder`.
pub(super) fn find_config(folder: &Path) -> Option<PathBuf> {
    let configs = FOLDERS.iter().map(|(config, _)| folder.join(config));
    configs.into_iter().find(|path| path.is_file())
}

/// The files of the layout that has a weight file or an index of this name, if its configuration is
/// beside it.
pub(super) fn of_file(path: &Path) -> Result<Option<Files>> {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    let layout = FOLDERS
        .iter()
        .find(|(_, weights)| weights.iter().any(|weights| Some(*weights) == name));
    let config = layout.map(|(config, _)| path.with_file_name(config));
    let Some(config) = config.filter(|config| config.is_file()) else {
        return Ok(None);
    };
    Ok(Some(Files {
        note: Some(format!(
            "{} is read with {} beside it",
            path.display(),
            config.file_name().unwrap_or_default().display()
        )),
        config: Some(config),
        weights: files_of(path)?,
    }))
}

/// Finds configuration and weights in `folder`, or the weights alone if it has no configuration
/// and `bare` allows that.
pub(super) fn find(folder: &Path, bare: bool) -> Result<Files> {
    let is_there = |name: &str| folder.join(name).is_file();
    let weights_of = |names: &[&'static str]| names.iter().copied().find(|name| is_there(name));
    let complete = FOLDERS.iter().find_map(|(config, weights)| {
        let config = is_there(config).then_some(*config);
        (config.is_some() || bare).then(|| Some((config, weights_of(weights)?)))?
    });
    let Some((config, weights)) = complete else {
        return Err(nothing_complete(folder, bare));
    };
    let known = FOLDERS
        .iter()
        .flat_map(|(config, weights)| std::iter::once(config).chain(*weights));
    let others = known.filter(|name| {
        let chosen = **name == weights || Some(**name) == config;
        !chosen && is_there(name)
    });
    let others: Vec<_> = others.copied().collect();
    let note = (!others.is_empty()).then(|| {
        let config = config.map_or_else(String::new, |config| format!("{config} with "));
        format!(
            "{}: {config}{weights} is read, not {}",
            folder.display(),
            others.join(", ")
        )
    });
    let path = folder.join(weights);
    Ok(Files {
        config: config.map(|name| folder.join(name)),
        weights: files_of(&path)?,
        note,
    })
}

/// A weight file, or those that an index lists.
fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    match path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        true => shards(path),
        false => Ok(vec![path.into()]),
    }
}

/// The files that an index lists, each a plain name in the index's folder.
fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let value = read_json(index)?;
    let root = Fields::of(index, &value)?;
    let Some(serde_json::Value::Object(map)) = root.present("weight_map") else {
        return Err(root.wrong("weight_map", "an object", "absent"));
    };
    let mut names = BTreeSet::new();
    for (parameter, file) in map {
        let plain = file.as_str().filter(|name| {
            Path::new(name).file_name() == Some(std::ffi::OsStr::new(name)) && !name.contains('\\')
        });
        match plain {
            Some(name) => names.insert(name),
            None => {
                let field = format!("weight_map.{parameter}");
                return Err(root.wrong(&field, "a file in the same folder", file));
            }
        };
    }
    let paths: Vec<_> = names
        .iter()
        .map(|name| index.with_file_name(name))
        .collect();
    let missing: Vec<_> = (names.iter().zip(&paths))
        .filter(|(_, path)| !path.exists())
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() {
        return Err(Error::Malformed {
            path: index.into(),
            item: "weight_map".into(),
            reason: format!(
                "{} of {} files are missing beside it: {}",
                missing.len(),
                paths.len(),
                first(&missing)
            ),
        });
    }
    Ok(paths)
}

/// The error for a folder without a complete layout, with what there is.
fn nothing_complete(folder: &Path, bare: bool) -> Error {
    let config = FOLDERS
        .iter()
        .find(|(config, _)| folder.join(config).is_file());
    let wanted = match config {
        Some((config, weights)) => format!("{} beside {config}", weights.join(" or ")),
        None if bare => "a file of weights with one of the known names".into(),
        None => "config.json or open_clip_config.json, with weights beside it".into(),
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.path().is_dir() {
                true => format!("{name}/ (a directory)"),
                false => name,
            }
        })
        .collect();
    names.sort();
    let found = match names.is_empty() {
        true => "the folder is empty".into(),
        false => format!("found {}", first(&names)),
    };
    Error::NoCheckpoint {
        path: folder.into(),
        expected: format!("{wanted}; {found}"),
    }
}

/// The first few of `names`.
fn first<S: AsRef<str>>(names: &[S]) -> String {
    let listed: Vec<&str> = names.iter().take(LISTED).map(AsRef::as_ref).collect();
    let listed = listed.join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

#[cfg(all(test, feature = "hub"))]
mod tests {
    use super::FOLDERS;

    /// The crate reads folders without the feature `hub`, so it has a table of its own.
    #[test]
    fn a_folder_is_chosen_from_as_a_download_is() {
        assert_eq!(FOLDERS.as_slice(), hub::CLIP.layouts);
    }
}
