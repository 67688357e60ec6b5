//! Everything that decides a run's result, kept beside it, so that an old result is never the
//! answer to a new question.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use clips::{Precision, PrecisionChoice};
use serde::{Deserialize, Serialize};

use super::Session;
use crate::fit::{ALL, CROSS_VALIDATION, HOLD_OUT};
use crate::json::{read_record, write_record};
use crate::trial::{split_name, split_of};
use crate::{Error, Result};

/// Number of the form of runs and of the computation; a change that makes earlier results
/// incomparable increases it.
const FORMAT: u32 = 2;

const FILE: &str = "inputs.json";

/// Most names listed of one kind.
const NAMED: usize = 5;

/// Everything that decides a run's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inputs {
    format: u32,
    /// The folder of videos.
    root: PathBuf,
    /// The checkpoint's place, for messages: its hash decides.
    weights: PathBuf,
    /// SHA-256 of the backbone's weights.
    weights_sha256: String,
    preprocessing: String,
    /// Hash of the parameters that training starts from.
    start: Option<String>,
    /// Each key of the configuration that affects the result, dotted.
    settings: BTreeMap<String, String>,
    /// Each class as the data set names it, with the words for prompts.
    classes: BTreeMap<String, String>,
    clips: BTreeMap<String, ClipInput>,
}

/// What a clip contributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClipInput {
    /// Its classes, as the data set names them.
    class: String,
    /// Its part of the split that the data set brings.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    part: String,
    /// As [`clips::file_identities`] gives it.
    file: String,
}

/// The difference between a run in a folder and the one asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Earlier {
    /// The folder holds no run.
    None,
    /// The same run, finished or not.
    Same,
    /// The same run on other clips: some were added or removed, with or without their classes.
    OtherClips(ClipChanges),
    /// Another run: one line per difference.
    Other(Vec<String>),
}

/// Clips and classes that were added or removed, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClipChanges {
    added: Vec<String>,
    removed: Vec<String>,
    added_classes: Vec<String>,
    removed_classes: Vec<String>,
}

/// The precision of the run in `folder`, if there is one that can be read.
pub fn precision(folder: &Path) -> Option<Precision> {
    let inputs: Inputs = read_record(&folder.join(FILE)).ok()?;
    let value = inputs.settings.get("backbone.precision")?;
    let choice: PrecisionChoice = serde_json::from_str(value).ok()?;
    choice.fixed()
}

impl Inputs {
    /// The inputs of `session`.
    ///
    /// # Errors
    /// [`Error::Syntax`] if a setting has no JSON form.
    pub(super) fn of(session: &Session) -> Result<Self> {
        let (config, dataset) = (&session.config, &session.dataset);
        let manifest = &dataset.manifest;
        let root = manifest.root();
        let raw = |class: &usize| manifest.classes().get(*class).map_or("", |name| name.raw());
        let parts = parts(session);
        let entries = manifest.clips().iter().zip(session.files.iter());
        let clips = entries.enumerate().map(|(position, (clip, file))| {
            let classes: Vec<&str> = clip.labels.iter().map(raw).collect();
            let input = ClipInput {
                class: classes.join(", "),
                part: parts.get(&position).cloned().unwrap_or_default(),
                file: file.clone(),
            };
            (clip.id.clone(), input)
        });
        let names = manifest.classes().iter().zip(&dataset.labels);
        Ok(Self {
            format: FORMAT,
            root: std::fs::canonicalize(root).unwrap_or_else(|_| root.into()),
            weights: session.backbone.identity.place.clone(),
            weights_sha256: session.backbone.identity.sha256.clone(),
            preprocessing: session.backbone.preprocess.fingerprint(),
            start: session.start.as_ref().map(|start| start.hash.clone()),
            settings: config.decisive()?,
            classes: names
                .map(|(name, label)| (name.raw().to_owned(), label.clone()))
                .collect(),
            clips: clips.collect(),
        })
    }

    /// The hash of everything that every training of the run shares.
    pub(super) fn fingerprint(&self) -> Result<String> {
        let decides = (
            self.format,
            &self.weights_sha256,
            &self.preprocessing,
            &self.start,
            &self.settings,
        );
        let text = serde_json::to_string(&decides).map_err(|error| Error::Syntax {
            origin: FILE.into(),
            reason: error.to_string(),
        })?;
        Ok(disk::sha256(text))
    }

    /// Hashes of what decides beside the clips, and of the clips.
    pub(super) fn hashes(&self) -> Result<[String; 2]> {
        let clips = serde_json::to_string(&(&self.classes, &self.clips));
        let clips = clips.map_err(|error| Error::Syntax {
            origin: FILE.into(),
            reason: error.to_string(),
        })?;
        Ok([self.fingerprint()?, disk::sha256(clips)])
    }

    /// Writes them into the run's folder.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        write_record(&folder.join(FILE), self)
    }

    /// Compares them with those of the run in `folder`.
    pub(super) fn compare(&self, folder: &Path) -> Result<Earlier> {
        let path = folder.join(FILE);
        if disk::is_file(&path)? {
            return Ok(self.since(&read_record(&path)?));
        }
        // Every run writes its inputs first.
        let foreign = folder.join("config.toml");
        if disk::is_there(&foreign)? {
            return Ok(Earlier::Other(vec![format!(
                "{} belongs to a run without {FILE}",
                foreign.display()
            )]));
        }
        Ok(Earlier::None)
    }

    fn since(&self, old: &Self) -> Earlier {
        let mut lines = Lines(Vec::new());
        lines.compare("format", old.format, self.format);
        lines.compare("data.root", old.root.display(), self.root.display());
        if old.weights_sha256 != self.weights_sha256 {
            let named = |inputs: &Self| {
                let hash = inputs.weights_sha256.get(..12).unwrap_or_default();
                format!("{} (SHA-256 {hash}…)", inputs.weights.display())
            };
            lines.compare("backbone.weights", named(old), named(self));
        }
        lines.compare("preprocessing", &old.preprocessing, &self.preprocessing);
        let start = |inputs: &Self| inputs.start.clone().unwrap_or_else(|| "none".into());
        lines.compare("train.start_from", start(old), start(self));
        let keys: BTreeSet<&String> = old.settings.keys().chain(self.settings.keys()).collect();
        for key in keys {
            let value = |inputs: &Self| match inputs.settings.get(key) {
                Some(value) => value.clone(),
                None => "not set".into(),
            };
            lines.compare(key, value(old), value(self));
        }
        for (class, label) in &self.classes {
            if let Some(before) = old.classes.get(class) {
                lines.compare(&format!("words of class \"{class}\""), before, label);
            }
        }
        let changed = lines.0.len();
        for (id, clip) in &self.clips {
            if let Some(before) = old.clips.get(id) {
                lines.compare(&format!("class of {id}"), &before.class, &clip.class);
                lines.compare(&format!("part of {id}"), &before.part, &clip.part);
                if before.file != clip.file {
                    lines.0.push(format!("{id}: the file has other content"));
                }
            }
        }
        let mut changes = self.clip_changes(old);
        self.moved(old, &mut changes, &mut lines);
        lines.shorten_after(changed);
        match (lines.0.is_empty(), changes == ClipChanges::default()) {
            (true, true) => Earlier::Same,
            (true, false) => Earlier::OtherClips(changes),
            (false, _) => {
                let added = changes.to_string();
                lines.0.extend((!added.is_empty()).then_some(added));
                Earlier::Other(lines.0)
            }
        }
    }

    fn clip_changes(&self, old: &Self) -> ClipChanges {
        fn without<V>(map: &BTreeMap<String, V>, other: &BTreeMap<String, V>) -> Vec<String> {
            let new = map.keys().filter(|key| !other.contains_key(*key));
            new.cloned().collect()
        }
        ClipChanges {
            added: without(&self.clips, &old.clips),
            removed: without(&old.clips, &self.clips),
            added_classes: without(&self.classes, &old.classes),
            removed_classes: without(&old.classes, &self.classes),
        }
    }

    /// Takes the files that have left one class and appeared in another out of `changes`: their
    /// class is a line.
    fn moved(&self, old: &Self, changes: &mut ClipChanges, lines: &mut Lines) {
        let gone = |id: &String| Some((old.clips.get(id)?.file.clone(), id.clone()));
        let gone: BTreeMap<String, String> = changes.removed.iter().filter_map(gone).collect();
        changes.added.retain(|id| {
            let clip = self.clips.get(id);
            let before = clip.and_then(|clip| gone.get(&clip.file));
            let classes = before.and_then(|before| old.clips.get(before)).zip(clip);
            let Some((before, (was, is))) = before.zip(classes) else {
                return true;
            };
            if was.class == is.class {
                return true;
            }
            lines.compare(
                &format!("class of {before}, now {id}"),
                &was.class,
                &is.class,
            );
            changes.removed.retain(|id| id != before);
            false
        });
    }
}

/// The part of the configured split that each clip is in; nothing if the split was drawn from the
/// clips themselves.
fn parts(session: &Session) -> BTreeMap<usize, String> {
    let protocol = &session.config.protocol;
    let name = split_name(&session.dataset.manifest, protocol.split);
    let Ok(split) = split_of(protocol, &session.dataset) else {
        return BTreeMap::new();
    };
    if [CROSS_VALIDATION, HOLD_OUT, ALL].contains(&name.as_str()) {
        return BTreeMap::new();
    }
    let part = |clips: Vec<usize>, part: &'static str| {
        clips.into_iter().map(move |clip| (clip, part.to_owned()))
    };
    part(split.train, "train")
        .chain(part(split.test, "test"))
        .collect()
}

/// One line per difference.
struct Lines(Vec<String>);

impl Lines {
    fn compare<T: ToString, U: ToString>(&mut self, what: &str, old: T, new: U) {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            self.0.push(format!("{what}: was {old}, is {new}"));
        }
    }

    /// Keeps a few of the lines after the first `settings`, and a count of the others.
    fn shorten_after(&mut self, settings: usize) {
        let count = self.0.len() - settings;
        if count > NAMED {
            self.0.truncate(settings + NAMED);
            self.0.push(format!("and {} other clips", count - NAMED));
        }
    }
}

impl fmt::Display for ClipChanges {
    /// Such as `added 6 clips, class "jump"; removed 1 clip`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (verb, clips, classes) in [
            ("added", &self.added, &self.added_classes),
            ("removed", &self.removed, &self.removed_classes),
        ] {
            let mut names = Vec::new();
            match clips.as_slice() {
                [] => {}
                [clip] => names.push(format!("1 clip ({clip})")),
                several => names.push(format!("{} clips", several.len())),
            }
            for class in classes.iter().take(NAMED) {
                names.push(format!("class \"{class}\""));
            }
            if classes.len() > NAMED {
                names.push(format!("{} other classes", classes.len() - NAMED));
            }
            if !names.is_empty() {
                parts.push(format!("{verb} {}", names.join(", ")));
            }
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn inputs(clips: &[(&str, &str, &str)]) -> Inputs {
        let clip = |(id, class, file): &(&str, &str, &str)| {
            let input = ClipInput {
                class: (*class).into(),
                part: String::new(),
                file: (*file).into(),
            };
            ((*id).to_owned(), input)
        };
        let class = |(_, class, _): &(&str, &str, &str)| ((*class).into(), class.to_lowercase());
        Inputs {
            format: FORMAT,
            root: "/videos".into(),
            weights: "/clip".into(),
            weights_sha256: "a".repeat(64),
            preprocessing: "224".into(),
            start: None,
            settings: BTreeMap::from([("train.learning_rate".into(), "0.1".into())]),
            classes: clips.iter().map(class).collect(),
            clips: clips.iter().map(clip).collect(),
        }
    }

    const TWO: [(&str, &str, &str); 2] = [("Run/1", "Run", "10-a"), ("Sit/1", "Sit", "11-b")];

    fn other(new: &Inputs) -> String {
        match new.since(&inputs(&TWO)) {
            Earlier::Other(lines) => lines.join("\n"),
            earlier => panic!("{earlier:?}"),
        }
    }

    #[test]
    fn clips_and_classes_that_come_and_go_are_named() {
        let old = inputs(&TWO);
        assert_eq!(old.since(&old), Earlier::Same);
        let jump = ("Jump/1", "Jump", "12-c");
        let more = inputs(&[TWO[0], TWO[1], jump, ("Run/2", "Run", "13-d")]);
        let said = |new: &Inputs, old: &Inputs| match new.since(old) {
            Earlier::OtherClips(changes) => changes.to_string(),
            earlier => panic!("{earlier:?}"),
        };
        assert_eq!(said(&more, &old), "added 2 clips, class \"Jump\"");
        assert_eq!(said(&old, &more), "removed 2 clips, class \"Jump\"");
        let swapped = inputs(&[TWO[0], jump]);
        let words = "added 1 clip (Jump/1), class \"Jump\"; removed 1 clip (Sit/1), class \"Sit\"";
        assert_eq!(said(&swapped, &old), words);
        let renamed = inputs(&[("Run/one", "Run", "10-a"), TWO[1]]);
        assert_eq!(
            said(&renamed, &old),
            "added 1 clip (Run/one); removed 1 clip (Run/1)"
        );
    }

    #[test]
    fn every_other_difference_is_named_by_its_key() {
        let mut new = inputs(&TWO);
        new.settings
            .insert("train.learning_rate".into(), "0.2".into());
        assert_eq!(other(&new), "train.learning_rate: was 0.1, is 0.2");
        let mut new = inputs(&TWO);
        new.root = "/elsewhere/videos".into();
        assert_eq!(other(&new), "data.root: was /videos, is /elsewhere/videos");
        let mut new = inputs(&TWO);
        new.weights_sha256 = "b".repeat(64);
        let said = "backbone.weights: was /clip (SHA-256 aaaaaaaaaaaa…), is /clip (SHA-256 \
                    bbbbbbbbbbbb…)";
        assert_eq!(other(&new), said);
        let mut new = inputs(&TWO);
        new.classes.insert("Run".into(), "running".into());
        assert_eq!(other(&new), "words of class \"Run\": was run, is running");
        let replaced = inputs(&[("Run/1", "Run", "10-z"), TWO[1]]);
        assert_eq!(other(&replaced), "Run/1: the file has other content");
    }

    #[test]
    fn a_clip_that_changed_its_class_is_not_a_clip_added() {
        let relabelled = inputs(&[("Run/1", "Sit", "10-a"), TWO[1]]);
        assert!(other(&relabelled).starts_with("class of Run/1: was Run, is Sit"));
        let moved = inputs(&[TWO[1], ("Sit/2", "Sit", "10-a")]);
        let said = "class of Run/1, now Sit/2: was Run, is Sit\nremoved class \"Run\"";
        assert_eq!(other(&moved), said);
    }
}
