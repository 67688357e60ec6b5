//! Lists as people keep them: their forms, their names of files, their labels.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use data::formats::{Columns, Found, Lists, Missing, ReadOptions, clip_lists};
use data::{Dataset, DatasetOptions, Error, formats};
use tempfile::TempDir;

const UNCHECKED: ReadOptions = ReadOptions {
    missing: Missing::Unchecked,
    follow_links: false,
};

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// The clips of a list that is read without looking at the disk: path, and labels.
fn clips(text: &str) -> data::Result<Vec<(String, Vec<String>)>> {
    let folder = tempfile::tempdir().unwrap();
    let list = write(folder.path(), "list", text);
    let found = clip_lists("own", folder.path(), &Lists::one(&list), UNCHECKED)?;
    Ok(shown(&found))
}

fn shown(found: &Found) -> Vec<(String, Vec<String>)> {
    let name = |label: &usize| found.manifest.classes()[*label].raw().to_owned();
    let clips = found.manifest.clips().iter();
    clips
        .map(|clip| (clip.id.clone(), clip.labels.iter().map(name).collect()))
        .collect()
}

#[track_caller]
fn read_as(text: &str, expected: &[(&str, &[&str])]) {
    let found = clips(text).unwrap();
    let found: Vec<(&str, Vec<&str>)> = found
        .iter()
        .map(|(id, labels)| (id.as_str(), labels.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<(&str, Vec<&str>)> = expected
        .iter()
        .map(|(id, labels)| (*id, labels.to_vec()))
        .collect();
    assert_eq!(found, expected, "{text}");
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let error = clips(text).expect_err(text).to_string();
    for part in parts {
        assert!(error.contains(part), "'{part}' is not in: {error}");
    }
}

#[test]
fn separators_quotes_and_labels_with_spaces() {
    let guitar: &[(&str, &[&str])] = &[
        ("a 1.mp4", &["playing guitar"]),
        ("b.mp4", &["walk, slowly"]),
    ];
    for text in [
        "a 1.mp4\tplaying guitar\nb.mp4\twalk, slowly\n",
        "a 1.mp4;playing guitar\nb.mp4;walk, slowly\n",
        "a 1.mp4,playing guitar\nb.mp4,\"walk, slowly\"\n",
        "a 1.mp4, playing guitar\nb.mp4, \"walk, slowly\"\n",
        "a 1.mp4 playing guitar\nb.mp4 walk, slowly\n",
        "\"a 1.mp4\"  \"playing guitar\"\nb.mp4  \"walk, slowly\"\n",
        "playing guitar\ta 1.mp4\nwalk, slowly\tb.mp4\n",
        "\u{feff}a 1.mp4\t120\tplaying guitar\r\nb.mp4\t80\twalk, slowly\r\n",
        "a 1.mp4 120 playing guitar\nb.mp4 80 walk, slowly\n",
        "Video;Label;Split\na 1.mp4;playing guitar;Training\nb.mp4;walk, slowly;testing\n",
        "file_name\tframes\tlabel\na 1.mp4\t3\tplaying guitar\nb.mp4\t4\twalk, slowly\n",
    ] {
        read_as(text, guitar);
    }
    // Columns of names and of numbers, without a header.
    read_as(
        "flip/x.mp4,flipping,3,0\nrun/y.mp4,running,2,1\n",
        &[("flip/x.mp4", &["flipping"]), ("run/y.mp4", &["running"])],
    );
    // No file endings.
    read_as(
        "34870;Drumming Fingers\n56557;Swiping Left\n",
        &[
            ("34870", &["Drumming Fingers"]),
            ("56557", &["Swiping Left"]),
        ],
    );
    read_as(
        "-3B32lodo2M 0\n--0BJ-j7tg8 1\n- 0\n",
        &[
            ("-", &["0"]),
            ("--0BJ-j7tg8", &["1"]),
            ("-3B32lodo2M", &["0"]),
        ],
    );
    read_as(
        "brush hair/April_0 408 0\nbrush hair/April_1 394 1\nbrush hair/April_2 12 0\n",
        &[
            ("brush hair/April_0", &["0"]),
            ("brush hair/April_1", &["1"]),
            ("brush hair/April_2", &["0"]),
        ],
    );
    // A number that belongs to the label.
    read_as(
        "a.mp4 100 m run\nb.mp4 200 m run\nc.mp4 100 m run\n",
        &[
            ("a.mp4", &["100 m run"]),
            ("b.mp4", &["200 m run"]),
            ("c.mp4", &["100 m run"]),
        ],
    );
    // The label is the folder.
    read_as(
        "Punch/a.avi\nYoYo/b.avi\n",
        &[("Punch/a.avi", &["Punch"]), ("YoYo/b.avi", &["YoYo"])],
    );
}

#[test]
fn text_as_other_systems_write_it() {
    let expected: &[(&str, &[&str])] = &[("a.mp4", &["\u{fc}ben"]), ("b.mp4", &["run"])];
    read_as("a.mp4 \u{fc}ben\rb.mp4 run\r", expected);
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = vec![0xff, 0xfe];
    let units = "a.mp4\t\u{fc}ben\r\nb.mp4\trun\r\n".encode_utf16();
    bytes.extend(units.flat_map(u16::to_le_bytes));
    let list = write(folder.path(), "list", bytes);
    let found = clip_lists("own", folder.path(), &Lists::one(&list), UNCHECKED).unwrap();
    assert_eq!(shown(&found)[0].1, ["\u{fc}ben"]);
}

#[test]
fn several_labels_and_numbers_with_a_point() {
    read_as(
        "a.mp4 0 3\nb.mp4 1 2\nc.mp4 0 1\n",
        &[
            ("a.mp4", &["0", "3"]),
            ("b.mp4", &["1", "2"]),
            ("c.mp4", &["0", "1"]),
        ],
    );
    read_as(
        "a.mp4 0 3\nb.mp4 0 2 4\n",
        &[("a.mp4", &["0", "3"]), ("b.mp4", &["0", "2", "4"])],
    );
    read_as(
        "a.mp4 0,3\nb.mp4 1\n",
        &[("a.mp4", &["0", "3"]), ("b.mp4", &["1"])],
    );
    read_as(
        "a.mp4,run|jump,\nb.mp4,jump,\n",
        &[("a.mp4", &["jump", "run"]), ("b.mp4", &["jump"])],
    );
    read_as(
        "a.mp4 0.0\nb.mp4 1.0\n",
        &[("a.mp4", &["0"]), ("b.mp4", &["1"])],
    );
    read_as(
        "a.mp4 2\nb.mp4 1.0\nc.mp4 2.0\n",
        &[("a.mp4", &["2"]), ("b.mp4", &["1"]), ("c.mp4", &["2"])],
    );
    // A video without frames makes no list of several labels.
    read_as(
        "a.mp4 0 3\nb.mp4 120 2\nc.mp4 97 1\n",
        &[("a.mp4", &["3"]), ("b.mp4", &["2"]), ("c.mp4", &["1"])],
    );
    for text in [
        "a.mp4 1 3\nb.mp4 2 4\n",
        "imgs/a.mp4 2 5 127\n",
        "a.mp4 12 120\n",
    ] {
        refused(text, &["line 1", "expected 'path label'", "header"]);
    }
}

#[test]
fn a_line_of_another_form_is_named_with_both_forms() {
    let lines = "a.mp4 12 0\nb.mp4 14 1\nc.mp4 9 0\n";
    refused(
        &format!("{lines}x.mp4 12\n"),
        &[
            "line 4",
            "'path n_frames label'",
            "'path label': 'x.mp4 12'",
        ],
    );
    refused(
        "a.mp4 0\nb.mp4 1\nc.mp4 12 0\n",
        &["line 3", "expected 'path label'", "'c.mp4 12 0'"],
    );
    refused(
        "a.mp4,walk\nb.mp4,run,fast\nc.mp4,run\n",
        &["line 2", "expected 'path label'"],
    );
    refused(
        "a.mp4 120 0\nb.mp4 97 1\nc.mp4 88 0\nd.mp4 9 1 2\n",
        &["line 4", "'path n_frames label'", "3 fields"],
    );
    let many: String = (0..40)
        .map(|number| format!("{number}.mp4 {}\n", number % 3))
        .collect();
    refused(
        &format!("{many}x.mp4 0 3\n"),
        &["line 41", "expected 'path label'"],
    );
    refused("a.mp4,run\nb.mp4,\n", &["line 2", "an empty label"]);
    refused("a.mp4 0\nb.mp4\nc.mp4 1\n", &["line 2", "got 'path'"]);
    refused("a.mp4\nb.mp4\n", &["line 1", "folder is the label"]);
}

#[test]
fn columns_by_their_names() {
    let kinetics = "label,youtube_id,time_start,time_end,split\nrun,abc,0,10,test\n";
    let error = clips(kinetics).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Columns {
                layout: Some("kinetics400"),
                ..
            }
        ),
        "{error}"
    );
    refused(
        kinetics,
        &[
            "'youtube_id'",
            "none is known as the video",
            "'kinetics400'",
        ],
    );
    // Only the other lines hold files, or one name is known.
    refused(
        "Datei;Klasse\na.mp4;run\nb.mp4;walk\n",
        &["'Datei', 'Klasse'"],
    );
    refused(
        "youtube_id,label\nabc,run\ndef,walk\n",
        &["'youtube_id', 'label'"],
    );

    let folder = tempfile::tempdir().unwrap();
    let list = write(
        folder.path(),
        "list",
        "nr;Datei;Klasse;Satz\n1;a.mp4;run;Train\n2;b.mp4;walk;VAL\n3;c.mp4;walk;Test\n",
    );
    let columns: Columns = "video=datei, label=Klasse,split=Satz".parse().unwrap();
    let lists = Lists {
        columns: Some(&columns),
        ..Lists::one(&list)
    };
    let found = clip_lists("own", folder.path(), &lists, UNCHECKED).unwrap();
    let names: Vec<&str> = found
        .manifest
        .splits()
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(names, ["test", "val"], "the final figure comes first");
    assert!(found.notes.join("\n").contains("'val', is for choosing"));
    let absent: Columns = "video=Film,label=Klasse".parse().unwrap();
    let lists = Lists {
        columns: Some(&absent),
        ..Lists::one(&list)
    };
    let error = clip_lists("own", folder.path(), &lists, UNCHECKED).unwrap_err();
    assert!(error.to_string().contains("none is 'Film'"), "{error}");
    for text in ["", "video", "video=", "film=a,label=b", "video=a,video=b"] {
        assert!(text.parse::<Columns>().is_err(), "{text}");
    }
}

/// A list and files below `root`.
struct Place(TempDir);

impl Place {
    fn new(files: &[&str]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for file in files {
            write(place.0.path(), &format!("root/{file}"), "");
        }
        place
    }

    fn read(&self, text: &str) -> data::Result<Found> {
        let list = write(self.0.path(), "list", text);
        let root = self.0.path().join("root");
        clip_lists("own", &root, &Lists::one(&list), ReadOptions::default())
    }

    #[track_caller]
    fn finds(&self, text: &str, ids: &[&str]) -> String {
        let found = self.read(text).unwrap();
        let clips = found.manifest.clips().iter();
        assert_eq!(clips.map(|clip| clip.id.as_str()).collect::<Vec<_>>(), ids);
        assert!(
            found
                .manifest
                .clips()
                .iter()
                .all(|clip| found.manifest.file(clip).is_file())
        );
        found.notes.join("\n")
    }
}

#[test]
fn names_are_found_in_another_spelling_when_one_file_fits() {
    let place = Place::new(&[
        "Swing/v0.avi.mp4",
        "Swing/v 1.MP4",
        "caf\u{e9}/v2.webm",
        "v2.txt",
    ]);
    let as_written = "train/Swing/v0.avi' is 'Swing/v0.avi.mp4";
    let said = place.finds(
        "train\\Swing\\v0.avi Swing\r\ntrain\\Swing\\v 1.mp4 Swing\r\n",
        &["Swing/v 1.MP4", "Swing/v0.avi.mp4"],
    );
    assert!(
        said.contains(as_written) && said.contains("2 of 2 names"),
        "{said}"
    );
    for list in [
        "v0.avi.mp4 0\n",
        "v0.avi 0\n",
        "swing/v0.avi.mp4 0\n",
        "/mnt/data/videos/Swing/v0.avi.mp4 0\n",
        "C:\\data\\Swing\\v0.avi.mp4 0\n",
        "Swing/v0.avi.avi 0\n",
    ] {
        let said = place.finds(
            list,
            if list.starts_with("swing") {
                &["swing/v0.avi.mp4"]
            } else {
                &["Swing/v0.avi.mp4"]
            },
        );
        assert_eq!(
            said.contains("the one file that fits"),
            !list.starts_with("swing"),
            "{said}"
        );
    }
    // In Unicode's other form.
    place.finds("cafe\u{301}/v2.webm 0\n", &["cafe\u{301}/v2.webm"]);
    place.finds("cafe\u{301}/v2 0\n", &["caf\u{e9}/v2.webm"]);
}

#[test]
fn names_that_fit_no_file_or_two_are_shown_with_the_nearest() {
    let place = Place::new(&["train/a.mp4", "test/a.mp4", "train/b.mp4", "c.mp4", "c.avi"]);
    let error = |text: &str| place.read(text).unwrap_err().to_string();
    let said = error("a.mp4 0\nd.mp4 1\ne.mp4 0\nf.mp4 1\nb.mp4 1\n");
    for part in [
        "4 of 5 clips",
        "'a.mp4', 'd.mp4', 'e.mp4' ...",
        "nearest there: ",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(
        !said.contains("allow_missing"),
        "a name of two files is not missing: {said}"
    );
    assert!(error("c 0\n").contains("'c.avi', 'c.mp4'"), "two files fit");
    assert!(
        error("val/b.mp4 0\n").contains("'train/b.mp4'"),
        "another folder is another clip"
    );
    // Two names, one file.
    let said = error("x/b.avi 0\nb.mp4 1\n");
    assert!(
        said.contains("1 of 2 clips") || said.contains("both taken"),
        "{said}"
    );
    let said = error("train/b.mp4 0\nb.mp4 1\n");
    assert!(
        said.contains("'train/b.mp4'") && said.contains("'b.mp4'"),
        "{said}"
    );
}

#[test]
fn a_training_list_a_test_list_and_a_table_of_names() {
    let place = Place::new(&["0.mp4", "1.mp4", "2.mp4", "3.mp4"]);
    let folder = place.0.path();
    let read = |train: &str, test: &str, table: &str| {
        let mut options = DatasetOptions::new(&formats::CLASS_FOLDERS, folder.join("root"));
        options.train_list = Some(write(folder, "train", train));
        options.test_list = Some(write(folder, "test", test));
        options.class_table = Some(write(folder, "table", table));
        Dataset::read(&options)
    };
    let table = "id,name\r\n0,\"walk, slowly\"\r\n1,Run\r\n";
    for (train, test) in [
        ("0.mp4 0\n1.mp4 1\n", "2.mp4 0\n3.mp4 1\n"),
        // They count from 1, the table from 0.
        ("0.mp4 1\n1.mp4 2\n", "2.mp4 1\n3.mp4 2\n"),
        (
            "0.mp4 120 0.0\n1.mp4 80 1.0\n",
            "2.mp4,walk slowly\n3.mp4,run\n",
        ),
    ] {
        let dataset = read(train, test, table).unwrap();
        assert_eq!(dataset.name(0), "walk, slowly");
        let split = dataset.split("lists").unwrap();
        assert_eq!((split.train, split.test), (vec![0, 1], vec![2, 3]));
        let classes: Vec<usize> = (0..4).map(|clip| dataset.class(clip)).collect();
        assert_eq!(classes, [0, 1, 0, 1], "{train}");
    }
    // Gaps, and other forms of the table.
    for table in [
        "3 walk\n10 run\n0 sit\n",
        "{\"walk\": 3, \"run\": 10}",
        "{\"3\": \"walk\", \"10\": \"run\"}",
        "3;walk\n10;run\n",
        "[{\"id\": 3, \"name\": \"walk\"}, {\"id\": 10, \"name\": \"\\\"run\\\"\"}]",
        "1: sit\n3: walk\n10: run\n",
        "class_id\tclass_name\tclips\n3\twalk\t7\n10\trun\t9\n",
    ] {
        let mut options = DatasetOptions::new(&formats::CLASS_FOLDERS, folder.join("root"));
        options.allow_missing = true;
        options.train_list = Some(write(folder, "train", "0.mp4 3\n1.mp4 10\n"));
        options.class_table = Some(write(folder, "table", table));
        let dataset = Dataset::read(&options).unwrap();
        assert_eq!(
            (dataset.name(0), dataset.name(1)),
            ("walk", "run"),
            "{table}"
        );
        assert!(
            dataset.manifest.splits().is_empty(),
            "there is nothing to test"
        );
    }
    let refused = |result: data::Result<Dataset>, part: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "'{part}' is not in: {error}");
    };
    refused(
        read("0.mp4 0\n", "1.mp4 7\n", table),
        "test, line 1: label '7'",
    );
    refused(
        read("0.mp4 0\n", "1.mp4 1\n0.mp4 0\n", table),
        "in train and in test",
    );
    refused(
        read("0.mp4 0\n1.mp4 0\n", "2.mp4 0\n", table),
        "1 of 2 classes have no clip: 'Run'",
    );
    refused(
        read("0.mp4 0\n", "1.mp4 1\n", table),
        "none of its labels is in the training list",
    );
}

#[test]
fn options_that_do_not_go_together() {
    let place = Place::new(&["a/0.mp4"]);
    let refused = |change: &dyn Fn(&mut DatasetOptions), part: &str| {
        let mut options = DatasetOptions::new(&formats::CLASS_FOLDERS, place.0.path().join("root"));
        change(&mut options);
        let error = Dataset::read(&options).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&|o| o.class_table = Some("table".into()), "class_table");
    refused(&|o| o.columns = "video=a,label=b".parse().ok(), "columns");
    refused(
        &|o| o.lists = Some(place.0.path().into()),
        "a list, or none",
    );
    refused(
        &|o| (o.lists, o.train_list) = (Some("a".into()), Some("b".into())),
        "none beside train_list",
    );
    refused(
        &|o| {
            o.layout = formats::Format::named("ucf101").unwrap();
            o.test_list = Some("b".into());
        },
        "lists of its own",
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "[a-c019 ,;\t\"./\\\\\n\r|:\\[{\u{e9}\u{2003}]{0,80}") {
        let folder = tempfile::tempdir().unwrap();
        let list = write(folder.path(), "list", &text);
        let _ = clip_lists("own", folder.path(), &Lists::one(&list), UNCHECKED);
        let _ = formats::read_class_index(&list);
    }
}
