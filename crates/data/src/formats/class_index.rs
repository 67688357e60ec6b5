//! Tables of class names.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::collect::At;
use super::content::claims_video;
use super::list_lines::{Separator, unquoted};
use super::text::{self, Line};
use crate::class_name::ClassName;
use crate::error::{Error, Result};

/// Names of the column of numbers in a table with a header.
const NUMBER: [&str; 8] = [
    "id", "index", "number", "class_id", "label_id", "class_idx", "label_idx", "idx",
];

/// Names of the column of names.
const NAME: [&str; 9] = [
    "name", "class_name", "label_name", "class", "label", "action", "category", "text", "classname",
];

/// Reads class names with the numbers that lists give them:
///
/// - `1 ApplyEyeMakeup`, or the number last; numbers may have gaps;
/// - a table separated by commas, semicolons or tabs, with a header such as `id,name` or without;
/// - JSON: a list of names, or a map from numbers to names or from names to numbers;
/// - one name a line, counted from 0.
///
/// # Errors
/// A number or a name that repeats, a line without a name, an empty file, and a table whose names
/// are in no known column, or a list of clips.
pub fn read_class_index(path: &Path) -> Result<BTreeMap<i64, ClassName>> {
    let text = text::read(path)?;
    let lines: Vec<_> = text::lines(&text).collect();
    let pairs = match json(path, &text)? {
        Some(pairs) => pairs,
        None => match table(path, &lines)?.or_else(|| numbered(&lines)) {
            Some(pairs) => pairs,
            None => one_a_line(path, &lines)?,
        },
    };
    let mut classes = BTreeMap::new();
    let mut keys: BTreeMap<String, (usize, ClassName)> = BTreeMap::new();
    for (line, number, name) in pairs {
        let at = At { list: path, line };
        let class = ClassName::new(name.trim());
        if class.raw().is_empty() {
            return Err(at.fail("expected a class name, got nothing"));
        }
        if let Some((first, other)) = keys.insert(class.key(), (line, class.clone())) {
            return Err(at.fail(match first {
                0 => format!("classes '{other}' and '{class}' are one name"),
                _ => format!("class '{class}' was named in line {first}, as '{other}'"),
            }));
        }
        if classes.insert(number, class).is_some() {
            return Err(at.fail(format!("number {number} was given before")));
        }
    }
    if classes.is_empty() {
        return Err(Error::Content {
            path: path.into(),
            what: "names no class".into(),
        });
    }
    Ok(classes)
}

/// A class with its line, or 0, and its number.
type Pair = (usize, i64, String);

/// A list or map of JSON; `None` for other text.
fn json(path: &Path, text: &str) -> Result<Option<Vec<Pair>>> {
    if !text.trim_start().starts_with(['[', '{']) {
        return Ok(None);
    }
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) if path.extension().is_some_and(|end| end == "json") => {
            return Err(Error::Content {
                path: path.into(),
                what: format!("is not JSON: {error}"),
            });
        }
        Err(_) => return Ok(None),
    };
    let number = |value: &Value| match value {
        Value::String(text) => integer(text),
        value => value.as_i64(),
    };
    let pairs: Option<Vec<Pair>> = match &value {
        Value::Array(names) => (0..)
            .zip(names)
            .map(|(number, name)| Some((0, number, name.as_str()?.to_owned())))
            .collect(),
        Value::Object(map) => {
            let named = map.iter().map(|(key, name)| Some((0, integer(key)?, name.as_str()?.to_owned())));
            let numbered = map.iter().map(|(name, value)| Some((0, number(value)?, name.clone())));
            named.collect::<Option<_>>().or_else(|| numbered.collect())
        }
        _ => None,
    };
    pairs.map(Some).ok_or_else(|| Error::Content {
        path: path.into(),
        what: "expected a JSON list of names, or a map between numbers and names".into(),
    })
}

/// A table of columns; `None` if the lines are not one.
fn table(path: &Path, lines: &[Line<'_>]) -> Result<Option<Vec<Pair>>> {
    let separators = Separator::ALL.into_iter().filter(|separator| *separator != Separator::Blanks);
    for separator in separators {
        let rows: Vec<(usize, Vec<String>)> = lines
            .iter()
            .map(|line| (line.number, separator.fields(line.text)))
            .collect();
        let Some(((_, first), others)) = rows.split_first() else {
            return Ok(None);
        };
        let width = first.len();
        if width < 2 || others.iter().any(|(_, fields)| fields.len() != width) {
            continue;
        }
        let integers = |rows: &[(usize, Vec<String>)], column: usize| {
            let mut fields = rows.iter().map(|(_, fields)| fields.get(column));
            !rows.is_empty() && fields.all(|field| field.is_some_and(|field| integer(field).is_some()))
        };
        let named = |names: &[&str]| {
            let place = |name: &&str| first.iter().position(|column| column.eq_ignore_ascii_case(name));
            names.iter().find_map(place)
        };
        let is_header = first.iter().all(|field| integer(field).is_none());
        let mut numbers = (0..width).filter(|column| integers(others, *column) && (is_header || integers(&rows, *column)));
        let number = named(&NUMBER).filter(|_| is_header).or_else(|| numbers.next());
        let names = |rows: &[(usize, Vec<String>)], name: usize, number: Option<usize>| {
            let rows = (0..).zip(rows);
            let pair = |(place, (line, fields)): (i64, &(usize, Vec<String>))| {
                let name = fields.get(name).cloned().unwrap_or_default();
                let number = match number {
                    Some(column) => integer(fields.get(column)?)?,
                    None => place,
                };
                Some((*line, number, name))
            };
            rows.map(pair).collect::<Option<Vec<Pair>>>()
        };
        let name = is_header.then(|| named(&NAME).filter(|name| Some(*name) != number)).flatten();
        let other = |number: usize| (0..width).find(|column| *column != number);
        let found = match (number, name) {
            (Some(number), Some(name)) => names(others, name, Some(number)),
            (Some(number), None) if width == 2 => {
                let rows = if is_header && !others.is_empty() { others } else { &rows };
                names(rows, other(number).unwrap_or(0), Some(number))
            }
            (None, Some(name)) if named(&NAME).is_some() && width > 1 && separator != Separator::Comma => {
                names(others, name, None)
            }
            // Names may hold commas: `walk, slowly`.
            (None, _) if separator == Separator::Comma => continue,
            _ => None,
        };
        return found.map(Some).ok_or_else(|| Error::Content {
            path: path.into(),
            what: format!(
                "looks like a table of {width} columns, separated by {}: '{}'; expected two, a \
                 number and a name, or a header with 'id' and 'name', or one name a line",
                separator.name(),
                first.join("', '")
            ),
        });
    }
    Ok(None)
}

/// `1 ApplyEyeMakeup` or `ApplyEyeMakeup 1` in every line, numbers from 0 or 1: other names begin
/// or end with numbers as well.
fn numbered(lines: &[Line<'_>]) -> Option<Vec<Pair>> {
    let before = |line: &Line<'_>| {
        let (number, name) = line.text.split_once(char::is_whitespace)?;
        Some((line.number, integer(number)?, name.trim().to_owned()))
    };
    let after = |line: &Line<'_>| {
        let (name, number) = line.text.rsplit_once(char::is_whitespace)?;
        Some((line.number, integer(number)?, name.trim().to_owned()))
    };
    let from_the_start = |pairs: &Vec<Pair>| pairs.iter().any(|(_, number, _)| (0..=1).contains(number));
    let in_order = |pairs: &Vec<Pair>| {
        let mut neighbours = pairs.windows(2);
        neighbours.all(|pair| matches!(pair, [(_, a, x), (_, b, y)] if a + 1 == *b && x != y))
    };
    let before: Option<Vec<Pair>> = lines.iter().map(before).collect();
    let after = || lines.iter().map(after).collect::<Option<Vec<Pair>>>();
    before
        .filter(from_the_start)
        .or_else(|| after().filter(from_the_start).filter(in_order))
        .filter(|pairs| !pairs.is_empty())
}

fn one_a_line(path: &Path, lines: &[Line<'_>]) -> Result<Vec<Pair>> {
    let clips = lines.iter().filter(|line| {
        let first = line.text.split([' ', '\t', ',', ';']).next();
        first.is_some_and(claims_video)
    });
    if let (Some(line), true) = (clips.clone().next(), 2 * clips.count() > lines.len()) {
        let at = At { list: path, line: line.number };
        return Err(at.fail(format!("expected a class name; '{}' looks like a list of clips", line.text)));
    }
    let pair = |(number, line): (i64, &Line<'_>)| (line.number, number, unquoted(line.text));
    Ok((0..).zip(lines).map(pair).collect())
}

/// An integer, which some tools write as `1.0`.
pub(super) fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    whole.parse().ok()
}
