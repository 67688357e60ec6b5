//! The field's plain lists, label CSVs, and a CSV of one's own.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::collect::{At, Collector, path_id, relative};
use super::registry::{Format, Reader};
use super::{Found, ReadOptions, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;

pub(super) static FORMAT: Format = Format {
    name: "csv",
    title: "A list",
    reader: Reader::List(|name, root, list, options| clip_list(name, root, list, None, options)),
    published: None,
};

/// Reads a list of clips. Recognised, and said in [`Found::notes`]:
///
/// - `path label` and `path n_frames label`, separated by spaces or tabs (paths may hold
///   spaces);
/// - `path,label` and `path,n_frames,label`, with CSV quoting;
/// - a CSV with a header: one column of `path`, `file`, `filename`, `video`, `clip`; one of
///   `label`, `class`, `name`; optionally `frames` / `n_frames` / `num_frames`, `group`,
///   and `split`, whose values `train` and `val` / `validation` / `test` give a split
///   named "list".
///
/// A label is a class name, or a number that `index` (see
/// [`read_class_index`](super::read_class_index)) maps to one. Without `index`, numbers
/// are the class names.
///
/// # Errors
/// A line that cannot be read, a path that leaves `root`, a clip named twice, a number
/// that `index` does not have, and what `options` refuses.
pub fn clip_list(
    dataset: &str,
    root: &Path,
    list: &Path,
    index: Option<&BTreeMap<i64, ClassName>>,
    options: ReadOptions,
) -> Result<Found> {
    let text = text::read(list)?;
    let (rows, mut notes) = rows(list, &text)?;
    let numbers = rows.iter().all(|row| row.label.parse::<i64>().is_ok());
    let classes = classes(list, &rows, numbers, index, &mut notes)?;

    let mut collector = Collector::new(dataset, root, list, options);
    let (mut train, mut test, mut unsplit) = (Vec::new(), Vec::new(), 0_usize);
    for row in &rows {
        let at = At {
            list,
            line: row.line,
        };
        let path = relative(root, &row.path, at)?;
        let id = path_id(&path);
        match row.split.as_deref() {
            Some("train") => train.push(id.clone()),
            Some("val" | "validation" | "test") => test.push(id.clone()),
            Some("") | None => unsplit += 1,
            Some(other) => {
                return Err(at.fail(format!("expected split train, val or test, got '{other}'")));
            }
        }
        let label = classes.label(row, at)?;
        let group = row.group.clone();
        collector.add(
            // A list's own numbers of frames are claims, and not kept as counts.
            VideoEntry {
                group,
                ..VideoEntry::new(id, path, vec![label])
            },
            at,
        )?;
    }
    if !(train.is_empty() && test.is_empty()) {
        if unsplit > 0 {
            notes.push(format!("{unsplit} clips are in no part of the split"));
        }
        collector.add_split("list", train, test);
    }
    collector.finish(classes.names, notes)
}

#[derive(Default)]
struct Row {
    line: usize,
    path: String,
    label: String,
    group: Option<String>,
    split: Option<String>,
}

struct Classes {
    names: Vec<ClassName>,
    by_number: HashMap<i64, usize>,
    by_key: HashMap<String, usize>,
}

impl Classes {
    fn label(&self, row: &Row, at: At<'_>) -> Result<usize> {
        let by_number = row
            .label
            .parse()
            .ok()
            .and_then(|number: i64| self.by_number.get(&number));
        by_number
            .or_else(|| self.by_key.get(&ClassName::new(&row.label).key()))
            .copied()
            .ok_or_else(|| at.fail(format!("label '{}' is in no class index", row.label)))
    }
}

fn classes(
    list: &Path,
    rows: &[Row],
    numbers: bool,
    index: Option<&BTreeMap<i64, ClassName>>,
    notes: &mut Vec<String>,
) -> Result<Classes> {
    let (names, by_number) = match index {
        Some(index) => {
            let by_number = index
                .keys()
                .enumerate()
                .map(|(label, number)| (*number, label));
            (
                index.values().cloned().collect::<Vec<_>>(),
                by_number.collect(),
            )
        }
        None => {
            let mut labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
            if numbers {
                notes.push("labels are numbers without a class index: they become names".into());
                labels.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
            } else {
                labels.sort_unstable();
            }
            labels.dedup();
            (
                labels.into_iter().map(ClassName::new).collect(),
                HashMap::new(),
            )
        }
    };
    let mut by_key: HashMap<String, usize> = HashMap::new();
    for (label, name) in names.iter().enumerate() {
        if let Some(other) = by_key.insert(name.key(), label) {
            return Err(Error::Content {
                path: list.into(),
                what: format!(
                    "'{}' and '{name}' are two spellings of one class",
                    names.get(other).map_or("", |other| other.raw())
                ),
            });
        }
    }
    Ok(Classes {
        names,
        by_number,
        by_key,
    })
}

fn rows(list: &Path, text: &str) -> Result<(Vec<Row>, Vec<String>)> {
    let first = text::lines(text).next().ok_or_else(|| Error::Content {
        path: list.into(),
        what: "is empty".into(),
    })?;
    // A comma in the first line separates fields unless it is in the path of a line `path
    // label`: `a,b.avi 3`.
    let space_separated = |line: &str| {
        line.rsplit_once(char::is_whitespace)
            .is_some_and(|(path, label)| {
                !label.contains([',', '"']) && has_extension(path.trim_end())
            })
    };
    if first.text.contains(',') && !space_separated(first.text) {
        comma_rows(list, text)
    } else {
        space_rows(list, text)
    }
}

/// Whether the path ends like a file: `.avi`, not `. 3`.
fn has_extension(path: &str) -> bool {
    Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| {
            (1..=5).contains(&extension.len())
                && extension.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

fn space_rows(list: &Path, text: &str) -> Result<(Vec<Row>, Vec<String>)> {
    let lines: Vec<_> = text::lines(text).collect();
    // `path n label`: the last two words are numbers in every line. A path that itself
    // ends in a number would have to do so everywhere to be misread.
    let counted = lines.iter().all(|line| {
        let mut words = line.text.split_whitespace().rev();
        let number = |word: Option<&str>| word.is_some_and(|word| word.parse::<u64>().is_ok());
        number(words.next()) && number(words.next()) && words.next().is_some()
    });
    let mut rows = Vec::with_capacity(lines.len());
    for line in &lines {
        let at = At {
            list,
            line: line.number,
        };
        let (rest, label) = line
            .text
            .rsplit_once(char::is_whitespace)
            .ok_or_else(|| at.fail(format!("expected 'path label', got '{}'", line.text)))?;
        let path = match rest.trim_end().rsplit_once(char::is_whitespace) {
            Some((path, _)) if counted => path.trim_end(),
            _ => rest.trim_end(),
        };
        rows.push(Row {
            line: line.number,
            path: path.into(),
            label: label.into(),
            ..Row::default()
        });
    }
    let form = if counted {
        "path n_frames label"
    } else {
        "path label"
    };
    Ok((rows, vec![format!("{} lines '{form}'", lines.len())]))
}

/// Columns by their place.
struct Columns {
    path: usize,
    label: usize,
    frames: Option<usize>,
    group: Option<usize>,
    split: Option<usize>,
}

fn comma_rows(list: &Path, text: &str) -> Result<(Vec<Row>, Vec<String>)> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut columns: Option<Columns> = None;
    let mut notes = Vec::new();
    let mut rows = Vec::new();
    let mut width = 0;
    for record in reader.records() {
        let record = record.map_err(|error| text::csv_error(list, &error))?;
        let line = text::csv_line(record.position());
        let at = At { list, line };
        let fields: Vec<&str> = record.iter().map(str::trim).collect();
        if matches!(fields.as_slice(), [only] if only.is_empty() || *only == "#" || only.starts_with("# "))
        {
            continue;
        }
        let Some(columns) = &columns else {
            width = fields.len();
            let (found, header) = recognise(&fields, at)?;
            notes.push(format!(
                "comma-separated, {}",
                if header {
                    format!("columns {}", fields.join(", "))
                } else {
                    format!("{width} fields without a header")
                }
            ));
            if !header {
                rows.push(row(&fields, &found, width, at)?);
            }
            columns = Some(found);
            continue;
        };
        rows.push(row(&fields, columns, width, at)?);
    }
    notes.push(format!("{} rows", rows.len()));
    Ok((rows, notes))
}

fn recognise(fields: &[&str], at: At<'_>) -> Result<(Columns, bool)> {
    let lower: Vec<String> = fields.iter().map(|field| field.to_lowercase()).collect();
    let find = |names: &[&str]| {
        lower
            .iter()
            .position(|field| names.contains(&field.as_str()))
    };
    if let Some(path) = find(&["path", "file", "filename", "video", "video_path", "clip"]) {
        let label = find(&["label", "class", "name", "action"]).ok_or_else(|| {
            at.fail("the header has no column 'label' (or class, name, action)".to_owned())
        })?;
        let frames = find(&["frames", "n_frames", "num_frames"]);
        let (group, split) = (find(&["group"]), find(&["split"]));
        return Ok((
            Columns {
                path,
                label,
                frames,
                group,
                split,
            },
            true,
        ));
    }
    let plain = |label, frames| Columns {
        path: 0,
        label,
        frames,
        group: None,
        split: None,
    };
    match fields {
        [_, _] => Ok((plain(1, None), false)),
        [_, frames, _] if frames.parse::<u64>().is_ok() => Ok((plain(2, Some(1)), false)),
        _ => Err(at.fail(format!(
            "expected 'path,label', 'path,n_frames,label' or a header with columns path and \
             label, got {} fields",
            fields.len()
        ))),
    }
}

fn row(fields: &[&str], columns: &Columns, width: usize, at: At<'_>) -> Result<Row> {
    if fields.len() != width {
        return Err(at.fail(format!("expected {width} fields, got {}", fields.len())));
    }
    let field = |column: usize| fields.get(column).copied().unwrap_or_default();
    let some = |column: Option<usize>| {
        column
            .map(field)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    if field(columns.label).is_empty() {
        return Err(at.fail("expected a label, got nothing"));
    }
    if let Some(text) = some(columns.frames) {
        text.parse::<u64>()
            .map_err(|_| at.fail(format!("expected a number of frames, got '{text}'")))?;
    }
    Ok(Row {
        line: at.line,
        path: field(columns.path).into(),
        label: field(columns.label).into(),
        group: some(columns.group),
        split: some(columns.split).map(|split| split.to_lowercase()),
    })
}
