//! One's own actions: `fit`, `eval`, `predict`, `add-class` and `report` on drawn clips.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{
    CLASSES, FEW_FRAMES, Place, QUICK, draw, json, refused, run, set, succeed, text, trainer,
};

/// `trainer fit --hold-out` on the drawn folder `videos`, into `run`.
fn fit(place: &Place, more: &[&str]) -> Command {
    let mut command = trainer(&["fit", "-q", "--hold-out"]);
    command.arg(place.path("videos"));
    command.arg("--weights").arg(place.backbone());
    command.arg("--out").arg(place.path("run"));
    set(&mut command, &QUICK);
    set(&mut command, &FEW_FRAMES);
    set(&mut command, more);
    command
}

/// `trainer NAME RUN`.
fn on(name: &str, run: &Path) -> Command {
    let mut command = trainer(&[name, "-q"]);
    command.arg(run);
    command
}

#[test]
fn eval_tests_what_fit_has_held_out_and_finds_the_same() {
    let place = Place::new();
    place.folder("videos", &[6, 5, 5]);
    let said = succeed(fit(&place, &[]));
    assert!(said.contains("videos closed-set, split hold-out"), "{said}");
    let held = json(&place.path("run/seed-0/result.json"));
    assert_eq!(
        held["train_clips"], 15,
        "three of thirteen are held out; small classes repeat"
    );
    assert_eq!(held["tests"][0]["accuracy"]["clips"], 3);
    let said = succeed(on("eval", &place.path("run")));
    assert!(said.contains("split hold-out"), "{said}");
    let again = json(&place.path("run/eval/seed-0/result.json"));
    assert_eq!(again["tests"], held["tests"]);
    assert_eq!(again["checkpoint"], held["checkpoint"]);

    // Elsewhere all clips are tested where that is asked for.
    place.folder("more", &[2, 2]);
    let mut eval = on("eval", &place.path("run"));
    eval.arg("--root").arg(place.path("more"));
    eval.arg("--out").arg(place.path("elsewhere"));
    set(&mut eval, &["data.unsplit=test"]);
    let said = succeed(eval);
    assert!(said.contains("more closed-set, split all"), "{said}");
    let all = json(&place.path("elsewhere/seed-0/result.json"));
    assert_eq!(all["tests"][0]["accuracy"]["clips"], 4);
    let mut eval = on("eval", &place.path("run"));
    eval.arg("--root").arg(place.path("more"));
    set(&mut eval, &["data.unsplit=refuse"]);
    refused(eval, &["data.unsplit", "hold-out or test"]);
}

#[test]
fn classes_of_one_clip_and_of_many_and_a_broken_video() {
    let place = Place::new();
    place.folder("videos", &[9, 2, 1]);
    fs::write(place.path("videos/PushUps/broken.avi"), b"no video").unwrap();
    let output = run(fit(&place, &[]));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        "classes have 2 to 9 clips",
        "skipped: PushUps/broken.avi",
        "checkpoint: ",
        "report: ",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let result = json(&place.path("run/seed-0/result.json"));
    assert_eq!(result["skipped"].as_array().unwrap().len(), 1);

    fs::remove_dir_all(place.path("videos")).unwrap();
    fs::remove_dir_all(place.path("run")).unwrap();
    place.folder("videos", &[9, 2, 1]);
    let said = text(&run(fit(&place, &[])));
    assert!(
        said.contains("'PushUps' has one clip or recording"),
        "{said}"
    );
    let result = json(&place.path("run/seed-0/result.json"));
    assert!(result["tests"][0]["accuracy"]["per_class"][2].is_null());
    assert_eq!(result["train_clips"], 24, "eight of each");
}

#[test]
fn one_clip_of_each_class_is_tested_on_what_it_learned_and_that_is_said() {
    let place = Place::new();
    place.folder("videos", &[1, 1, 1]);
    let said = succeed(fit(&place, &[]));
    assert!(said.contains("\ntraining"), "{said}");
    let result = json(&place.path("run/seed-0/result.json"));
    assert_eq!(result["tests"][0]["test"], "training");
    assert_eq!(result["tests"][0]["accuracy"]["clips"], 3);
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(page.contains("Classes, training"));
}

#[test]
fn predict_needs_nothing_but_the_run_and_the_clip() {
    let place = Place::new();
    place.folder("videos", &[3, 3]);
    // The backbone is named relatively, and lies beside.
    let copy = place.path("clip");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(place.backbone()).unwrap().flatten() {
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let mut command = trainer(&["fit", "-q", "videos", "--weights", "clip", "--out", "run"]);
    command.current_dir(place.path(""));
    set(&mut command, &QUICK);
    set(&mut command, &FEW_FRAMES);
    succeed(command);
    let clip = place.path("videos/HighJump/00.avi");
    let predict = |more: &[&str]| {
        let mut command = trainer(&["predict", "--json"]);
        command
            .arg(&clip)
            .arg("--checkpoint")
            .arg(place.path("run"))
            .args(more);
        command
    };
    let labels = |command: Command| -> Vec<String> {
        let answer: serde_json::Value = serde_json::from_str(&succeed(command)).unwrap();
        let found = answer["predictions"].as_array().unwrap().iter();
        let mut labels: Vec<String> = found
            .map(|p| p["label"].as_str().unwrap().to_owned())
            .collect();
        labels.sort();
        labels
    };
    assert_eq!(labels(predict(&[])), ["Archery", "HighJump"]);
    let new = ["--labels", "high jump,sleeping,sewing"];
    assert_eq!(labels(predict(&new)), ["high jump", "sewing", "sleeping"]);

    // It has moved: said, and mended with --backbone.
    fs::rename(&copy, place.path("moved")).unwrap();
    refused(predict(&[]), &["cannot use the run", "clip"]);
    let moved = place.path("moved").to_string_lossy().into_owned();
    assert_eq!(
        labels(predict(&["--backbone", &moved])),
        ["Archery", "HighJump"]
    );
}

#[test]
fn a_class_that_comes_later_leaves_the_others_as_they_were() {
    let place = Place::new();
    place.folder("videos", &[5, 0, 5, 5]);
    let keys = ["train.min_steps=30", "train.learning_rate=1e-3"];
    succeed(fit(&place, &keys));
    let before = json(&place.path("run/seed-0/result.json"));
    let tested = |result: &serde_json::Value| -> Vec<String> {
        let clips = result["tests"][0]["clips"].as_array().unwrap();
        clips
            .iter()
            .map(|clip| clip["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let add = |class: &str| {
        let mut command = on("add-class", &place.path("run"));
        command.arg(class).arg("--out").arg(place.path("more"));
        command
    };
    refused(
        add("HighJump"),
        &[
            "no class folder 'HighJump'",
            "put the new clips there first",
        ],
    );
    refused(add("Archery"), &["already has class 'Archery'"]);
    let mut elsewhere = add("HighJump");
    elsewhere.args(["--device", "cuda:99"]);
    refused(elsewhere, &["`--set device=cuda:99`", "cargo xtask doctor"]);
    // Between the others by its name.
    for number in 0..5 {
        let clip = place.path(&format!("videos/{}/{number:02}.avi", CLASSES[1]));
        draw(&clip, 1, number);
    }
    let mut later = add("HighJump");
    later.args(["--device", "cpu"]);
    let said = succeed(later);
    assert!(said.contains("more/report.html"), "{said}");
    let after = json(&place.path("more/seed-0/result.json"));
    let labels = &after["tests"][0]["labels"];
    assert_eq!(labels.as_array().unwrap().len(), 4);
    // What was held out still is: nothing that was learned is tested.
    let (old, new) = (tested(&before), tested(&after));
    assert!(old.iter().all(|clip| new.contains(clip)), "{old:?} {new:?}");
    assert_eq!(new.len(), old.len() + 1);
    for class in [0, 2, 3] {
        let old_place = if class == 0 { 0 } else { class - 1 };
        let share = |result: &serde_json::Value, class: usize| {
            result["tests"][0]["accuracy"]["per_class"][class]
                .as_f64()
                .unwrap()
        };
        assert!(share(&after, class) >= share(&before, old_place), "{after}");
    }
    // Its first loss is that of a model that knows the others.
    let first = |run: &str| {
        let log = fs::read_to_string(place.path(run).join("seed-0/log.jsonl")).unwrap();
        let step: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        step["loss"].as_f64().unwrap()
    };
    assert!(first("more") != first("run"));

    fs::remove_dir_all(place.path("videos/YoYo")).unwrap();
    let mut again = on("add-class", &place.path("run"));
    again.arg("HighJump").arg("--out").arg(place.path("third"));
    refused(again, &["'YoYo' is missing"]);
}

/// Copies the clip `from` of the drawn folder `videos` to `to`.
fn copy_clip(place: &Place, from: &str, to: &str) {
    let videos = place.path("videos");
    fs::create_dir_all(videos.join(to).parent().unwrap()).unwrap();
    fs::copy(videos.join(from), videos.join(to)).unwrap();
}

#[test]
fn an_old_result_never_answers_a_new_question() {
    let place = Place::new();
    place.folder("videos", &[3, 3]);
    let trained = |run: &str| fs::read(place.path(run).join("seed-0/result.json")).unwrap();
    succeed(fit(&place, &[]));
    let first = trained("run");
    let config = fs::read(place.path("run/config.toml")).unwrap();

    let said = text(&run(fit(&place, &[])));
    assert!(
        said.contains("nothing has changed since the run in"),
        "{said}"
    );
    assert_eq!(trained("run"), first);

    // Another setting, checkpoint, folder, class or film: key by key, and nothing is written.
    let expect = |command: Command, words: &[&str]| {
        refused(command, words);
        assert_eq!(trained("run"), first);
        assert_eq!(fs::read(place.path("run/config.toml")).unwrap(), config);
    };
    expect(
        fit(&place, &["train.learning_rate=0.5"]),
        &[
            "train.learning_rate: was ",
            "is 0.5",
            "--again",
            "--out DIR",
        ],
    );
    let weights = place.path("backbone/model.safetensors");
    let original = fs::read(&weights).unwrap();
    let mut other = original.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&weights, other).unwrap();
    expect(fit(&place, &[]), &["backbone.weights: was ", "SHA-256"]);
    fs::write(&weights, original).unwrap();
    place.folder("elsewhere/videos", &[3, 3]);
    let mut elsewhere = trainer(&["fit", "-q", "--hold-out"]);
    elsewhere.arg(place.path("elsewhere/videos"));
    elsewhere.arg("--weights").arg(place.backbone());
    elsewhere.arg("--out").arg(place.path("run"));
    set(&mut elsewhere, &QUICK);
    set(&mut elsewhere, &FEW_FRAMES);
    expect(elsewhere, &["data.root: was "]);
    let clip = |name: &str| place.path("videos").join(name);
    fs::rename(clip("Archery/00.avi"), clip("HighJump/moved.avi")).unwrap();
    expect(
        fit(&place, &[]),
        &["class of Archery/00.avi, now HighJump/moved.avi: was Archery, is HighJump"],
    );
    fs::rename(clip("HighJump/moved.avi"), clip("Archery/00.avi")).unwrap();
    copy_clip(&place, "Archery/01.avi", "Archery/00.avi");
    expect(
        fit(&place, &[]),
        &["Archery/00.avi: the file has other content"],
    );
    draw(&clip("Archery/00.avi"), 0, 0);

    // More clips and a class: a new run on the features that hold.
    draw(&clip("PushUps/00.avi"), 2, 0);
    draw(&clip("PushUps/01.avi"), 2, 1);
    let mut extract = trainer(&["extract", "-q", "--config"]);
    extract.arg(place.path("run/config.toml"));
    let said = succeed(extract);
    assert!(said.contains("1 computed now, 4 taken over"), "{said}");
    let said = text(&run(fit(&place, &[])));
    assert!(said.contains("added 2 clips, class \"PushUps\""), "{said}");
    assert!(said.contains("the earlier run is now"), "{said}");
    assert_eq!(trained("run.1"), first);
    let labels = |run: &str| {
        let result = json(&place.path(run).join("seed-0/result.json"));
        result["tests"][0]["labels"].as_array().unwrap().len()
    };
    assert_eq!((labels("run.1"), labels("run")), (2, 3));

    let mut again = fit(&place, &["train.learning_rate=0.5"]);
    again.arg("--again");
    succeed(again);
    assert_eq!((labels("run.2"), labels("run")), (3, 3));
}
