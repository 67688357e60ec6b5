//! Something-Something V2: a small imitation with the official fields and names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use data::formats::{Format, Found, Missing, ReadOptions};
use data::{Manifest, NameStyle};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder of videos and one of lists, whose names start with `prefix`.
struct Imitation {
    folder: TempDir,
    prefix: &'static str,
}

impl Imitation {
    fn new(prefix: &'static str) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            prefix,
        };
        for folder in ["root", "lists"] {
            fs::create_dir(place.folder.path().join(folder)).unwrap();
        }
        place.put(
            "labels.json",
            &json!({
                "Putting something similar to other things that are already on the table": "2",
                "Holding something next to something": "0",
                "Putting number of something onto something": "1",
            }),
        );
        place.put(
            "train.json",
            &json!([
                video(
                    "78687",
                    "Holding [something] next to [something]",
                    &["potato", "a [jar]"]
                ),
                video(
                    "42326",
                    "Putting [number of] [something] onto [something]",
                    &["two", "pens", "paper"]
                ),
            ]),
        );
        place.put(
            "validation.json",
            &json!([video(
                "100904",
                "Putting [something similar to other things that are already on the table]",
                &["another candle"],
            )]),
        );
        place.put("test.json", &json!([{"id": "1420"}, {"id": "1421"}]));
        for id in ["78687", "42326", "100904", "1420"] {
            place.clip(id);
        }
        place
    }

    fn put(&self, name: &str, content: &Value) {
        self.write(name, &content.to_string());
    }

    fn write(&self, name: &str, content: &str) {
        let name = format!("lists/{}{name}", self.prefix);
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn clip(&self, id: &str) {
        let path = format!("root/{id}.webm");
        fs::write(self.folder.path().join(path), "").unwrap();
    }

    fn read(&self, missing: Missing) -> data::Result<Found> {
        let options = ReadOptions {
            missing,
            follow_links: false,
        };
        let place = |name| self.folder.path().join(name);
        Format::named("ssv2")?.read(&place("root"), Some(&place("lists")), options)
    }

    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        let error = self.read(Missing::Unchecked).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "'{part}' is not in: {error}");
        }
    }
}

/// An entry with the official fields; its label is the lower-case caption.
fn video(id: &str, template: &str, placeholders: &[&str]) -> Value {
    let label = format!("official label of {id}");
    json!({"id": id, "label": label, "template": template, "placeholders": placeholders})
}

fn ids(manifest: &Manifest, positions: &[usize]) -> Vec<String> {
    let id = |position: &usize| manifest.clips()[*position].id.clone();
    positions.iter().map(id).collect()
}

#[test]
fn templates_are_classes_and_filled_they_are_captions() {
    for prefix in ["", "something-something-v2-"] {
        let found = Imitation::new(prefix).read(Missing::Refuse).unwrap();
        let manifest = &found.manifest;
        assert_eq!(manifest.dataset(), "ssv2");
        let classes = manifest.classes().iter();
        let classes: Vec<_> = classes.map(|class| class.text(NameStyle::Words)).collect();
        assert_eq!(
            classes,
            [
                "holding something next to something",
                "putting number of something onto something",
                "putting something similar to other things that are already on the table",
            ],
            "in order of the official indices"
        );
        let clips: Vec<_> = manifest
            .clips()
            .iter()
            .map(|clip| {
                (
                    clip.id.as_str(),
                    clip.label(),
                    clip.caption.as_deref().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            clips,
            [
                ("100904", 2, "Putting another candle"),
                ("42326", 1, "Putting two pens onto paper"),
                ("78687", 0, "Holding potato next to a [jar]"),
            ]
        );
        assert_eq!(manifest.clips()[0].path, Path::new("100904.webm"));
        assert_eq!(manifest.splits().len(), 1);
        let split = manifest.split("val").unwrap();
        assert_eq!(ids(manifest, &split.train), ["42326", "78687"]);
        assert_eq!(ids(manifest, &split.test), ["100904"]);
        let notes = found.notes.join("\n");
        assert!(
            notes.contains("2 training, 1 validation, 0 test clips"),
            "{notes}"
        );
        assert!(
            notes.contains("2 clips left out, without a class: "),
            "{notes}"
        );

        // Kept and read again, captions are there.
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("manifest.json");
        manifest.save(&path).unwrap();
        assert_eq!(Manifest::load(&path).unwrap().clips(), manifest.clips());
    }
}

#[test]
fn answers_make_a_split_of_the_test_clips() {
    let place = Imitation::new("");
    place.write(
        "test-answers.csv",
        "1420;Holding something next to something\r\n",
    );
    let found = place.read(Missing::Refuse).unwrap();
    let split = found.manifest.split("test").unwrap();
    assert_eq!(ids(&found.manifest, &split.test), ["1420"]);
    assert_eq!(split.train.len(), 2);
    let clip = &found.manifest.clips()[found.manifest.position("1420").unwrap()];
    assert_eq!((clip.label(), clip.caption.as_deref()), (0, None));
    let notes = found.notes.join("\n");
    assert!(
        notes.contains("1 clip left out, without a class: "),
        "{notes}"
    );
    let names: Vec<_> = found
        .manifest
        .splits()
        .iter()
        .map(|split| &split.name)
        .collect();
    assert_eq!(names, ["val", "test"]);
}

#[test]
fn other_spellings_are_understood() {
    let place = Imitation::new("");
    place.put(
        "train.json",
        &json!([
            // The class as a label, without brackets and in another case; a number as the id.
            {"id": 1, "label": "holding something next to something"},
            // More brackets than placeholders, and brackets in brackets.
            video("2", "Holding [something] next to [something]", &["potato"]),
            video("3", "[Holding [something] next to] something", &["potato"]),
            video("4", "Holding something next to something", &[]),
        ]),
    );
    let found = place.read(Missing::Unchecked).unwrap();
    let captions: Vec<_> = ["1", "2", "3", "4"]
        .map(|id| found.manifest.position(id).unwrap())
        .map(|position| found.manifest.clips()[position].caption.as_deref())
        .into();
    assert_eq!(
        captions,
        [
            Some("holding something next to something"),
            Some("official label of 2"),
            Some("official label of 3"),
            Some("Holding something next to something")
        ]
    );
    let notes = found.notes.join("\n");
    assert!(notes.contains("2 templates do not fit"), "{notes}");
}

#[test]
fn missing_clips_are_counted() {
    let place = Imitation::new("");
    fs::remove_file(place.folder.path().join("root/42326.webm")).unwrap();
    let error = place.read(Missing::Refuse).unwrap_err().to_string();
    assert!(
        error.contains("1 of 3 clips") && error.contains("'42326'"),
        "{error}"
    );
    let found = place.read(Missing::Allow).unwrap();
    assert_eq!(found.missing, ["42326"]);
    assert_eq!(found.manifest.classes().len(), 2);
    assert_eq!(found.manifest.split("val").unwrap().train.len(), 1);
}

#[test]
fn lists_that_contradict_each_other_are_refused() {
    let holding = "Holding [something] next to [something]";
    let one = |id| video(id, holding, &["a", "b"]);
    let place = Imitation::new("");
    place.put("validation.json", &json!([one("78687")]));
    place.refused(&["'78687'", "in train and in test"]);
    place.put(
        "validation.json",
        &json!([video(
            "78687",
            "Putting [number of] [something] onto [something]",
            &[]
        )]),
    );
    place.refused(&["validation.json", "'78687'", "another class"]);
    place.put("validation.json", &json!([one("5"), one("5")]));
    place.refused(&["validation.json", "'5'", "twice"]);
    place.put(
        "validation.json",
        &json!([video("5", "Flying [something]", &["a"])]),
    );
    place.refused(&[
        "validation.json",
        "'5'",
        "'Flying [something]'",
        "labels.json",
    ]);
    place.put("validation.json", &json!([one("../5")]));
    place.refused(&["'../5'"]);
    place.put("validation.json", &json!([{"label": "no id"}]));
    place.refused(&["validation.json", "line 1", "id"]);
    place.write("validation.json", "[\n{\"id\": \"5\"");
    place.refused(&["validation.json", "line 2"]);

    let place = Imitation::new("");
    place.write("test-answers.csv", "1420;Flying something\n");
    place.refused(&["test.json", "'1420'", "Flying something"]);
    place.write(
        "test-answers.csv",
        "1420,Holding something next to something\n",
    );
    place.refused(&["test-answers.csv", "line 1", "id;class"]);

    for (labels, said) in [
        (json!({}), "names no class"),
        (
            json!({"Holding something": "0", "Lifting something": "0"}),
            "each once",
        ),
        (json!({"Holding something": "1"}), "indices 0 to 0"),
        (
            json!({"Holding something": "first"}),
            "'Holding something' has first",
        ),
        (
            json!({"Holding something": "0", "holding [something]": 1}),
            "two spellings of one class",
        ),
    ] {
        let place = Imitation::new("");
        place.put("labels.json", &labels);
        for list in ["train.json", "validation.json", "test.json"] {
            place.put(list, &json!([{"id": "1", "label": "Holding something"}]));
        }
        place.refused(&[said]);
    }
    let place = Imitation::new("");
    fs::remove_file(place.folder.path().join("lists/train.json")).unwrap();
    place.refused(&["cannot read", "train.json"]);
}
