//! Tables with a header: columns by their names.

use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::FORMATS;
use super::class_index::integer;
use super::collect::At;
use super::list::Row;
use super::list_lines::{Separator, has_extension, several};
use super::parts::Part;
use super::text::Line;
use crate::error::{Error, Result};

/// Names of the column of videos, the best first.
const VIDEO: &[&str] = &[
    "video_path",
    "clip_path",
    "file_path",
    "filepath",
    "path",
    "filename",
    "file_name",
    "file",
    "video",
    "clip",
    "video_name",
    "clip_name",
    "video_file",
    "videos",
    "video_id",
    "clip_id",
    "videoid",
];

/// Names of the column of labels, names before numbers.
const LABEL: &[&str] = &[
    "label_name",
    "class_name",
    "classname",
    "action_name",
    "label",
    "class",
    "action",
    "category",
    "activity",
    "labels",
    "classes",
    "actions",
    "target",
    "tag",
    "name",
    "label_id",
    "class_id",
    "label_idx",
    "class_idx",
];

/// Names of the column of recordings.
const GROUP: &[&str] = &["group", "recording", "subject"];

/// Names of the column of parts.
const PART: &[&str] = &["split", "subset", "part", "partition", "set"];

/// Names of columns that are known and not read.
const OTHERS: &[&str] = &["frames", "n_frames", "num_frames", "id", "duration", "fps"];

const EXPECTED: &str = "video=NAME,label=NAME, optionally group=NAME and split=NAME";

/// The columns of a table, by name: `video=NAME,label=NAME`, optionally `group=NAME` and
/// `split=NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Columns {
    video: Option<String>,
    label: Option<String>,
    group: Option<String>,
    split: Option<String>,
}

impl Columns {
    fn slot(&mut self, role: &str) -> Option<&mut Option<String>> {
        match role {
            "video" => Some(&mut self.video),
            "label" => Some(&mut self.label),
            "group" => Some(&mut self.group),
            "split" => Some(&mut self.split),
            _ => None,
        }
    }
}

impl FromStr for Columns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::Option {
            name: "columns",
            expected: EXPECTED.into(),
            got: format!("'{text}'"),
        };
        let mut columns = Self::default();
        for pair in text.split(',') {
            let (role, name) = pair.split_once('=').ok_or_else(refuse)?;
            let slot = columns.slot(role.trim()).ok_or_else(refuse)?;
            if name.trim().is_empty() || slot.replace(name.trim().into()).is_some() {
                return Err(refuse());
            }
        }
        Ok(columns)
    }
}

impl TryFrom<String> for Columns {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse().map_err(|_: Error| EXPECTED)
    }
}

impl From<Columns> for String {
    fn from(columns: Columns) -> Self {
        let Columns {
            video,
            label,
            group,
            split,
        } = columns;
        let roles = [
            ("video", video),
            ("label", label),
            ("group", group),
            ("split", split),
        ];
        let pairs = roles
            .into_iter()
            .filter_map(|(role, name)| Some(format!("{role}={}", name?)));
        pairs.collect::<Vec<_>>().join(",")
    }
}

/// The places of a table's columns.
struct Places {
    video: usize,
    label: usize,
    group: Option<usize>,
    part: Option<usize>,
}

/// The rows of a table and a sentence about it; `None` if the first line is not a header.
///
/// # Errors
/// [`Error::Columns`] if a column is missing; a row that does not fit the header.
pub(super) fn table_rows(
    list: &Path,
    lines: &[Line<'_>],
    columns: Option<&Columns>,
) -> Result<Option<(Vec<Row>, String)>> {
    let Some((first, others)) = lines.split_first() else {
        return Ok(None);
    };
    let headers = Separator::ALL
        .into_iter()
        .map(|separator| (separator, separator.fields(first.text)))
        .filter(|(_, fields)| fields.len() > 1);
    let header = headers
        .clone()
        .find(|(separator, fields)| is_header(fields, *separator, others, columns))
        // With columns that it does not have: an error below.
        .or_else(|| columns.and_then(|_| headers.max_by_key(|(_, fields)| fields.len())));
    let Some((separator, header)) = header else {
        return Ok(None);
    };
    let places = places(list, first.number, &header, columns)?;
    let mut rows = Vec::with_capacity(others.len());
    for line in others {
        let at = At {
            list,
            line: line.number,
        };
        rows.push(row(&separator.fields(line.text), &header, &places, at)?);
    }
    let name = |place: usize| header.get(place).map_or("", String::as_str);
    let mut used = vec![
        format!("video '{}'", name(places.video)),
        format!("label '{}'", name(places.label)),
    ];
    used.extend(places.group.map(|place| format!("group '{}'", name(place))));
    used.extend(places.part.map(|place| format!("split '{}'", name(place))));
    let (count, separator, used) = (rows.len(), separator.name(), used.join(", "));
    let note = format!("a table of {count} rows, separated by {separator}: {used}");
    Ok(Some((rows, note)))
}

/// Whether the fields of the first line name columns: they are words, and enough of them known, or
/// only the other lines hold files.
fn is_header(
    fields: &[String],
    separator: Separator,
    others: &[Line<'_>],
    columns: Option<&Columns>,
) -> bool {
    let value = |field: &String| {
        has_extension(field) || integer(field).is_some() || field.contains(['/', '\\'])
    };
    if fields.iter().any(value) {
        return false;
    }
    let named = |names: &[&str]| place(fields, names).is_some();
    if let Some(video) = columns.and_then(|columns| columns.video.as_deref()) {
        return place(fields, &[video]).is_some();
    }
    let known = [VIDEO, LABEL, GROUP, PART, OTHERS].concat();
    let count = fields.iter().filter(|field| {
        let field = field.to_lowercase();
        known.contains(&field.as_str())
    });
    let count = count.count();
    if separator == Separator::Blanks {
        // A line of words is a clip as well.
        return count == fields.len() && named(VIDEO) && named(LABEL);
    }
    // One known name may be a label, which comes again.
    let comes_again = |(column, name): (usize, &String)| {
        let same = |line: &Line<'_>| separator.fields(line.text).get(column) == Some(name);
        others.iter().any(same)
    };
    let file = |line: &Line<'_>| {
        let fields = separator.fields(line.text);
        fields.iter().any(|field| has_extension(field))
    };
    count > 1
        || (count == 1 && !fields.iter().enumerate().any(comes_again))
        || (!others.is_empty() && others.iter().all(file))
}

/// The place of the first of `names` that a column has.
fn place(header: &[String], names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| {
        header
            .iter()
            .position(|column| column.eq_ignore_ascii_case(name))
    })
}

fn places(
    list: &Path,
    line: usize,
    header: &[String],
    columns: Option<&Columns>,
) -> Result<Places> {
    let absent = |missing: String| {
        let has = |column: &&str| place(header, &[*column]).is_some();
        let layout = FORMATS.iter().find(|format| {
            let table = format
                .published
                .as_ref()
                .map_or(&[][..], |known| known.table);
            !table.is_empty() && table.iter().all(has)
        });
        Error::Columns {
            path: list.into(),
            line,
            found: header.to_vec(),
            missing,
            layout: layout.map(|format| format.name),
        }
    };
    let asked = |name: Option<&String>, known: &[&str]| match name {
        Some(name) => match place(header, &[name.as_str()]) {
            Some(place) => Ok(Some(place)),
            None => Err(absent(format!("none is '{name}'"))),
        },
        None => Ok(place(header, known)),
    };
    let columns = columns.cloned().unwrap_or_default();
    let needed = |name: Option<&String>, known: &[&str], role: &str| {
        asked(name, known)?
            .ok_or_else(|| absent(format!("none is known as the {role}: {}", known.join(", "))))
    };
    let video = needed(columns.video.as_ref(), VIDEO, "video")?;
    let label = needed(columns.label.as_ref(), LABEL, "label")?;
    Ok(Places {
        video,
        label,
        group: asked(columns.group.as_ref(), GROUP)?,
        part: asked(columns.split.as_ref(), PART)?,
    })
}

fn row(fields: &[String], header: &[String], places: &Places, at: At<'_>) -> Result<Row> {
    if fields.len() != header.len() {
        return Err(at.fail(format!(
            "expected {} fields, as the header has, got {}",
            header.len(),
            fields.len()
        )));
    }
    let field = |place: usize| fields.get(place).map_or("", String::as_str);
    let some = |place: Option<usize>| place.map(field).filter(|text| !text.is_empty());
    let label = field(places.label);
    if label.is_empty() {
        return Err(at.fail("expected a label, got nothing"));
    }
    let part = some(places.part).map(|name| {
        Part::named(name)
            .ok_or_else(|| at.fail(format!("expected split train, val or test, got '{name}'")))
    });
    Ok(Row {
        line: at.line,
        path: field(places.video).into(),
        labels: several(label),
        group: some(places.group).map(str::to_owned),
        part: part.transpose()?,
    })
}
