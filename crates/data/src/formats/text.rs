//! List files as people keep them: with byte-order marks, CRLF, empty lines, comments.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// One line that says something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// Without surrounding spaces.
    pub(crate) text: &'a str,
}

/// The file as text, without a byte-order mark, its lines ended by `\n`. UTF-16 with a byte-order
/// mark, as Windows writes it, is text as well.
///
/// # Errors
/// It cannot be read, or is not Unicode; the error names the line.
pub(crate) fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io("cannot read", path))?;
    if let Some(text) = utf16(&bytes) {
        return Ok(unix_lines(text));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        Error::Line {
            path: path.into(),
            line: good.iter().filter(|byte| **byte == b'\n').count() + 1,
            what: "is not UTF-8 text; save it as UTF-8".into(),
        }
    })?;
    Ok(unix_lines(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    }))
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (bytes, little) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, true),
        [0xfe, 0xff, rest @ ..] => (rest, false),
        _ => return None,
    };
    let (units, rest) = bytes.as_chunks::<2>();
    let unit = |bytes: &[u8; 2]| match little {
        true => u16::from_le_bytes(*bytes),
        false => u16::from_be_bytes(*bytes),
    };
    let text = char::decode_utf16(units.iter().map(unit)).collect::<Result<_, _>>();
    text.ok().filter(|_| rest.is_empty())
}

fn unix_lines(text: String) -> String {
    match text.contains('\r') {
        true => text.replace("\r\n", "\n").replace('\r', "\n"),
        false => text,
    }
}

/// The lines that are neither empty nor a comment. A comment starts with `#` and a space:
/// file names may start with `#`.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().enumerate().filter_map(|(place, line)| {
        let text = line.trim();
        let comment = text == "#" || text.starts_with("# ") || text.starts_with("#\t");
        (!text.is_empty() && !comment).then_some(Line {
            number: place + 1,
            text,
        })
    })
}

/// The fields of one row of a CSV file, with the row's line.
pub(crate) type CsvRow<const N: usize> = (usize, [String; N]);

/// The named columns of a CSV file with a header, without surrounding spaces.
///
/// # Errors
/// The file cannot be read, a column is absent, or a row has more or fewer fields than the
/// header.
pub(crate) fn csv_rows<const N: usize>(path: &Path, columns: [&str; N]) -> Result<Vec<CsvRow<N>>> {
    let text = read(path)?;
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|error| csv_error(path, &error))?
        .clone();
    let mut places = [0; N];
    for (place, name) in places.iter_mut().zip(columns) {
        let found = header.iter().position(|column| column.trim() == name);
        *place = found.ok_or_else(|| Error::Line {
            path: path.into(),
            line: 1,
            what: format!(
                "there is no column '{name}'; expected {}",
                columns.join(", ")
            ),
        })?;
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| csv_error(path, &error))?;
        let field = |place: usize| record.get(place).unwrap_or_default().trim().to_owned();
        rows.push((csv_line(record.position()), places.map(field)));
    }
    Ok(rows)
}

/// What a CSV reader refuses, with the line.
pub(crate) fn csv_error(path: &Path, error: &csv::Error) -> Error {
    Error::Line {
        path: path.into(),
        line: csv_line(error.position()).max(1),
        what: error.to_string(),
    }
}

/// The line of a CSV record.
pub(crate) fn csv_line(position: Option<&csv::Position>) -> usize {
    position.map_or(0, |at| usize::try_from(at.line()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn empty_lines_and_comments_say_nothing() {
        let text = "a 1\r\n\r\n# comment\n#1_clip.avi 2\n  \n\tb 3 \n#\n";
        let found: Vec<_> = lines(text).map(|line| (line.number, line.text)).collect();
        assert_eq!(found, [(1, "a 1"), (4, "#1_clip.avi 2"), (6, "b 3")]);
    }
}
