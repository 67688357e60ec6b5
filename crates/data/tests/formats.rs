//! Data sets and lists that must be read, official ones among them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use data::formats::{
    Format, Found, Lists, Missing, ReadOptions, class_folders, clip_lists, read_class_index,
};
use data::{Manifest, NameStyle};
use tempfile::TempDir;

const UNCHECKED: ReadOptions = ReadOptions {
    missing: Missing::Unchecked,
    follow_links: false,
};
const ALLOW: ReadOptions = ReadOptions {
    missing: Missing::Allow,
    follow_links: false,
};

/// Reads a registered format.
fn read(name: &str, root: &Path, lists: &Path, options: ReadOptions) -> data::Result<Found> {
    Format::named(name)?.read(root, Some(lists), options)
}

fn place(files: &[(&str, &str)]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = place.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    place
}

fn read_list(text: &str, files: &[&str]) -> Found {
    let place = place(&[("list", text)]);
    for file in files {
        let path = place.path().join("root").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let root = place.path().join("root");
    let list = place.path().join("list");
    clip_lists("own", &root, &Lists::one(&list), ReadOptions::default()).unwrap()
}

/// Clip ids with class names and frame counts.
fn content(manifest: &Manifest) -> Vec<(&str, &str, Option<usize>)> {
    let class = |label: usize| manifest.classes()[label].raw();
    manifest
        .clips()
        .iter()
        .map(|c| (c.id.as_str(), class(c.label()), c.frames))
        .collect()
}

#[test]
fn plain_lists_are_recognised() {
    let spaces = read_list(
        "\u{feff}b.avi 10\r\na b.avi 2\r\n\r\n",
        &["b.avi", "a b.avi"],
    );
    assert_eq!(
        content(&spaces.manifest),
        [("a b.avi", "2", None), ("b.avi", "10", None)]
    );
    assert!(
        spaces
            .notes
            .iter()
            .any(|note| note.contains("'path label'")),
        "{:?}",
        spaces.notes
    );
    let classes: Vec<_> = spaces
        .manifest
        .classes()
        .iter()
        .map(|class| class.raw())
        .collect();
    assert_eq!(classes, ["2", "10"], "numbers are in order of numbers");

    let counted = read_list("b.avi 30 1\nd/a.avi\t120\t0\n", &["b.avi", "d/a.avi"]);
    assert_eq!(
        content(&counted.manifest),
        [("b.avi", "1", None), ("d/a.avi", "0", None)]
    );
    assert!(
        counted.notes.iter().any(|note| note.contains("n_frames")),
        "{:?}",
        counted.notes
    );

    let commas = read_list(
        "b.avi,run\n\"a,1.avi\",\"jump, high\"\n",
        &["b.avi", "a,1.avi"],
    );
    assert_eq!(
        content(&commas.manifest),
        [("a,1.avi", "jump, high", None), ("b.avi", "run", None)]
    );

    let counted = read_list("b.avi,30,run\n", &["b.avi"]);
    assert_eq!(content(&counted.manifest), [("b.avi", "run", None)]);

    // A comma in a path makes no CSV.
    let spaces = read_list("a,b.avi 3\n#c.avi 4\n", &["a,b.avi", "#c.avi"]);
    assert_eq!(
        content(&spaces.manifest),
        [("#c.avi", "4", None), ("a,b.avi", "3", None)]
    );
}

#[test]
fn a_csv_of_ones_own_may_have_a_split_and_groups() {
    let found = read_list(
        "label,Path,split,group,frames\nrun,a.mp4,train,g1,12\nwalk,b.mp4,test,g2,\nrun,c.mp4,,,\n",
        &["a.mp4", "b.mp4", "c.mp4"],
    );
    let manifest = &found.manifest;
    assert_eq!(manifest.clips()[0].group.as_deref(), Some("g1"));
    assert_eq!(manifest.clips()[0].frames, None, "a claim is no count");
    let split = manifest.split("list").unwrap();
    assert_eq!(
        (split.train.as_slice(), split.test.as_slice()),
        (&[0][..], &[1][..])
    );
}

#[test]
fn absolute_paths_into_the_root_are_taken() {
    let place = place(&[("root/run/a.avi", "")]);
    let root = place.path().join("root");
    let list = place.path().join("list");
    fs::write(&list, format!("{} 0\n", root.join("run/a.avi").display())).unwrap();
    let found = clip_lists("own", &root, &Lists::one(&list), ReadOptions::default()).unwrap();
    assert_eq!(found.manifest.clips()[0].id, "run/a.avi");
}

#[test]
fn class_indices_come_in_three_forms() {
    let place = place(&[
        ("names", "run\nwalk fast\n"),
        ("numbered", "1 Run\r\n2 Walk\r\n"),
        ("csv", "id,name\n0,run\n1,\"jump, high\"\n"),
    ]);
    let read = |name: &str| -> Vec<(i64, String)> {
        let index: BTreeMap<_, _> = read_class_index(&place.path().join(name)).unwrap();
        index
            .into_iter()
            .map(|(number, class)| (number, class.raw().to_owned()))
            .collect()
    };
    assert_eq!(read("names"), [(0, "run".into()), (1, "walk fast".into())]);
    assert_eq!(read("numbered"), [(1, "Run".into()), (2, "Walk".into())]);
    assert_eq!(read("csv"), [(0, "run".into()), (1, "jump, high".into())]);
}

#[test]
fn class_folders_with_and_without_parts() {
    let plain = place(&[
        ("b class/x.MP4", ""),
        ("b class/notes.txt", ""),
        ("a/ü.webm", ""),
        ("a/.hidden.avi", ""),
        ("read.me", ""),
    ]);
    let found = class_folders("own", plain.path(), ReadOptions::default()).unwrap();
    assert_eq!(
        content(&found.manifest),
        [("a/ü.webm", "a", None), ("b class/x.MP4", "b class", None)]
    );
    let notes = found.notes.join("\n");
    for said in [
        "ignored (empty): 'b class/notes.txt', 'read.me'",
        "ignored (hidden or system files): 'a/.hidden.avi'",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }

    let recordings = place(&[
        ("a/monday/1.avi", ""),
        ("a/monday/2.avi", ""),
        ("a/3.avi", ""),
        ("a/empty/notes.txt", "x"),
        ("b/tuesday/4.avi", ""),
        ("b/tuesday/deeper/5.avi", ""),
    ]);
    let found = class_folders("own", recordings.path(), ReadOptions::default()).unwrap();
    assert_eq!(
        data::recordings(&found.manifest),
        ["a/3.avi", "monday/", "monday/", "b/tuesday/4.avi"],
        "a class of a single recording has one for each clip"
    );
    let notes = found.notes.join("\n");
    for said in [
        "3 clips in folders inside class folders: each such folder is a recording",
        "without a video): 'a/empty'",
        "inside a recording's folder): 'b/tuesday/deeper'",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }

    let parts = place(&[
        ("train/a/1.avi", ""),
        ("val/a/1.avi", ""),
        ("val/b/2.avi", ""),
    ]);
    let found = class_folders("own", parts.path(), ReadOptions::default()).unwrap();
    let split = found.manifest.split("folders").unwrap();
    assert_eq!((split.train.len(), split.test.len()), (1, 2));
}

#[test]
fn kinetics_clips_are_found_in_every_layout() {
    let csv = "label,youtube_id,time_start,time_end,split,is_cc\n\
               \"air drumming\",--nQ_x,104,114,val,0\nabseiling,0wR5jVB-WPk,417,427,val,0\n\
               abseiling,gone,1,2,val,0\n";
    for (first, second) in [
        (
            "air drumming/--nQ_x_000104_000114.mp4",
            "abseiling/0wR5jVB-WPk_000417_000427.mp4",
        ),
        ("--nQ_x_000104_000114.mp4", "0wR5jVB-WPk_000417_000427.mkv"),
        (
            "val/air_drumming/--nQ_x_104_114.webm",
            "val/abseiling/0wR5jVB-WPk_417_427.mp4",
        ),
    ] {
        let place = place(&[
            ("lists/val.csv", csv),
            (&format!("root/{first}"), ""),
            (&format!("root/{second}"), ""),
        ]);
        let (root, lists) = (place.path().join("root"), place.path().join("lists"));
        let found = read("kinetics400", &root, &lists, ALLOW).unwrap();
        assert_eq!(found.missing, ["gone_000001_000002"]);
        let ids: Vec<_> = found
            .manifest
            .clips()
            .iter()
            .map(|clip| clip.id.as_str())
            .collect();
        assert_eq!(ids, ["--nQ_x_000104_000114", "0wR5jVB-WPk_000417_000427"]);
        assert_eq!(found.manifest.clips()[0].path, Path::new(first));
        assert_eq!(found.manifest.split("val").unwrap().test, [0, 1]);
    }
}

#[test]
fn a_partial_copy_leaves_out_clips_and_classes() {
    let place = place(&[
        ("lists/classInd.txt", "1 HandstandPushups\n2 Punch\n"),
        (
            "lists/trainlist01.txt",
            "HandstandPushups/v_HandStandPushups_g08_c01.avi 1\nPunch/v_Punch_g08_c01.avi 2\n",
        ),
        (
            "lists/testlist01.txt",
            "HandstandPushups/v_HandStandPushups_g01_c01.avi\n",
        ),
        // As some copies spell it.
        ("root/HandStandPushups/v_HandstandPushups_g01_c01.avi", ""),
        ("root/HandStandPushups/v_HandstandPushups_g08_c01.avi", ""),
    ]);
    let (root, lists) = (place.path().join("root"), place.path().join("lists"));
    let found = read("ucf101", &root, &lists, ALLOW).unwrap();
    assert_eq!(found.listed, 3);
    assert_eq!(found.missing, ["Punch/v_Punch_g08_c01.avi"]);
    let manifest = &found.manifest;
    assert_eq!(manifest.classes().len(), 1);
    assert_eq!(manifest.class("HandStandPushups"), Some(0));
    let clip = &manifest.clips()[0];
    assert_eq!(clip.id, "HandstandPushups/v_HandStandPushups_g01_c01.avi");
    assert!(manifest.file(clip).is_file());
    assert_eq!(clip.group.as_deref(), Some("HandstandPushups/g01"));
    assert_eq!(manifest.split("1").unwrap().train, [1]);
}

#[test]
fn a_manifest_survives_its_file_and_a_move() {
    let place = place(&[
        ("set/videos/run/a#&(1)!;+.avi", ""),
        ("set/videos/walk/b.avi", ""),
    ]);
    let root = place.path().join("set/videos");
    let mut manifest = class_folders("own", &root, ReadOptions::default())
        .unwrap()
        .manifest;
    let before = manifest.fingerprint();
    assert!(manifest.set_frames(1, 77));
    assert!(!manifest.set_frames(2, 77));
    manifest
        .save(&place.path().join("set/manifest.json"))
        .unwrap();
    fs::rename(place.path().join("set"), place.path().join("moved")).unwrap();
    let read = Manifest::load(&place.path().join("moved/manifest.json")).unwrap();
    assert_eq!(read.clips(), manifest.clips());
    assert_eq!(read.clips()[1].frames, Some(77));
    assert!(read.file(&read.clips()[0]).is_file());
    assert_eq!(
        read.fingerprint(),
        before,
        "neither frame counts nor the root matter"
    );

    let mut clips = read.clips().to_vec();
    clips[0].labels = vec![1];
    let other = Manifest::new("own", "x", read.classes().to_vec(), clips).unwrap();
    assert_ne!(other.fingerprint(), before);
}

fn counts(manifest: &Manifest) -> Vec<(usize, usize)> {
    manifest
        .splits()
        .iter()
        .map(|split| (split.train.len(), split.test.len()))
        .collect()
}

mod needs_shared {
    use super::*;

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn the_official_ucf_lists_have_the_published_counts() {
        let shared = testkit::shared();
        let lists = shared.join("data/lists/ucfTrainTestlist");
        let found = read("ucf101", Path::new("."), &lists, UNCHECKED).unwrap();
        assert_eq!(
            (found.manifest.clips().len(), found.manifest.classes().len()),
            (13_320, 101)
        );
        assert_eq!(
            counts(&found.manifest),
            [(9_537, 3_783), (9_586, 3_734), (9_624, 3_696)]
        );
        let label = found.manifest.class("HandStandPushups").unwrap();
        let class = &found.manifest.classes()[label];
        assert_eq!(class.text(NameStyle::Words), "handstand pushups");
        assert_eq!(class.text(NameStyle::Raw), "HandstandPushups");
    }

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn the_official_hmdb_lists_have_the_published_counts() {
        let shared = testkit::shared();
        let lists = shared.join("data/lists/testTrainMulti_7030_splits");
        let found = read("hmdb51", Path::new("."), &lists, UNCHECKED).unwrap();
        assert_eq!(
            (found.manifest.clips().len(), found.manifest.classes().len()),
            (6_766, 51)
        );
        assert_eq!(counts(&found.manifest), [(3_570, 1_530); 3]);
    }

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn the_official_kinetics_list_is_read() {
        let shared = testkit::shared();
        let folder = shared.join("data/lists/kinetics400");
        let found = read("kinetics400", Path::new("."), &folder, UNCHECKED).unwrap();
        assert_eq!(
            (found.manifest.clips().len(), found.manifest.classes().len()),
            (19_906, 400)
        );
        let index = read_class_index(&folder.join("label_map_k400.txt")).unwrap();
        for (label, class) in index.values().enumerate() {
            assert_eq!(found.manifest.class(class.raw()), Some(label), "{class}");
        }
    }

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn the_mini_copies_are_partial_copies() {
        let shared = testkit::shared();
        let data = shared.join("data");
        let (root, lists) = (
            data.join("ucf8/UCF-101"),
            data.join("lists/ucfTrainTestlist"),
        );
        let refused = read("ucf101", &root, &lists, ReadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(refused.contains("13064 of 13320"), "{refused}");
        let ucf = read("ucf101", &root, &lists, ALLOW).unwrap();
        assert_eq!(
            (ucf.manifest.clips().len(), ucf.manifest.classes().len()),
            (256, 8)
        );
        let split = ucf.manifest.split("1").unwrap();
        assert_eq!((split.train.len(), split.test.len()), (144, 112));

        let lists = data.join("lists/testTrainMulti_7030_splits");
        let hmdb = read("hmdb51", &data.join("hmdb-mini"), &lists, ALLOW).unwrap();
        assert_eq!(
            (hmdb.manifest.clips().len(), hmdb.manifest.classes().len()),
            (42, 21)
        );
        let split = hmdb.manifest.split("1").unwrap();
        assert_eq!((split.train.len(), split.test.len()), (21, 21));
    }
}

const CHARADES_CLASSES: &str =
    "c000 Holding some clothes\r\nc001 Putting clothes somewhere\nc002 Opening a door\n";
const CHARADES_HEADER: &str = "id,subject,scene,quality,relevance,verified,script,objects,\
                               descriptions,actions,length\n";

fn charades_lists(train: &str, test: &str) -> TempDir {
    place(&[
        ("Charades_v1_classes.txt", CHARADES_CLASSES),
        (
            "Charades_v1_train.csv",
            &format!("{CHARADES_HEADER}{train}"),
        ),
        ("Charades_v1_test.csv", &format!("{CHARADES_HEADER}{test}")),
    ])
}

#[test]
fn a_video_of_charades_shows_every_action_in_it() {
    let lists = charades_lists(
        "YSKX3,YGQ0,Bedroom,5,7,Yes,\"A person, at a door; \"\"opens\"\" it.\",door,\"A man.\",\
         c002 11.90 21.20;c000 0.00 12.60;c002 22.00 30.10,33.67\n\
         EMPTY,YGQ0,Bedroom,5,7,Yes,x,x,x,,20.00\n",
        "46GP8,HR43,Kitchen,6,7,No,x,x,x,c001 11.90 21.20,24.83\n",
    );
    let found = read("charades", Path::new("videos"), lists.path(), UNCHECKED).unwrap();
    let manifest = &found.manifest;
    let clips: Vec<(&str, &[usize])> = manifest
        .clips()
        .iter()
        .map(|clip| (clip.id.as_str(), clip.labels.as_slice()))
        .collect();
    assert_eq!(clips, [("46GP8", &[1][..]), ("YSKX3", &[0, 2])]);
    assert_eq!(manifest.clips()[1].path, Path::new("YSKX3.mp4"));
    assert_eq!(manifest.clips()[1].group.as_deref(), Some("YGQ0"));
    assert_eq!(manifest.classes()[2].raw(), "Opening a door");
    let split = manifest.split("test").unwrap();
    assert_eq!((&split.train[..], &split.test[..]), (&[1][..], &[0][..]));
    assert!(
        found
            .notes
            .iter()
            .any(|note| note.starts_with("1 video left out, without an action: "))
    );

    // Kept and read again, it still shows all of them.
    let path = lists.path().join("manifest.json");
    manifest.save(&path).unwrap();
    assert_eq!(Manifest::load(&path).unwrap().clips()[1].labels, [0, 2]);
}

#[test]
fn wrong_annotations_of_charades_name_their_line() {
    let row = |actions: &str| format!("AAAAA,S,x,1,1,Yes,x,x,x,{actions},1.0\n");
    for (actions, said) in [
        ("c002 1.0", "class start end"),
        ("c999 0.0 1.0", "'c999'"),
        ("c002 0.0 soon", "'soon'"),
        ("c002 -1 2", "'-1'"),
        ("c002 0.0 NaN", "'NaN'"),
    ] {
        let lists = charades_lists(&row("c000 0 1"), &row(actions));
        let error = read("charades", Path::new("videos"), lists.path(), UNCHECKED).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(said) && error.contains("test.csv"),
            "{error}"
        );
    }
    let lists = charades_lists("../../x,S,x,1,1,Yes,x,x,x,c000 0 1,1.0\n", "");
    assert!(read("charades", Path::new("videos"), lists.path(), UNCHECKED).is_err());
    // The same video on both sides.
    let lists = charades_lists(&row("c000 0 1"), &row("c000 0 1"));
    assert!(read("charades", Path::new("videos"), lists.path(), UNCHECKED).is_err());
}
