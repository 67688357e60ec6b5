//! Split lists that others have published: `file label`, one clip a line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::formats::text;
use crate::formats::{Missing, claims_video};
use crate::manifest::Manifest;

/// What a published list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Positions in the manifest, sorted.
    pub positions: Vec<usize>,
    /// Named clips that the manifest does not have.
    pub missing: Vec<String>,
}

/// The name of a video without its ending.
fn without_ending(name: &str) -> Option<&str> {
    name.rsplit_once('.')
        .filter(|_| claims_video(name))
        .map(|(stem, _)| stem)
}

/// Reads a list of `file label` lines, such as the field's fixed k-shot and base-to-novel
/// lists, against `manifest`.
///
/// Clips are found by file name, whatever its ending. The label numbers follow each list's own order, so they
/// are not used as labels; but one number must stand for one class throughout.
///
/// # Errors
/// A line that cannot be read, a file named twice, a number that stands for two classes,
/// or (unless `missing` says otherwise) a clip that the manifest does not have.
pub fn read_published(path: &Path, manifest: &Manifest, missing: Missing) -> Result<Published> {
    let mut by_name: HashMap<String, Option<usize>> = HashMap::new();
    for (position, clip) in manifest.clips().iter().enumerate() {
        let name = clip.path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().to_lowercase();
        let stem = without_ending(&name);
        for key in [Some(name.as_str()), stem].into_iter().flatten() {
            // A name that two clips share names neither.
            by_name
                .entry(key.into())
                .and_modify(|known| *known = None)
                .or_insert(Some(position));
        }
    }

    let mut found = Published {
        positions: Vec::new(),
        missing: Vec::new(),
    };
    let mut lines_of: HashMap<String, usize> = HashMap::new();
    let mut class_of: HashMap<&str, (usize, usize)> = HashMap::new();
    let text = text::read(path)?;
    for line in text::lines(&text) {
        let fail = |what: String| Error::Line {
            path: path.into(),
            line: line.number,
            what,
        };
        let (file, label) = line
            .text
            .rsplit_once(char::is_whitespace)
            .ok_or_else(|| fail(format!("expected 'file label', got '{}'", line.text)))?;
        let name = PathBuf::from(file.trim_end());
        let name = name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if let Some(first_line) = lines_of.insert(name.clone(), line.number) {
            return Err(Error::DuplicateClip {
                path: path.into(),
                id: file.into(),
                first_line,
                line: line.number,
            });
        }
        // The copy may have another ending than the published list, or the list none.
        let other = without_ending(&name).and_then(|stem| by_name.get(stem));
        match by_name.get(&name).or(other) {
            None => found.missing.push(file.trim_end().into()),
            Some(None) => return Err(fail(format!("two clips are called '{file}'"))),
            Some(Some(position)) => {
                let class = manifest
                    .clips()
                    .get(*position)
                    .map(crate::manifest::VideoEntry::label);
                let class = class.unwrap_or_default();
                let (known, first) = *class_of.entry(label).or_insert((class, line.number));
                if known != class {
                    return Err(fail(format!(
                        "label {label} stands for another class here than in line {first}"
                    )));
                }
                found.positions.push(*position);
            }
        }
    }
    if missing == Missing::Refuse && !found.missing.is_empty() {
        let names = found.missing.iter().take(3);
        return Err(Error::MissingClips {
            list: path.into(),
            root: manifest.root().into(),
            missing: found.missing.len(),
            listed: lines_of.len(),
            names: names.map(|name| (name.clone(), Vec::new())).collect(),
        });
    }
    found.positions.sort_unstable();
    Ok(found)
}
