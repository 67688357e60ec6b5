//! Tables of class names.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::collect::At;
use super::content::claims_video;
use super::list_lines::{Separator, unquoted};
use super::text::{self, Line};
use crate::class_name::{ClassName, twins};
use crate::error::{Error, Result};
use crate::names::named;

/// Names of the column of numbers in a table with a header.
const NUMBER: [&str; 8] = [
    "id",
    "index",
    "number",
    "class_id",
    "label_id",
    "class_idx",
    "label_idx",
    "idx",
];

/// Names of the column of names.
const NAME: [&str; 9] = [
    "name",
    "class_name",
    "label_name",
    "class",
    "label",
    "action",
    "category",
    "text",
    "classname",
];

/// Reads class names with the numbers that lists give them:
///
/// - `1 ApplyEyeMakeup`, `1: ApplyEyeMakeup`, or the number last; numbers may have gaps;
/// - a table separated by commas, semicolons or tabs, with a header such as `id,name` or without;
/// - JSON: a list of names or of objects with an `id` and a `name`, or a map from numbers to names
///   or from names to numbers;
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
        None => match refuse_clips(path, &lines)
            .and_then(|()| table(path, &lines))?
            .or_else(|| numbered(&lines))
        {
            Some(pairs) => pairs,
            None => one_a_line(path, &lines)?,
        },
    };
    let mut classes = BTreeMap::new();
    let pairs: Vec<Pair> = pairs
        .into_iter()
        .map(|(line, number, name)| (line, number, unquoted(name.trim())))
        .collect();
    if let Some((one, other)) = twins(pairs.iter().map(|(_, _, name)| name.as_str())) {
        let pair = |place: usize| {
            pairs
                .get(place)
                .map_or((0, ""), |(line, _, name)| (*line, name))
        };
        let ((first, one), (line, other)) = (pair(one), pair(other));
        let place = if first == 0 {
            String::new()
        } else {
            format!(" of line {first}")
        };
        let at = At { list: path, line };
        return Err(at.fail(format!(
            "'{other}' and '{one}'{place} are two spellings of one class"
        )));
    }
    for (line, number, name) in pairs {
        let at = At { list: path, line };
        let class = ClassName::new(name);
        if class.raw().is_empty() {
            return Err(at.fail("expected a class name, got nothing"));
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
        // A name in brackets: `[silence]`.
        Err(_)
            if text
                .trim_end()
                .lines()
                .all(|line| line.ends_with([']', '}']))
                && text.lines().count() > 1 =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(Error::Content {
                path: path.into(),
                what: format!("looks like JSON and is not: {error}"),
            });
        }
    };
    let number = |value: &Value| match value {
        Value::String(text) => integer(text),
        value => value.as_i64(),
    };
    let pairs: Option<Vec<Pair>> = match &value {
        Value::Array(entries) => (0..)
            .zip(entries)
            .map(|(place, entry)| match entry {
                Value::Object(fields) => {
                    let field = |names: &[&str]| names.iter().find_map(|name| fields.get(*name));
                    Some((
                        0,
                        number(field(&NUMBER)?)?,
                        field(&NAME)?.as_str()?.to_owned(),
                    ))
                }
                entry => Some((0, place, entry.as_str()?.to_owned())),
            })
            .collect(),
        Value::Object(map) => {
            let named = map
                .iter()
                .map(|(key, name)| Some((0, integer(key)?, name.as_str()?.to_owned())));
            let numbered = map
                .iter()
                .map(|(name, value)| Some((0, number(value)?, name.clone())));
            named.collect::<Option<_>>().or_else(|| numbered.collect())
        }
        _ => None,
    };
    pairs.map(Some).ok_or_else(|| Error::Content {
        path: path.into(),
        what: "expected a JSON list of names, or a map between numbers and names".into(),
    })
}

/// A row's line and its fields.
type Fields = (usize, Vec<String>);

/// A table of columns; `None` if the lines are not one.
fn table(path: &Path, lines: &[Line<'_>]) -> Result<Option<Vec<Pair>>> {
    for separator in [Separator::Tab, Separator::Semicolon, Separator::Comma] {
        let rows: Vec<Fields> = lines
            .iter()
            .map(|line| (line.number, separator.fields(line.text)))
            .collect();
        let has_numbers = |rows: &[Fields]| {
            let rows = rows.get(1..).unwrap_or_default();
            (0..rows.first().map_or(0, |(_, fields)| fields.len()))
                .any(|column| numbers(rows, column).is_some())
        };
        let width = rows.first().map_or(0, |(_, fields)| fields.len());
        if width < 2 || rows.iter().any(|(_, fields)| fields.len() != width) {
            continue;
        }
        match columns(&rows, width) {
            Some((number, name)) => return pairs(path, rows, number, name).map(Some),
            // Names may hold commas: `walk, slowly`.
            None if separator != Separator::Tab && !has_numbers(&rows) => {}
            None => {
                let (_, first) = rows.into_iter().next().unwrap_or_default();
                return Err(Error::Content {
                    path: path.into(),
                    what: format!(
                        "looks like a table of the columns {}; expected a number and a name a \
                         line, a header with 'id' and 'name', or one name a line",
                        named(&first)
                    ),
                });
            }
        }
    }
    Ok(None)
}

fn named_column(header: &[String], names: &[&str]) -> Option<usize> {
    let places = |name: &&str| {
        header
            .iter()
            .position(|field| field.eq_ignore_ascii_case(name))
    };
    names.iter().find_map(places)
}

/// A column, if it holds numbers only.
fn numbers(rows: &[Fields], column: usize) -> Option<Vec<i64>> {
    let number = |(_, fields): &Fields| integer(fields.get(column)?);
    rows.iter()
        .map(number)
        .collect::<Option<Vec<i64>>>()
        .filter(|numbers| !numbers.is_empty())
}

/// The columns of numbers and of names.
fn columns(rows: &[Fields], width: usize) -> Option<(usize, usize)> {
    let ((_, first), others) = rows.split_first()?;
    let other = |number: usize| (width == 2).then(|| 1 - number);
    if first.iter().any(|field| integer(field).is_some()) {
        let number = (0..width).find(|column| numbers(rows, *column).is_some())?;
        return Some((number, other(number)?));
    }
    let name = named_column(first, &NAME);
    if let (Some(number), Some(name)) = (named_column(first, &NUMBER), name) {
        return Some((number, name));
    }
    // A header in other words: numbers in order, or a column called "label" beside one of names.
    let known = |column: usize| {
        let field = first.get(column).map(|field| field.to_lowercase());
        field.is_some_and(|field| NAME.contains(&field.as_str()))
    };
    let number = (0..width)
        .filter(|column| Some(*column) != name)
        .find(|column| {
            let in_order = |pair: &[i64]| matches!(pair, [a, b] if a + 1 == *b);
            numbers(others, *column)
                .is_some_and(|numbers| known(*column) || numbers.windows(2).all(in_order))
        })?;
    Some((number, name.or_else(|| other(number))?))
}

/// The pairs of a table, without its header.
fn pairs(path: &Path, rows: Vec<Fields>, number: usize, name: usize) -> Result<Vec<Pair>> {
    let mut pairs = Vec::with_capacity(rows.len());
    for (place, (line, fields)) in rows.into_iter().enumerate() {
        let field = |column: usize| fields.get(column).cloned().unwrap_or_default();
        match integer(&field(number)) {
            Some(number) => pairs.push((line, number, field(name))),
            None if place == 0 => {}
            None => {
                let at = At { list: path, line };
                return Err(at.fail(format!("expected a number, got '{}'", field(number))));
            }
        }
    }
    Ok(pairs)
}

/// # Errors
/// Most lines begin with the name of a video.
fn refuse_clips(path: &Path, lines: &[Line<'_>]) -> Result<()> {
    let clips = lines.iter().filter(|line| {
        let first = line.text.split([' ', '\t', ',', ';']).next();
        first.is_some_and(claims_video)
    });
    if let (Some(line), true) = (clips.clone().next(), 2 * clips.count() > lines.len()) {
        let at = At {
            list: path,
            line: line.number,
        };
        return Err(at.fail(format!(
            "expected a class name; '{}' looks like a list of clips",
            line.text
        )));
    }
    Ok(())
}

/// `1 ApplyEyeMakeup` or `ApplyEyeMakeup 1` in every line, numbers from 0 or 1: other names begin
/// or end with numbers as well.
fn numbered(lines: &[Line<'_>]) -> Option<Vec<Pair>> {
    let before = |line: &Line<'_>| {
        let (number, name) = line.text.split_once(char::is_whitespace)?;
        let number = integer(number.trim_end_matches(':'))?;
        Some((line.number, number, name.trim().to_owned()))
    };
    let after = |line: &Line<'_>| {
        let (name, number) = line.text.rsplit_once(char::is_whitespace)?;
        Some((line.number, integer(number)?, name.trim().to_owned()))
    };
    let from_the_start =
        |pairs: &Vec<Pair>| pairs.iter().any(|(_, number, _)| (0..=1).contains(number));
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
    if let [line] = lines
        && line.text.contains([',', ';', '\t'])
    {
        let at = At {
            list: path,
            line: line.number,
        };
        return Err(at.fail(format!("expected one name a line, got '{}'", line.text)));
    }
    let pair = |(number, line): (i64, &Line<'_>)| (line.number, number, line.text.to_owned());
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
