//! Something-Something V2 (Goyal et al., ICCV 2017) with its official JSON files.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::collect::{At, Collector};
use super::registry::{Archive, Endings, Format, Packing, Published, Reader, Source};
use super::{Found, ReadOptions, text};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;
use crate::names::{counted, named};

pub(super) static FORMAT: Format = Format {
    name: "ssv2",
    title: "Something-Something V2",
    reader: Reader::Official(read),
    published: Some(Published {
        clips: "220,847 `.webm`",
        classes: 174,
        several_labels: false,
        splits: "168,913 / 24,777; another 27,157 for tests",
        terms: "research use, after registration",
        citation: "Goyal et al., ICCV 2017",
        url: "https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
        table: &[],
        source: Source::Archives {
            url: None,
            videos: Archive {
                file: "20bn-something-something-v2",
                packing: Packing::CutTar,
                folder: "20bn-something-something-v2",
                room: 1,
            },
            lists: Archive {
                file: "20bn-something-something-download-package-labels.zip",
                packing: Packing::Zip(Endings {
                    required: &LISTS,
                    optional: &TEST_LISTS,
                }),
                folder: "labels",
                // JSON shrinks much.
                room: 10,
            },
        },
    }),
};

/// The official files; an older release puts `something-something-v2-` before the names.
const LISTS: [&str; 3] = ["labels.json", "train.json", "validation.json"];

/// The official files of the test part, which came later.
const TEST_LISTS: [&str; 2] = ["test.json", "test-answers.csv"];

/// Reads `root/<id>.webm`, and in `lists` the official `labels.json` (class to index),
/// `train.json` and `validation.json` (`id`, `label`, `template`, `placeholders`).
///
/// A class is a template without its brackets: "Holding \[something\]" is "Holding something".
/// A template whose brackets are filled with the clip's placeholders is the clip's caption. The
/// split of both lists is named "val". Test clips have a split named "test" where
/// `test-answers.csv` (`id;class`) names their classes; without a class they are left out and
/// counted.
///
/// # Errors
/// Lists that are absent, malformed or contradict each other, and what `options` refuses.
fn read(root: &Path, lists: &Path, options: ReadOptions) -> Result<Found> {
    let [labels, train, validation] = LISTS.map(|name| list(lists, name));
    let [test, answers] = TEST_LISTS.map(|name| list(lists, name));
    let classes = read_classes(&labels)?;
    let answers = read_answers(&answers)?;
    let mut reader = Lists {
        labels: classes
            .iter()
            .enumerate()
            .map(|(label, class)| (class.key(), label))
            .collect(),
        collector: Collector::new(FORMAT.name, root, lists, options),
        without: Vec::new(),
        odd: 0,
    };
    let train = reader.read(&train, &answers)?;
    let validation = reader.read(&validation, &answers)?;
    let test = match test.exists() {
        true => reader.read(&test, &answers)?,
        false => Default::default(),
    };
    let mut notes = vec![format!(
        "Something-Something V2: {} training, {} validation, {} test clips",
        train.len(),
        validation.len(),
        test.len()
    )];
    if !reader.without.is_empty() {
        notes.push(format!(
            "{} left out, without a class: {}",
            counted(reader.without.len(), "clip"),
            named(&reader.without)
        ));
    }
    if reader.odd > 0 {
        notes.push(format!(
            "{} templates do not fit their placeholders: the label is the caption",
            reader.odd
        ));
    }
    let mut collector = reader.collector;
    collector.add_split("val", train.clone(), validation);
    if !test.is_empty() {
        collector.add_split("test", train, test);
    }
    collector.finish(classes, notes)
}

/// One entry of a list. Test clips have an id alone.
#[derive(Deserialize)]
struct Video {
    id: Number,
    #[serde(default)]
    label: String,
    #[serde(default)]
    template: String,
    #[serde(default)]
    placeholders: Vec<String>,
}

/// A number, which the official files write as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Number(u64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

struct Lists<'a> {
    labels: HashMap<String, usize>,
    collector: Collector<'a>,
    /// Ids of clips without a class.
    without: Vec<String>,
    /// Clips whose template does not fit their placeholders.
    odd: usize,
}

impl Lists<'_> {
    /// The ids of the clips of a list.
    fn read(&mut self, list: &Path, answers: &HashMap<String, String>) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for video in json::<Vec<Video>>(list)? {
            let at = At { list, line: 0 };
            let id = video.id.to_string();
            at.check_id(&id)?;
            let named = [&video.template, &video.label]
                .into_iter()
                .chain(answers.get(&id))
                .find(|name| !name.is_empty());
            let Some(named) = named else {
                self.without.push(id);
                continue;
            };
            let label = self.labels.get(&ClassName::new(named).key()).copied();
            let label = label.ok_or_else(|| {
                at.fail(format!(
                    "clip '{id}': '{named}' is not a class of labels.json"
                ))
            })?;
            let caption = fill(&video.template, &video.placeholders);
            self.odd += usize::from(caption.is_none());
            let filled = caption.filter(|caption| !caption.is_empty());
            let caption = filled.unwrap_or(video.label);
            let clip = VideoEntry {
                caption: (!caption.is_empty()).then_some(caption),
                ..VideoEntry::new(&id, format!("{id}.webm"), vec![label])
            };
            self.collector.add(clip, at)?;
            ids.push(id);
        }
        Ok(ids)
    }
}

/// The template with one placeholder in each pair of brackets; `None` where their numbers differ.
fn fill(template: &str, placeholders: &[String]) -> Option<String> {
    let (mut filled, mut rest) = (String::new(), template);
    let mut placeholders = placeholders.iter();
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, after) = after.split_once(']')?;
        if inside.contains('[') {
            return None;
        }
        filled.push_str(before);
        filled.push_str(placeholders.next()?);
        rest = after;
    }
    filled.push_str(rest);
    (placeholders.next().is_none() && !rest.contains(']')).then_some(filled)
}

/// The classes in order of their indices.
fn read_classes(list: &Path) -> Result<Vec<ClassName>> {
    let at = At { list, line: 0 };
    let labels: BTreeMap<String, Number> = json(list)?;
    let count = labels.len();
    let mut classes = vec![None; count];
    for (name, index) in labels {
        let place = index.to_string().parse().ok();
        match place.and_then(|place: usize| classes.get_mut(place)) {
            Some(free @ None) => *free = Some(ClassName::new(name.replace(['[', ']'], ""))),
            _ => {
                return Err(at.fail(format!(
                    "expected the indices 0 to {}, each once; '{name}' has {index}",
                    count - 1
                )));
            }
        }
    }
    if count == 0 {
        return Err(at.fail("names no class"));
    }
    Ok(classes.into_iter().flatten().collect())
}

/// The classes of test clips by id, where the file is there.
fn read_answers(list: &Path) -> Result<HashMap<String, String>> {
    if !list.exists() {
        return Ok(HashMap::new());
    }
    let text = text::read(list)?;
    text::lines(&text)
        .map(|line| {
            let at = At {
                list,
                line: line.number,
            };
            let (id, class) = line
                .text
                .split_once(';')
                .ok_or_else(|| at.fail(format!("expected 'id;class', got '{}'", line.text)))?;
            Ok((id.trim().into(), class.trim().into()))
        })
        .collect()
}

/// A list under the name of either release.
fn list(folder: &Path, name: &str) -> PathBuf {
    let older = folder.join(format!("something-something-v2-{name}"));
    match older.is_file() {
        true => older,
        false => folder.join(name),
    }
}

fn json<T: DeserializeOwned>(list: &Path) -> Result<T> {
    serde_json::from_str(&text::read(list)?).map_err(|error| Error::Line {
        path: list.into(),
        line: error.line(),
        what: error.to_string(),
    })
}
