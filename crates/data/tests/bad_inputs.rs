//! Lists, folders and manifests that must be refused, each with an error that names the
//! place and what is wrong there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;

use data::formats::{
    Format, Found, Lists, Missing, ReadOptions, class_folders, clip_lists, read_class_index,
};
use data::splits::{few_shot, read_published};
use data::{ClassName, Manifest, SkipList, Split, VideoEntry};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    /// Files below a fresh folder.
    fn with(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            place.file(path, content.as_bytes());
        }
        place
    }

    fn file(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// A registered format, of `root` and `lists`.
    fn read(&self, name: &str, options: ReadOptions) -> data::Result<Found> {
        Format::named(name)?.read(&self.path("root"), Some(&self.path("lists")), options)
    }

    fn list(&self, options: ReadOptions) -> data::Result<Found> {
        let list = self.path("list");
        clip_lists("own", &self.path("root"), &Lists::one(&list), options)
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: data::Result<T>, parts: &[&str]) {
    let error = result.expect_err("this must be refused").to_string();
    for part in parts {
        assert!(error.contains(part), "'{part}' is not in: {error}");
    }
}

fn allow() -> ReadOptions {
    ReadOptions {
        missing: Missing::Allow,
        follow_links: false,
    }
}

const UNCHECKED: ReadOptions = ReadOptions {
    missing: Missing::Unchecked,
    follow_links: false,
};

#[test]
fn lists() {
    let refused_list = |text: &str, parts: &[&str]| {
        let place = Place::with(&[("list", text), ("root/a.avi", "x"), ("root/b.avi", "x")]);
        refused(place.list(ReadOptions::default()), parts);
    };
    refused_list("", &["list", "is empty"]);
    refused_list("\n\n# nothing\n", &["list", "is empty"]);
    refused_list(
        "a.avi 0\nb.avi\n",
        &["list, line 2", "expected 'path label'"],
    );
    refused_list(
        "a.avi 0\r\n\r\n../b.avi 1\r\n",
        &["line 3", "'../b.avi'", "leads out"],
    );
    refused_list("/etc/passwd 0\n", &["1 of 1 clips", "'etc/passwd'"]);
    refused_list("x/../../b.avi 1\n", &["line 1", "leads out"]);
    refused_list("..\\b.avi 1\n", &["line 1", "leads out"]);
    refused_list(
        "a.avi 0\nb.avi 1\n./a.avi 0\n",
        &["'a.avi'", "lines 1 and 3"],
    );
    refused_list(
        "a.avi 0\nc.avi 1\n",
        &["1 of 2 clips", "'c.avi'", "nearest", "allow_missing"],
    );
    refused_list("a.avi,run,fast\n", &["line 1", "2 fields", "header"]);
    refused_list(
        "path,label\na.avi,run\nb.avi\n",
        &["line 3", "expected 2 fields, as the header has, got 1"],
    );
    refused_list("path,label\na.avi,\n", &["line 2", "expected a label"]);
    refused_list(
        "path,frames\na.avi,3\n",
        &["line 1", "'path', 'frames'", "none is known as the label: "],
    );
    refused_list(
        "path,label,split\na.avi,run,dev\n",
        &["line 2", "train, val or test", "'dev'"],
    );
    refused_list(
        "a.avi,jump_rope\nb.avi,JumpRope\n",
        &["two spellings of one class"],
    );
    refused_list("a\u{1}.avi 0\n", &["line 1", "control characters"]);
    refused_list("path,label\n,run\n", &["line 2", "expected a path"]);
}

#[test]
fn a_list_that_is_not_text_is_named_with_its_line() {
    let place = Place::with(&[("root/a.avi", "x")]);
    place.file("list", b"a.avi 0\n\xff\xfe.avi 1\n");
    refused(
        place.list(ReadOptions::default()),
        &["list, line 2", "not UTF-8"],
    );
    fs::remove_file(place.path("list")).unwrap();
    refused(place.list(ReadOptions::default()), &["cannot read", "list"]);
}

#[test]
fn a_number_beyond_the_class_index() {
    let place = Place::with(&[
        ("list", "a.avi 0\nb.avi 2\n"),
        ("classes", "run\nwalk\n"),
        ("root/a.avi", ""),
    ]);
    let (root, list, table) = (
        place.path("root"),
        place.path("list"),
        place.path("classes"),
    );
    let lists = Lists {
        class_table: Some(&table),
        ..Lists::one(&list)
    };
    refused(
        clip_lists("own", &root, &lists, allow()),
        &["line 2", "label '2'", "numbers 0 to 1"],
    );
}

#[test]
fn class_indices() {
    let refused_index = |text: &str, parts: &[&str]| {
        let place = Place::with(&[("classes", text)]);
        refused(read_class_index(&place.path("classes")), parts);
    };
    refused_index("", &["names no class"]);
    refused_index("1 Run\n1 Walk\n", &["line 2", "number 1"]);
    refused_index("1 Run\n2 run\n", &["line 2", "'run'", "line 1"]);
    refused_index(
        "id,name\n0,run\nx,walk\n",
        &["line 3", "expected a number, got 'x'"],
    );
    refused_index("0,run\n1,\"\"\n", &["line 2", "got nothing"]);
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder() {
    let place = Place::with(&[("outside/secret.avi", "x"), ("root/run/a.avi", "x")]);
    place.file("list", b"run/a.avi 0\nrun/b.avi 0\n");
    std::os::unix::fs::symlink(
        place.path("outside/secret.avi"),
        place.path("root/run/b.avi"),
    )
    .unwrap();
    let root = place.path("root");
    let follow = ReadOptions {
        missing: Missing::Refuse,
        follow_links: true,
    };
    refused(
        class_folders("own", &root, ReadOptions::default()),
        &["b.avi", "follow_links"],
    );
    refused(place.list(ReadOptions::default()), &["b.avi", "secret.avi"]);
    assert_eq!(
        class_folders("own", &root, follow)
            .unwrap()
            .manifest
            .clips()
            .len(),
        2
    );

    fs::remove_file(place.path("root/run/b.avi")).unwrap();
    std::os::unix::fs::symlink(place.path("outside"), place.path("root/walk")).unwrap();
    refused(
        class_folders("own", &root, ReadOptions::default()),
        &["walk", "follow_links"],
    );
    // A link that stays inside is as good as a file.
    fs::remove_file(place.path("root/walk")).unwrap();
    std::os::unix::fs::symlink(place.path("root/run"), place.path("root/walk")).unwrap();
    let found = class_folders("own", &root, ReadOptions::default()).unwrap();
    assert_eq!(found.manifest.classes().len(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::with(&[("root/run/a.avi", "x")]);
    let name = std::ffi::OsStr::from_bytes(b"\xffbad.avi");
    fs::write(place.path("root/run").join(name), "x").unwrap();
    let refusal = class_folders("own", &place.path("root"), ReadOptions::default());
    refused(refusal, &["bad.avi", "not UTF-8"]);
}

#[test]
fn folders() {
    let refused_folder = |files: &[(&str, &str)], parts: &[&str]| {
        let place = Place::with(files);
        refused(
            class_folders("own", &place.path("root"), ReadOptions::default()),
            parts,
        );
    };
    refused_folder(&[], &["root", "cannot open"]);
    refused_folder(&[("root/notes.txt", "x")], &["no class folder"]);
    refused_folder(
        &[("root/run/a.avi", ""), ("root/b.mp4", "")],
        &["b.mp4", "beside the class"],
    );
    refused_folder(
        &[("root/run/a.avi", ""), ("root/walk/x.txt", "")],
        &["walk", "without a video"],
    );
    refused_folder(
        &[("root/run/train/a.avi", ""), ("root/walk/test/b.avi", "")],
        &["run/train", "expected <part>/<class>/<clip>"],
    );
    refused_folder(
        &[
            ("root/videos/run/a.avi", ""),
            ("root/videos/walk/b.avi", ""),
        ],
        &["videos", "expected <class>/<clip>", "'run', 'walk'"],
    );
    refused_folder(
        &[("root/Jump/a.avi", ""), ("root/jump/b.avi", "")],
        &["'Jump' and 'jump' are two spellings of one class"],
    );
    refused_folder(
        &[("root/train/a.avi", ""), ("root/val/run/b.avi", "")],
        &["a.avi", "beside"],
    );
}

fn ucf(files: &[(&str, &str)]) -> data::Result<Found> {
    Place::with(files).read("ucf101", UNCHECKED)
}

#[test]
fn ucf_lists() {
    let index = ("lists/classInd.txt", "1 Punch\n2 HandstandPushups\n");
    let test = ("lists/testlist01.txt", "Punch/v_Punch_g01_c01.avi\n");
    let train = |text| ("lists/trainlist01.txt", text);
    refused(ucf(&[]), &["classInd.txt"]);
    refused(ucf(&[index]), &["neither trainlist0N.txt"]);
    refused(ucf(&[index, test]), &["trainlist01.txt"]);
    refused(
        ucf(&[index, test, train("Punch/v_Punch_g08_c01.avi 2\n")]),
        &["line 1", "label 2"],
    );
    refused(
        ucf(&[index, test, train("Kick/v_Kick_g08_c01.avi 1\n")]),
        &["line 1", "'Kick'"],
    );
    refused(
        ucf(&[index, test, train("Punch/v_Punch_g01_c02.avi 1\n")]),
        &["g01", "train", "test"],
    );
    refused(
        ucf(&[index, test, train("Punch/v_Punch_g01_c01.avi 1\n")]),
        &["in train and in test"],
    );
    let twice = "Punch/v_Punch_g08_c01.avi 1\nPunch/v_Punch_g08_c01.avi 1\n";
    refused(ucf(&[index, test, train(twice)]), &["lines 1 and 2"]);
}

#[test]
fn hmdb_lists() {
    let hmdb = |files: &[(&str, &str)]| Place::with(files).read("hmdb51", UNCHECKED);
    let run = |text| ("lists/run_test_split1.txt", text);
    refused(
        hmdb(&[("lists/readme.txt", "")]),
        &["no file <class>_test_split1.txt"],
    );
    refused(hmdb(&[run("a.avi 3\n")]), &["line 1", "'3'"]);
    refused(hmdb(&[run("a.avi\n")]), &["line 1", "expected 'file id'"]);
    refused(hmdb(&[run("a.avi 1\na.avi 2\n")]), &["lines 1 and 2"]);
    refused(hmdb(&[run("../a.avi 1\n")]), &["leads out"]);
    let other = ("lists/walk_test_split2.txt", "b.avi 1\n");
    refused(
        hmdb(&[run("a.avi 1\n"), other]),
        &["no walk_test_split1.txt"],
    );
}

#[test]
fn kinetics_lists() {
    let kinetics = |text: &str| {
        let place = Place::with(&[("lists/val.csv", text), ("root/x", "")]);
        place.read("kinetics400", ReadOptions::default())
    };
    let header = "label,youtube_id,time_start,time_end,split\n";
    refused(
        kinetics("label,youtube_id\nrun,abc\n"),
        &["line 1", "'time_start'"],
    );
    refused(
        kinetics(&format!("{header}run,../abc,1,2,val\n")),
        &["line 2", "'../abc'"],
    );
    refused(
        kinetics(&format!("{header}run,abc,1,-2,val\n")),
        &["line 2", "seconds"],
    );
    refused(kinetics(&format!("{header}run,abc,1\n")), &["line"]);
    refused(
        kinetics(&format!("{header},abc,1,2,val\n")),
        &["line 2", "label"],
    );
    let twice = format!("{header}run,abc,1,2,val\nwalk,abc,1,2,val\n");
    refused(kinetics(&twice), &["abc_000001_000002", "lines 2 and 3"]);
    refused(
        kinetics(&format!("{header}run,abc,1,2,val\n")),
        &["1 of 1 clips", "'abc_000001_000002'", "nearest there: 'x'"],
    );
    refused(kinetics(header), &["names no clip"]);
    let neither = Place::with(&[("lists/x", "")]).read("kinetics400", UNCHECKED);
    refused(neither, &["neither"]);
}

fn clip(id: &str, label: usize) -> VideoEntry {
    VideoEntry::new(id, id, vec![label])
}

#[test]
fn manifests() {
    let classes = || vec![ClassName::new("run"), ClassName::new("walk")];
    let new = |clips| Manifest::new("own", "root", classes(), clips);
    refused(
        new(vec![clip("a", 0), clip("a", 1)]),
        &["'a' appears twice"],
    );
    refused(new(vec![clip("a", 2)]), &["label 2", "2 classes"]);
    refused(
        new(vec![VideoEntry {
            labels: vec![],
            ..clip("a", 0)
        }]),
        &["no label"],
    );
    refused(
        new(vec![VideoEntry {
            path: "../a".into(),
            ..clip("a", 0)
        }]),
        &["leads out"],
    );
    refused(new(vec![clip("a\nb", 0)]), &["control characters"]);
    refused(
        Manifest::new("own", "", vec![ClassName::new(" ")], vec![]),
        &["empty name"],
    );

    let manifest = new(vec![clip("a", 0), clip("b", 1), clip("c", 1)]).unwrap();
    let split = |train: &[usize], test: &[usize]| Split {
        name: "1".into(),
        train: train.to_vec(),
        test: test.to_vec(),
    };
    refused(
        split(&[0, 1], &[1]).check(&manifest),
        &["'b'", "in train and in test"],
    );
    refused(
        split(&[0, 0], &[1]).check(&manifest),
        &["'a'", "twice in train"],
    );
    refused(split(&[3], &[]).check(&manifest), &["3 clips"]);
    refused(
        few_shot(&manifest, &split(&[0, 1], &[2]), 2, 0),
        &["'run' has 1", "2 are wanted"],
    );
    refused(
        few_shot(&manifest, &split(&[0, 1], &[2]), 0, 0),
        &["at least 1"],
    );
    refused(manifest.split("4"), &["came without splits"]);
    let with = manifest.with_split(split(&[0], &[1])).unwrap();
    refused(with.split("4"), &["one of 1", "got 4"]);
    refused(with.with_split(split(&[0], &[2])), &["appears twice"]);
}

#[test]
fn manifest_files() {
    let place = Place::with(&[]);
    let path = place.path("manifest.json");
    let refused_file = |text: &str, parts: &[&str]| {
        fs::write(&path, text).unwrap();
        refused(Manifest::load(&path), parts);
    };
    let file = |clips: &str, splits: &str| {
        format!(
            r#"{{"format":1,"dataset":"d","root":".","classes":["run"],"clips":[{clips}],
               "splits":[{splits}]}}"#
        )
    };
    let run = r#"{"id":"a","path":"a.avi","labels":["run"]}"#;
    refused_file("", &["manifest.json", "not a manifest"]);
    refused_file(
        &file(run, "").replace("\"format\":1", "\"format\":9"),
        &["format 9"],
    );
    refused_file(
        &file(&run.replace("run", "fly"), ""),
        &["unknown class 'fly'"],
    );
    refused_file(&file(&run.replace("a.avi", "/a.avi"), ""), &["leads out"]);
    refused_file(&file(&format!("{run},{run}"), ""), &["twice"]);
    refused_file(&file(&run.replace("\"id\"", "\"ident\""), ""), &["ident"]);
    let split = r#"{"name":"1","train":["a"],"test":["b"]}"#;
    refused_file(&file(run, split), &["split '1'", "'b'"]);
    refused_file(
        &file(run, &split.replace('b', "a")),
        &["in train and in test"],
    );
    refused(Manifest::load(&place.path("none.json")), &["none.json"]);
}

#[test]
fn published_lists() {
    let place = Place::with(&[]);
    let clips = vec![clip("x/a.avi", 0), clip("x/b.avi", 1), clip("y/b.avi", 1)];
    let classes = vec![ClassName::new("run"), ClassName::new("walk")];
    let manifest = Manifest::new("own", "root", classes, clips).unwrap();
    let read = |text: &str| {
        place.file("list", text.as_bytes());
        read_published(&place.path("list"), &manifest, Missing::Refuse)
    };
    refused(read("a.avi\n"), &["line 1", "expected 'file label'"]);
    refused(read("a.avi 0\nA.avi 0\n"), &["lines 1 and 2"]);
    refused(read("b.avi 0\n"), &["two clips are called"]);
    refused(
        read("a.avi 0\nc.avi 0\n"),
        &["1 of 2", "'c.avi'", "allow_missing"],
    );
    for text in ["a.avi 5\n", "a.mp4 5\n", "x/A 5\n"] {
        assert_eq!(read(text).unwrap().positions, [0], "{text}");
    }
}

#[test]
fn skip_lists() {
    let place = Place::with(&[("skip", "a.avi\ttruncated\nb.avi\n")]);
    refused(SkipList::load(&place.path("skip")), &["line 2", "tab"]);
    let mut list = SkipList::new();
    list.insert("x/#odd name&(1)!.avi", "undecodable:\n\tno frame");
    list.insert("y.avi", "");
    list.save(&place.path("skip")).unwrap();
    let read = SkipList::load(&place.path("skip")).unwrap();
    assert_eq!(
        read.reason("x/#odd name&(1)!.avi"),
        Some("undecodable: no frame")
    );
    assert_eq!((read.len(), read.reason("y.avi")), (2, Some("bad")));
}

#[test]
fn a_save_that_fails_leaves_the_old_file() {
    let place = Place::with(&[("manifest.json", "old")]);
    let manifest = Manifest::new(
        "own",
        "root",
        vec![ClassName::new("run")],
        vec![clip("a", 0)],
    )
    .unwrap();
    // A file is where the folder should be.
    let error = manifest.save(&place.path("manifest.json/manifest.json"));
    refused(error, &["manifest.json"]);
    assert_eq!(fs::read(place.path("manifest.json")).unwrap(), b"old");
    manifest.save(&place.path("manifest.json")).unwrap();
    assert_eq!(
        Manifest::load(&place.path("manifest.json"))
            .unwrap()
            .clips(),
        manifest.clips()
    );
    // Nothing half-written is left beside it.
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_around_the_class_folders_is_named() {
    let place = Place::with(&[
        ("root/videos/run/a.mp4", "x"),
        ("root/videos/sit/b.mp4", "x"),
    ]);
    refused(
        class_folders("own", &place.path("root"), allow()),
        &[
            "no video in <class>/<clip>",
            "videos may be a folder of class folders",
        ],
    );
    let place = Place::with(&[("root/run/notes.txt", "x")]);
    refused(
        class_folders("own", &place.path("root"), allow()),
        &["no video in <class>/<clip>; its folders are 'run'"],
    );
}
