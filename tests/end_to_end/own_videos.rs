//! Folders and lists as people bring them, through the binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{
    FEW_FRAMES, Place, QUICK, draw, frames, json, refused, run, set, succeed, text, trainer,
};

/// `trainer NAME` without progress.
fn quiet(name: &str) -> Command {
    trainer(&[name, "-q"])
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Class folders as they come off a phone and a network drive.
fn phone(place: &Place) -> std::path::PathBuf {
    for (class, name) in ["Hand Stand", "PushUps"].iter().enumerate() {
        for number in 0..3 {
            draw(&place.path("drawn.avi"), class, number);
            let ending = ["MOV", "mp4", "bin"][number];
            let clip = place.path(&format!("phone/{name}/IMG_{number}.{ending}"));
            write(&clip, fs::read(place.path("drawn.avi")).unwrap());
        }
    }
    let folder = place.path("phone");
    let put = |name: &str, bytes: &[u8]| write(&folder.join(name), bytes);
    put("PushUps/broken.mp4", b"<html>not found</html>");
    put("PushUps/IMG_7.JPG", b"\xff\xd8\xff\xe1 a photo");
    put("PushUps/Thumbs.db", b"\xd0\xcf\x11\xe0");
    put("PushUps/._IMG_0.MOV", b"\0\x05\x16\x07");
    put("PushUps/@eaDir/IMG_0.MOV/SYNO.jpg", b"\xff\xd8\xff");
    put("@eaDir/x", b"x");
    put("__MACOSX/PushUps/._IMG_0.MOV", b"\0\x05\x16\x07");
    put(".DS_Store", b"x");
    put("notes.txt", b"notes");
    folder
}

#[test]
fn a_folder_of_a_phone_is_read_and_ignored_files_are_named() {
    let place = Place::new();
    let folder = phone(&place);
    let short = &frames(0, 0)[..3];
    video::write_clip(&folder.join("PushUps/short.avi"), short, 10).unwrap();
    let said = [
        "ignored (picture): 'PushUps/IMG_7.JPG'",
        "ignored (text): 'notes.txt'",
        "ignored (hidden or system files): '.DS_Store', '@eaDir', 'PushUps/._IMG_0.MOV', \
         'PushUps/@eaDir', 'PushUps/Thumbs.db', '__MACOSX'",
    ];
    let mut check = quiet("check-videos");
    check.args(["--dataset", "folder", "--root"]).arg(&folder);
    check.arg("--out").arg(place.path("skip.txt"));
    let checked = run(check);
    assert_eq!(checked.status.code(), Some(1), "{}", text(&checked));
    let broken = "PushUps/broken.mp4: undecodable: not a video";
    let shorter = "1 video shorter than the 8 frames sampled; frames repeat: 'PushUps/short.avi'";
    for words in said
        .iter()
        .chain(&["8 videos: 7 good, 1 undecodable", broken, shorter])
    {
        assert!(
            text(&checked).contains(words),
            "{words}: {}",
            text(&checked)
        );
    }

    let mut fit = quiet("fit");
    fit.arg(&folder).arg("--weights").arg(place.backbone());
    fit.arg("--out").arg(place.path("run"));
    set(&mut fit, &QUICK);
    set(&mut fit, &FEW_FRAMES);
    let fitted = run(fit);
    assert_eq!(fitted.status.code(), Some(1), "{}", text(&fitted));
    let broken = "skipped: PushUps/broken.mp4: not a video";
    let shorter = "1 clip shorter than the 4 frames sampled; frames repeat: 'PushUps/short.avi'";
    for words in said.iter().chain(&[broken, shorter]) {
        assert!(text(&fitted).contains(words), "{words}: {}", text(&fitted));
    }
    // Named as the folders are; a label in other words is the same class.
    let predict = |labels: Option<&str>| {
        let mut command = quiet_predict(&folder.join("PushUps/IMG_0.MOV"), &place.path("run"));
        command.args(labels.map(|labels| ["--labels", labels]).iter().flatten());
        let said = succeed(command);
        let mut lines: Vec<String> = said
            .lines()
            .map(|line| line.split('\t').skip(2).collect::<Vec<_>>().join(" "))
            .collect();
        lines.sort();
        lines
    };
    let own = predict(None);
    assert!(
        own.iter().any(|line| line.ends_with(" Hand Stand")),
        "{own:?}"
    );
    assert!(own.iter().any(|line| line.ends_with(" PushUps")), "{own:?}");
    let same: Vec<String> = predict(Some("PushUps,hand stand"))
        .iter()
        .map(|line| line.replace("hand stand", "Hand Stand"))
        .collect();
    assert_eq!(own, same);
}

fn quiet_predict(video: &Path, run: &Path) -> Command {
    let mut command = trainer(&["predict", "--device", "cpu"]);
    command.arg(video).arg("--checkpoint").arg(run);
    command
}

#[test]
fn three_files_train_test_and_name_the_classes() {
    let place = Place::new();
    let (mut train, mut test) = (String::new(), String::new());
    for class in 0..3 {
        for number in 0..4 {
            draw(
                &place.path(&format!("videos/c{class}_{number}.avi")),
                class,
                number,
            );
            let (list, frames) = if number == 0 {
                (&mut test, "")
            } else {
                (&mut train, "8 ")
            };
            // Of another machine, and counted from 1.
            list.push_str(&format!(
                "D:\\data\\c{class}_{number}.mp4 {frames}{}\r\n",
                class + 1
            ));
        }
    }
    write(&place.path("train.txt"), &train);
    write(&place.path("val.txt"), &test);
    let table = "id,name\r\n0,\"a, common\"\r\n1,human\r\n2,of action\r\n";
    write(&place.path("labels.csv"), table);
    let command = |name: &str| {
        let mut command = quiet(name);
        command.arg("--root").arg(place.path("videos"));
        for (option, file) in [
            ("--train-list", "train.txt"),
            ("--test-list", "val.txt"),
            ("--class-names", "labels.csv"),
        ] {
            command.arg(option).arg(place.path(file));
        }
        command
    };
    let mut train = command("train");
    train.arg("--weights").arg(place.backbone());
    train.arg("--out").arg(place.path("run"));
    set(&mut train, &QUICK);
    set(&mut train, &FEW_FRAMES);
    set(&mut train, &["protocol.seeds=[0]", &place.cache()]);
    let trained = run(train);
    let said = text(&trained);
    assert!(trained.status.success(), "{said}");
    for words in [
        "9 lines 'path n_frames label'",
        "labels count from 1, the class table from 0",
        "12 of 12 names are not written as on disk",
        "parts train (9) and test (3)",
        "videos closed-set, split lists",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let result = json(&place.path("run/seed-0/result.json"));
    assert_eq!(result["train_clips"], 9);
    let labels = serde_json::json!(["a, common", "human", "of action"]);
    assert_eq!(result["tests"][0]["labels"], labels);

    // A table of another shape, by its columns; Kinetics' is for its own layout.
    let lists = |table: &str, more: &[&str]| {
        write(&place.path("table.csv"), table);
        let mut command = quiet("check-videos");
        command
            .args(["--dataset", "csv", "--root"])
            .arg(place.path("videos"));
        command.arg("--lists").arg(place.path("table.csv"));
        command.arg("--out").arg(place.path("skip.txt")).args(more);
        command
    };
    let own = "Film;Was\nc0_0;a\nc1_0;b\n";
    let said = succeed(lists(own, &["--columns", "video=Film,label=Was"]));
    assert!(said.contains("2 videos: 2 good"), "{said}");
    refused(
        lists(own, &["--columns", "film=Film"]),
        &["data.columns", "video=NAME"],
    );
    let kinetics = "label,youtube_id,time_start,time_end,split\nrun,abc,0,10,test\n";
    refused(
        lists(kinetics, &[]),
        &["'youtube_id'", "--dataset kinetics400 --lists"],
    );
    let unknown = "Was,Nr,Teil\na,1,x\n";
    refused(
        lists(unknown, &[]),
        &["line 1", "a header that names the columns"],
    );
}

#[test]
fn a_file_that_begins_with_a_dash_is_no_option() {
    let place = Place::new();
    draw(&place.path("-h.avi"), 0, 0);
    let predict = |arguments: &[&str]| {
        let mut command = trainer(&["predict", "--labels", "a,b", "--device", "cpu"]);
        command.arg("--checkpoint").arg(place.backbone());
        command.args(arguments).current_dir(place.path(""));
        command
    };
    let said = run(predict(&["-h.avi"]));
    assert_eq!(said.status.code(), Some(2), "{}", text(&said));
    assert!(text(&said).contains("write './-h.avi'"), "{}", text(&said));
    succeed(predict(&["./-h.avi"]));
    succeed(predict(&["--", "-h.avi"]));
}
