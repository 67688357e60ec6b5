//! Lists of one's own: the field's plain lists, tables with named columns, a list a part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::class_index::{integer, read_class_index};
use super::collect::{At, Collector, path_id, relative};
use super::list_lines::plain_rows;
use super::list_table::table_rows;
use super::parts::{Part, Parts};
use super::registry::{Format, Reader};
use super::{Found, Missing, ReadOptions, text};
use crate::class_name::{ClassName, twins};
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;
use crate::names::{counted, named};

pub use super::list_table::Columns;

pub(super) static FORMAT: Format = Format {
    name: "csv",
    title: "A list",
    reader: Reader::List(|name, root, list, options| {
        clip_lists(name, root, &Lists::one(list), options)
    }),
    published: None,
};

/// The lists of a data set of one's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    /// One list of all clips.
    pub list: Option<&'a Path>,
    /// A list of training clips.
    pub train: Option<&'a Path>,
    /// A list of test clips.
    pub test: Option<&'a Path>,
    /// A table of class names ([`read_class_index`]), for lists that have numbers.
    pub class_table: Option<&'a Path>,
    /// The columns of tables whose names are not known.
    pub columns: Option<&'a Columns>,
}

impl<'a> Lists<'a> {
    /// One list of all clips.
    #[must_use]
    pub fn one(list: &'a Path) -> Self {
        Self {
            list: Some(list),
            ..Self::default()
        }
    }

    /// The first of the lists.
    pub(crate) fn any(&self) -> Option<&'a Path> {
        self.list.or(self.train).or(self.test)
    }
}

/// Reads lists of clips. The form of each is found from its header, or from what its lines agree
/// on, and said in [`Found::notes`]:
///
/// - `path label`, `path n_frames label` and `path label label ...`, separated by spaces, tabs,
///   semicolons or commas, with quotes as in CSV; paths and labels may hold spaces;
/// - a table with a header, whose columns are found by name or by `columns`: the video, its label,
///   optionally a group, and the part (train, val or test).
///
/// A label is a class name, or a number that the class table maps to one. Without a class table,
/// numbers are the class names. Numbers may count from 0 or from 1, or have gaps. A list of
/// training clips and one of test clips give a split named "lists"; parts in a table one named
/// "list", or, if train, val and test are all there, the splits "test" and "val".
///
/// # Errors
/// A line that cannot be read or has another form than the others, a path with `..`, a clip named
/// twice, a number that the class table does not have, and what `options` refuses.
pub fn clip_lists(
    dataset: &str,
    root: &Path,
    lists: &Lists<'_>,
    options: ReadOptions,
) -> Result<Found> {
    let given = [
        (lists.list, None),
        (lists.train, Some(Part::Train)),
        (lists.test, Some(Part::Test)),
    ];
    let mut notes = Vec::new();
    let mut rows: Vec<(&Path, Option<Part>, Row)> = Vec::new();
    for (list, part) in given {
        let Some(list) = list else { continue };
        let (read, note) = read(list, lists.columns)?;
        notes.push(match part {
            None => note,
            Some(_) => format!("{}: {note}", list.display()),
        });
        rows.extend(read.into_iter().map(|row| (list, part, row)));
    }
    let Some(first) = lists.any() else {
        return Err(Error::Option {
            name: "lists",
            expected: "a list of clips".into(),
            got: "none".into(),
        });
    };
    let labels = rows.iter().flat_map(|(_, _, row)| &row.labels);
    let classes = Classes::of(labels, lists.class_table, first, &mut notes)?;
    if classes.in_doubt {
        let name = classes.names.first().map_or("", ClassName::raw);
        let doubt = format!(
            "no label is 0, '{name}' in the table of class names; if the lists count from 1, every \
             label is taken for the next one"
        );
        if options.missing == Missing::Refuse {
            let what = format!(
                "{doubt}: number the table as the lists do, or accept classes without a clip with \
                 `allow_missing`"
            );
            return Err(Error::Content {
                path: first.into(),
                what,
            });
        }
        notes.push(doubt);
    }
    if let (Some(_), Some(test)) = (lists.train, lists.test) {
        notes.extend(untrained(&rows, &classes, test)?);
    }

    let mut collector = Collector::new(dataset, root, first, options);
    let (mut parts, mut unsplit) = (Parts::default(), Vec::new());
    for (list, part, row) in rows {
        let at = At {
            list,
            line: row.line,
        };
        let path = relative(root, &row.path, at)?;
        let id = path_id(&path);
        match part.or(row.part) {
            Some(part) => parts.add(part, id.clone()),
            None => unsplit.push(id.clone()),
        }
        let mut labels = Vec::with_capacity(row.labels.len());
        for label in &row.labels {
            labels.push(classes.label(label, at)?);
        }
        labels.sort_unstable();
        labels.dedup();
        collector.add(
            // A list's own numbers of frames are claims, and not kept as counts.
            VideoEntry {
                group: row.group,
                ..VideoEntry::new(id, path, labels)
            },
            at,
        )?;
    }
    let several = lists.list.is_none();
    if let Some(note) = collector.add_parts(if several { "lists" } else { "list" }, parts) {
        notes.push(note);
        if !unsplit.is_empty() {
            let (count, names) = (unsplit.len(), named(&unsplit));
            notes.push(format!("{count} of the clips are in no part: {names}"));
        }
    }
    collector.finish(classes.names, notes)
}

/// A sentence about classes of the test list that the training list does not have.
///
/// # Errors
/// It has none of them: one list has numbers and the other names, or they count from elsewhere.
fn untrained(
    rows: &[(&Path, Option<Part>, Row)],
    classes: &Classes,
    test: &Path,
) -> Result<Option<String>> {
    let mut trained = BTreeSet::new();
    let mut tested = BTreeSet::new();
    for (list, part, row) in rows {
        let line = row.line;
        for label in &row.labels {
            let class = classes.label(label, At { list, line })?;
            match part {
                Some(Part::Test) => tested.insert(class),
                _ => trained.insert(class),
            };
        }
    }
    let name = |class: &usize| classes.names.get(*class).map_or("", ClassName::raw);
    let new: Vec<&str> = tested.difference(&trained).map(name).collect();
    if new.is_empty() {
        return Ok(None);
    }
    if new.len() == tested.len() {
        let trained: Vec<&str> = trained.iter().map(name).collect();
        return Err(Error::Content {
            path: test.into(),
            what: format!(
                "none of its labels is in the training list: {}; there they are {}",
                named(&new),
                named(&trained)
            ),
        });
    }
    Ok(Some(format!(
        "{} of the test list are not in the training list: {}",
        counted(new.len(), "label"),
        named(&new)
    )))
}

/// One clip of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) path: String,
    /// One, or several.
    pub(super) labels: Vec<String>,
    pub(super) group: Option<String>,
    pub(super) part: Option<Part>,
}

/// The rows of a list, and a sentence about its form.
fn read(list: &Path, columns: Option<&Columns>) -> Result<(Vec<Row>, String)> {
    let text = text::read(list)?;
    let lines: Vec<text::Line<'_>> = text::lines(&text).collect();
    if lines.is_empty() {
        return Err(Error::Content {
            path: list.into(),
            what: "is empty".into(),
        });
    }
    match table_rows(list, &lines, columns)? {
        Some(table) => Ok(table),
        None => plain_rows(list, &lines),
    }
}

/// The classes of lists, and the way from a label to its class.
struct Classes {
    names: Vec<ClassName>,
    by_number: BTreeMap<i64, usize>,
    by_key: BTreeMap<String, usize>,
    /// Added to the numbers of the lists.
    shift: i64,
    table: bool,
    /// The lists have no 0, of which the table has one: they may count from 1.
    in_doubt: bool,
}

impl Classes {
    fn of<'a>(
        labels: impl Iterator<Item = &'a String>,
        table: Option<&Path>,
        list: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let mut labels: Vec<String> = labels.map(|label| spelled(label)).collect();
        labels.sort_unstable();
        labels.dedup();
        let mut numbers: Vec<i64> = labels.iter().filter_map(|label| integer(label)).collect();
        numbers.sort_unstable();
        let all_numbers = numbers.len() == labels.len();
        let mut classes = Self {
            names: Vec::new(),
            by_number: BTreeMap::new(),
            by_key: BTreeMap::new(),
            shift: 0,
            table: table.is_some(),
            in_doubt: false,
        };
        if let Some(table) = table {
            for (number, name) in read_class_index(table)? {
                classes.by_number.insert(number, classes.names.len());
                classes.names.push(name);
            }
            notes.push(format!(
                "{}: the names of {}",
                table.display(),
                counted(classes.names.len(), "class")
            ));
            if all_numbers {
                classes.shift = classes.shift_of(&numbers);
            }
            let first = classes
                .by_number
                .first_key_value()
                .map(|(number, _)| *number);
            classes.in_doubt = all_numbers
                && classes.shift == 0
                && (first, numbers.first()) == (Some(0), Some(&1));
            if classes.shift != 0 {
                let least = |least: Option<&i64>| least.copied().unwrap_or_default();
                notes.push(format!(
                    "labels count from {}, the class table from {}: they are taken in order",
                    least(numbers.first()),
                    least(classes.by_number.keys().next())
                ));
            }
        } else {
            if all_numbers {
                notes.push(
                    "labels are numbers without a table of class names: they become names".into(),
                );
                labels.sort_by_key(|label| integer(label));
            }
            classes.names = labels.into_iter().map(ClassName::new).collect();
        }
        let name = |place: usize| classes.names.get(place).map_or("", ClassName::raw);
        if let Some((one, other)) = twins(classes.names.iter().map(ClassName::raw)) {
            let (one, other) = (name(one), name(other));
            return Err(Error::Content {
                path: list.into(),
                what: format!("'{one}' and '{other}' are two spellings of one class"),
            });
        }
        let keys = (0..).zip(&classes.names);
        classes.by_key = keys.map(|(label, name)| (name.key(), label)).collect();
        Ok(classes)
    }

    /// The shift from numbers that count from 1 to a table that counts from 0, or the reverse, if
    /// the table lacks a number and has them all after the shift; else 0.
    fn shift_of(&self, numbers: &[i64]) -> i64 {
        let all = |shift: i64| {
            let mut shifted = numbers.iter().map(|number| number.saturating_add(shift));
            shifted.all(|number| self.by_number.contains_key(&number))
        };
        match self.by_number.keys().next() {
            Some(0) if !all(0) && all(-1) => -1,
            Some(1) if !all(0) && all(1) => 1,
            _ => 0,
        }
    }

    fn label(&self, label: &str, at: At<'_>) -> Result<usize> {
        let number = integer(label).and_then(|number| number.checked_add(self.shift));
        number
            .and_then(|number| self.by_number.get(&number))
            .or_else(|| self.by_key.get(&ClassName::new(spelled(label)).key()))
            .copied()
            .ok_or_else(|| {
                let range = match (
                    self.by_number.first_key_value(),
                    self.by_number.last_key_value(),
                ) {
                    (Some((first, _)), Some((last, _))) if self.table => format!(
                        "; it has {} classes, numbers {first} to {last}",
                        self.names.len()
                    ),
                    _ => String::new(),
                };
                at.fail(format!(
                    "label '{label}' is not in the table of class names{range}"
                ))
            })
    }
}

/// A number as an integer, `1.0` as `1`; a name as it is.
fn spelled(label: &str) -> String {
    integer(label).map_or_else(|| label.to_owned(), |number| number.to_string())
}
