//! Lists of class names.

use std::collections::BTreeMap;
use std::path::Path;

use super::collect::At;
use super::text;
use crate::class_name::ClassName;
use crate::error::{Error, Result};

/// Reads class names with the numbers that lists give them: `1 ApplyEyeMakeup`,
/// `0,abseiling` (with or without an `id,name` header), or one name a line, counted
/// from 0.
///
/// # Errors
/// A number or a name that repeats, a line without a name, an empty file.
pub fn read_class_index(path: &Path) -> Result<BTreeMap<i64, ClassName>> {
    let text = text::read(path)?;
    let lines: Vec<_> = text::lines(&text).collect();
    let numbered = |line: &str| -> Option<(i64, String)> {
        let (number, name) = line.split_once([',', ' ', '\t'])?;
        Some((number.trim().parse().ok()?, unquote(name.trim())))
    };
    // The first line may be a header; the second tells.
    let with_numbers = match lines.as_slice() {
        [] => {
            return Err(Error::Content {
                path: path.into(),
                what: "names no class".into(),
            });
        }
        [only] => numbered(only.text).is_some(),
        [_, second, ..] => numbered(second.text).is_some(),
    };
    let mut classes = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (place, line) in lines.iter().enumerate() {
        let at = At {
            list: path,
            line: line.number,
        };
        let (number, name) = if with_numbers {
            match numbered(line.text) {
                Some(pair) => pair,
                None if place == 0 => continue,
                None => {
                    return Err(at.fail(format!("expected 'number name', got '{}'", line.text)));
                }
            }
        } else {
            (i64::try_from(place).unwrap_or(i64::MAX), unquote(line.text))
        };
        let class = ClassName::new(name);
        if class.raw().is_empty() {
            return Err(at.fail("expected a class name, got nothing"));
        }
        if let Some(first) = keys.insert(class.key(), line.number) {
            return Err(at.fail(format!("class '{class}' was named in line {first}")));
        }
        if classes.insert(number, class).is_some() {
            return Err(at.fail(format!("number {number} was given before")));
        }
    }
    Ok(classes)
}

fn unquote(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("\"\"", "\""))
}
