//! Lists without a header: their form is what the lines agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::class_index::integer;
use super::collect::At;
use super::content::claims_video;
use super::list::Row;
use super::parts::Part;
use super::text::Line;
use crate::error::{Error, Result};

/// A list of whose videos half have fewer frames than this is unlikely.
const FEW_FRAMES: i64 = 8;

/// The separator of a list's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Tab,
    Semicolon,
    Comma,
    Blanks,
}

impl Separator {
    pub(super) const ALL: [Self; 4] = [Self::Tab, Self::Semicolon, Self::Comma, Self::Blanks];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tab => "tabs",
            Self::Semicolon => "semicolons",
            Self::Comma => "commas",
            Self::Blanks => "spaces",
        }
    }

    /// The fields of a line, without quotes and surrounding spaces.
    pub(super) fn fields(self, line: &str) -> Vec<String> {
        let delimiter = match self {
            Self::Tab => b'\t',
            Self::Semicolon => b';',
            Self::Comma => b',',
            Self::Blanks => b' ',
        };
        let spaced;
        let line = match self {
            Self::Blanks => {
                spaced = line.replace('\t', " ");
                &spaced
            }
            // A quote after a space is one, too: `a.mp4, "jump, high"`.
            _ => {
                spaced = line.replace(
                    &format!("{} \"", char::from(delimiter)),
                    &format!("{}\"", char::from(delimiter)),
                );
                &spaced
            }
        };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .trim(csv::Trim::All)
            .from_reader(line.as_bytes());
        let record = reader.records().next().and_then(std::result::Result::ok);
        let fields = record.iter().flatten().map(str::to_owned);
        fields
            .filter(|field| self != Self::Blanks || !field.is_empty())
            .collect()
    }
}

/// The names in a text such as `run, "walk, slowly"`: separated by commas, with quotes as in CSV.
#[must_use]
pub fn comma_separated(text: &str) -> Vec<String> {
    Separator::Comma.fields(text)
}

/// One line in its fields.
struct Split {
    line: usize,
    path: String,
    rest: Vec<String>,
}

/// The rows of a list without a header, and a sentence about its form.
///
/// # Errors
/// A line of another form than the others, with both forms; a form that can mean two things.
pub(super) fn plain_rows(list: &Path, lines: &[Line<'_>]) -> Result<(Vec<Row>, String)> {
    let score = |separator: &Separator| {
        let (mut files, mut pairs) = (0, 0);
        for line in lines {
            let fields = match separator {
                Separator::Blanks => {
                    let (path, rest) = blanks(line.text);
                    if rest.is_empty() {
                        vec![path]
                    } else {
                        vec![path, rest]
                    }
                }
                _ => separator.fields(line.text),
            };
            pairs += usize::from(fields.len() > 1);
            files +=
                usize::from(fields.len() > 1 && fields.iter().any(|field| has_extension(field)));
        }
        (files, pairs)
    };
    // The last of equals is taken.
    let separator = Separator::ALL.into_iter().rev().max_by_key(score);
    let separator = separator.unwrap_or(Separator::Blanks);
    let split = match separator {
        Separator::Blanks => split_blanks(lines),
        _ => split_columns(list, lines, separator)?,
    };
    if split.iter().all(|line| line.rest.is_empty()) {
        return folder_rows(list, split);
    }
    let form = Form::of(list, &split)?;
    let mut rows = Vec::with_capacity(split.len());
    for line in split {
        rows.push(form.row(line, list)?);
    }
    let several = rows.iter().filter(|row| row.labels.len() > 1).count();
    let more = match form {
        Form::FramesLabel => "; the numbers of frames are not used".to_owned(),
        _ if several > 0 => format!("; several labels on {several} of them"),
        _ => String::new(),
    };
    let (count, written, separator) = (rows.len(), form.written(), separator.name());
    let note = format!("{count} lines '{written}', separated by {separator}{more}");
    Ok((rows, note))
}

/// Lines that are paths alone: the label is the folder, as in UCF-101's test lists.
fn folder_rows(list: &Path, split: Vec<Split>) -> Result<(Vec<Row>, String)> {
    let mut rows = Vec::with_capacity(split.len());
    for line in split {
        let path = line.path.replace('\\', "/");
        let folder = path.rsplit('/').nth(1).filter(|folder| !folder.is_empty());
        let Some(folder) = folder else {
            let what = format!(
                "expected 'path label', or paths whose folder is the label, got '{}'",
                line.path
            );
            return Err(at(list, Some(&line)).fail(what));
        };
        rows.push(Row {
            line: line.line,
            labels: vec![folder.to_owned()],
            path: line.path,
            ..Row::default()
        });
    }
    let note = format!(
        "{} lines 'path' without a label: the folder is taken for it",
        rows.len()
    );
    Ok((rows, note))
}

/// The meaning of the fields after the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One label, or several where a field holds several numbers.
    Label,
    /// A number of frames, and a label.
    FramesLabel,
    /// Several labels, numbers.
    Labels,
    /// Columns, of which one is words or numbers that are labels, and one may be the part.
    Columns {
        width: usize,
        label: usize,
        part: Option<usize>,
    },
}

impl Form {
    /// The form that most lines have.
    fn of(list: &Path, lines: &[Split]) -> Result<Self> {
        let numbers = |line: &Split| line.rest.iter().all(|field| integer(field).is_some());
        if lines
            .iter()
            .all(|line| numbers(line) || line.rest.is_empty())
        {
            return Self::of_numbers(list, lines);
        }
        let width = most_common(lines.iter().map(|line| line.rest.len()));
        let wide: Vec<&Split> = lines
            .iter()
            .filter(|line| line.rest.len() == width)
            .collect();
        let column = |column: usize, holds: &dyn Fn(&str) -> bool| {
            wide.iter()
                .all(|line| line.rest.get(column).is_some_and(|field| holds(field)))
        };
        if width == 1 {
            return Ok(Self::Label);
        }
        let part = (0..width).find(|place| column(*place, &|field| Part::named(field).is_some()));
        let rest: Vec<usize> = (0..width).filter(|place| Some(*place) != part).collect();
        let words: Vec<usize> = rest
            .iter()
            .copied()
            .filter(|place| !column(*place, &|field| integer(field).is_some()))
            .collect();
        match (words.as_slice(), rest.as_slice()) {
            (&[label], _) | (&[], &[label]) => Ok(Self::Columns { width, label, part }),
            (&[], &[_, label]) if part.is_some() => Ok(Self::Columns { width, label, part }),
            _ => Err(at(list, wide.first().copied()).fail(format!(
                "{} fields after the path, of which any may be the label; expected 'path label', \
                 'path n_frames label' or a header that names the columns",
                width
            ))),
        }
    }

    /// The form of lines with numbers after the path.
    fn of_numbers(list: &Path, lines: &[Split]) -> Result<Self> {
        let width = most_common(lines.iter().map(|line| line.rest.len()));
        let count = |wanted: &dyn Fn(usize) -> bool| {
            let lines = lines.iter().filter(|line| wanted(line.rest.len()));
            lines.count()
        };
        let two = lines.iter().filter_map(|line| match line.rest.as_slice() {
            [first, second] => Some((integer(first)?, integer(second)?)),
            _ => None,
        });
        let (mut first, second): (Vec<i64>, Vec<i64>) = two.unzip();
        let rising = first
            .iter()
            .zip(&second)
            .all(|(first, second)| first < second);
        first.sort_unstable();
        let few = first
            .get(first.len() / 2)
            .is_some_and(|median| *median < FEW_FRAMES);
        let within = first.iter().max() <= second.iter().max();
        let zero = first.first() == Some(&0);
        let ambiguous = |what: &str| {
            let most = lines.iter().find(|line| line.rest.len() == width);
            Err(at(list, most).fail(format!(
                "{what}; expected 'path label', 'path n_frames label', several labels joined by \
                 commas ('path 0,3'), or a header that names the columns"
            )))
        };
        // Lines of several labels differ in length; a single one that does is a mistake.
        let differ = 20 * count(&|other| other != width) >= lines.len();
        let more_than_two = count(&|width| width > 2) > 0;
        match width {
            1 if differ && (more_than_two || (!first.is_empty() && (zero || rising))) => {
                Ok(Self::Labels)
            }
            0 | 1 => Ok(Self::Label),
            2 if differ && more_than_two && within => Ok(Self::Labels),
            2 if zero && within && few => Ok(Self::Labels),
            2 if within && (zero || few || rising) => ambiguous(
                "the two numbers after each path can be two labels, or a number of frames and a \
                 label",
            ),
            2 => Ok(Self::FramesLabel),
            _ if differ => Ok(Self::Labels),
            _ => ambiguous("three or more numbers follow each path"),
        }
    }

    /// How the form is written.
    fn written(self) -> String {
        match self {
            Self::Label => "path label".into(),
            Self::FramesLabel => "path n_frames label".into(),
            Self::Labels => "path label label ...".into(),
            Self::Columns { width, label, part } => {
                let name = |place: usize| match place {
                    _ if place == label => "label",
                    _ if Some(place) == part => "part",
                    _ => "(not used)",
                };
                let names: Vec<&str> = (0..width).map(name).collect();
                format!("path {}", names.join(" "))
            }
        }
    }

    fn row(self, line: Split, list: &Path) -> Result<Row> {
        let fields = line.rest.as_slice();
        let labels = match (self, fields) {
            (Self::Label, [label]) => several(label),
            (Self::FramesLabel, [frames, label]) if integer(frames).is_some() => several(label),
            (Self::Labels, [_, ..]) => fields.to_vec(),
            (Self::Columns { width, label, .. }, _) if fields.len() == width => fields
                .get(label)
                .map(|label| several(label))
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        let other = |what: &str| {
            at(list, Some(&line)).fail(format!(
                "expected '{}', as in the other lines, got {what}: '{} {}'",
                self.written(),
                line.path,
                line.rest.join(" ")
            ))
        };
        if labels.is_empty() || labels.iter().any(String::is_empty) {
            return Err(other(&match fields {
                _ if !labels.is_empty() => "an empty label".to_owned(),
                [] => "'path'".into(),
                [_] => "'path label'".into(),
                [_, _] => "'path n_frames label' or two labels".into(),
                _ => format!("a path and {} fields", fields.len()),
            }));
        }
        let part = match self {
            Self::Columns {
                part: Some(place), ..
            } => {
                let name = fields.get(place).map_or("", String::as_str);
                let part = Part::named(name);
                Some(part.ok_or_else(|| other("no part"))?)
            }
            _ => None,
        };
        Ok(Row {
            line: line.line,
            path: line.path,
            labels,
            group: None,
            part,
        })
    }
}

fn at<'a>(list: &'a Path, line: Option<&Split>) -> At<'a> {
    At {
        list,
        line: line.map_or(0, |line| line.line),
    }
}

fn most_common(widths: impl Iterator<Item = usize>) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for width in widths {
        *counts.entry(width).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or(0, |(width, _)| width)
}

/// The labels of one field: several numbers joined by commas, semicolons or spaces, several names
/// joined by bars, or one label.
pub(super) fn several(field: &str) -> Vec<String> {
    if field.contains('|') {
        let names = field.split('|').map(str::trim);
        let names = names.filter(|name| !name.is_empty());
        return names.map(str::to_owned).collect();
    }
    let numbers: Vec<&str> = field
        .split([',', ';', ' '])
        .filter(|part| !part.is_empty())
        .collect();
    if numbers.len() > 1 && numbers.iter().all(|number| integer(number).is_some()) {
        return numbers.into_iter().map(str::to_owned).collect();
    }
    vec![field.to_owned()]
}

/// Lines in columns: the path is in the column that holds files.
fn split_columns(list: &Path, lines: &[Line<'_>], separator: Separator) -> Result<Vec<Split>> {
    let mut all: Vec<(usize, Vec<String>)> = lines
        .iter()
        .map(|line| (line.number, separator.fields(line.text)))
        .collect();
    // A separator at the end of every line.
    let last_is_empty = |fields: &Vec<String>| fields.last().is_some_and(String::is_empty);
    while all.iter().all(|(_, fields)| last_is_empty(fields)) {
        for (_, fields) in &mut all {
            fields.pop();
        }
    }
    let width = all
        .iter()
        .map(|(_, fields)| fields.len())
        .max()
        .unwrap_or(0);
    let files = |column: &usize| {
        let holds = |fields: &Vec<String>| {
            fields
                .get(*column)
                .is_some_and(|field| has_extension(field))
        };
        all.iter().filter(|(_, fields)| holds(fields)).count()
    };
    let path = (0..width).rev().max_by_key(files).unwrap_or(0);
    all.into_iter()
        .map(|(line, mut fields)| {
            if path >= fields.len() {
                let (list, got) = (list.into(), fields.join(" "));
                let what = format!("expected a path in field {}, got '{got}'", path + 1);
                return Err(Error::Line {
                    path: list,
                    line,
                    what,
                });
            }
            let path = fields.remove(path);
            Ok(Split {
                line,
                path,
                rest: fields,
            })
        })
        .collect()
}

/// Lines separated by spaces, in their fields: numbers one by one, words together. A number before
/// words is a field of its own if every line has one, and it is not the same for each label.
fn split_blanks(lines: &[Line<'_>]) -> Vec<Split> {
    let number = |word: &&str| integer(word).is_some();
    let lines: Vec<(usize, String, String)> = lines
        .iter()
        .map(|line| {
            let (path, rest) = blanks(line.text);
            (line.number, path, rest)
        })
        .collect();
    let before_words = |rest: &str| -> Option<(String, String)> {
        let (first, words) = rest.split_once(char::is_whitespace)?;
        let words = words.trim();
        let label = integer(first).is_some() && !words.split_whitespace().all(|word| number(&word));
        label.then(|| (first.to_owned(), unquoted(words)))
    };
    let counted: Option<BTreeSet<(String, String)>> = lines
        .iter()
        .map(|(_, _, rest)| before_words(rest))
        .collect();
    let counted = counted.is_some_and(|pairs| pairs.len() == lines.len());
    let fields = |rest: &str| -> Vec<String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match before_words(rest).filter(|_| counted) {
            _ if words.is_empty() => Vec::new(),
            Some((number, words)) => vec![number, words],
            None if words.iter().all(number) => words.into_iter().map(str::to_owned).collect(),
            None => vec![unquoted(rest)],
        }
    };
    let split = |(line, path, rest): (usize, String, String)| Split {
        line,
        path,
        rest: fields(&rest),
    };
    lines.into_iter().map(split).collect()
}

/// The path of a line, and what follows it. A path may hold spaces: it ends after the last file
/// ending, or after the last `/`; numbers at the end are not part of it.
fn blanks(line: &str) -> (String, String) {
    let cut = |end: usize| {
        let (path, rest) = line.split_at_checked(end).unwrap_or((line, ""));
        (path.trim().to_owned(), rest.trim().to_owned())
    };
    if let Some((path, rest)) = line.strip_prefix('"').and_then(|line| line.split_once('"')) {
        return (path.into(), rest.trim().into());
    }
    // Ends of words, in bytes.
    let ends: Vec<usize> = line
        .char_indices()
        .filter(|(_, c)| c.is_whitespace())
        .map(|(place, _)| place)
        .chain([line.len()])
        .filter(|end| {
            !line
                .get(..*end)
                .unwrap_or_default()
                .ends_with(char::is_whitespace)
        })
        .collect();
    let word = |end: &usize| {
        let words = line.get(..*end).unwrap_or_default();
        words.rsplit(char::is_whitespace).next().unwrap_or_default()
    };
    let last = |holds: &dyn Fn(&str) -> bool| ends.iter().rev().find(|end| holds(word(end)));
    if let Some(end) = last(&claims_video).or_else(|| last(&has_extension)) {
        return cut(*end);
    }
    let numbers = ends
        .iter()
        .rev()
        .take_while(|end| integer(word(end)).is_some())
        .count();
    let words = ends.len() - numbers;
    match (numbers, ends.get(words.saturating_sub(1))) {
        (1.., Some(end)) if words > 0 => cut(*end),
        _ => cut(*last(&|word| word.contains(['/', '\\']))
            .or(ends.first())
            .unwrap_or(&line.len())),
    }
}

/// Without the quotes of CSV.
pub(super) fn unquoted(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// Whether the name ends like a file: `.avi`, not `. 3` or `1.0`.
pub(super) fn has_extension(path: &str) -> bool {
    let extension = Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        (1..=5).contains(&extension.len())
            && extension.bytes().all(|b| b.is_ascii_alphanumeric())
            && extension.bytes().any(|b| b.is_ascii_alphabetic())
    })
}
