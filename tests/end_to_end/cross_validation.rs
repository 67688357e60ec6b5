//! `fit` from few clips: judged by folds, trained on everything, calibrated, and able to say "none".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{
    CLASSES, FEW_FRAMES, Place, QUICK, checkpoint, draw, json, refused, run, set, succeed, text,
    trainer,
};

fn fit(place: &Place, out: &str, more: &[&str]) -> Command {
    let mut command = trainer(&["fit", "-q"]);
    command.arg(place.path("videos"));
    command.arg("--weights").arg(place.backbone());
    command.arg("--out").arg(place.path(out));
    set(&mut command, &QUICK);
    set(&mut command, &FEW_FRAMES);
    command.args(more);
    command
}

fn result(place: &Place) -> Value {
    json(&place.path("run/seed-0/result.json"))
}

fn predict(place: &Place, clip: &Path, more: &[&str]) -> Value {
    let mut command = trainer(&["predict", "--json", "--device", "cpu"]);
    command
        .arg(clip)
        .arg("--checkpoint")
        .arg(place.path("run"))
        .args(more);
    serde_json::from_str(succeed(command).lines().next().unwrap()).unwrap()
}

#[test]
fn every_clip_is_trained_on_and_judged_once_and_predict_is_calibrated() {
    let place = Place::new();
    place.folder("videos", &[5, 5, 5]);
    let said = succeed(fit(&place, "run", &[]));
    for words in [
        "split cross-validation",
        "accuracy on new recordings: ",
        "95 % interval",
        "5 folds, 15 clips of 15 recordings; trained on all 15 clips",
        "of 5\n",
        "training: ",
        "calibration error: ",
        "none: belonging below ",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let result = result(&place);
    assert_eq!(result["train_clips"], 15);
    let held = &result["tests"][0];
    assert_eq!(held["test"], "held out");
    let ids: BTreeSet<&str> = held["clips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|clip| clip["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 15, "each clip once");
    let judged = &result["cross_validation"];
    assert_eq!(judged["folds"], 5);
    assert!(!judged["before"].as_array().unwrap().is_empty());

    // The record of the checkpoint, and the answers that use it.
    let card = &json(&checkpoint(&place.path("run")).join("state.json"))["run"]["card"];
    let calibration = &card["calibration"];
    assert_eq!(calibration["temperature"], judged["temperature"]);
    assert_eq!(calibration["threshold"], judged["threshold"]);
    assert_eq!(calibration["score"], "class-similarity");
    assert_eq!(calibration["wrongly_refused"], 0.05);
    let clip = place.path("videos/HighJump/00.avi");
    let answer = predict(&place, &clip, &[]);
    assert_eq!(answer["known"], true);
    assert_eq!(answer["threshold"], judged["threshold"]);
    assert!(answer["belonging"].as_f64() >= answer["threshold"].as_f64());
    let sum: f64 = answer["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["score"].as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-9);
    let windows = predict(&place, &clip, &["--window", "400ms"]);
    assert!(windows["windows"][0]["known"].is_boolean(), "{windows}");
    // Other labels are not those that were judged.
    let mut other = trainer(&[
        "predict",
        "--json",
        "--labels",
        "sewing,sleeping",
        "--device",
        "cpu",
    ]);
    other.arg(&clip).arg("--checkpoint").arg(place.path("run"));
    let said = text(&run(other));
    assert!(said.contains("its calibration does not apply"), "{said}");
    assert!(!said.contains("\"known\""), "{said}");

    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    for words in [
        "Calibration</h2>",
        "share correct",
        "None of the classes",
        "Clips that others contradict",
    ] {
        assert!(page.contains(words), "{words}");
    }

    // All its clips are trained on: only others can test it.
    let mut eval = trainer(&["eval", "-q"]);
    eval.arg(place.path("run"));
    refused(eval, &["data.unsplit", "trained on all of its own"]);
    place.folder("more", &[2, 2]);
    let mut eval = trainer(&["eval", "-q"]);
    eval.arg(place.path("run"))
        .arg("--root")
        .arg(place.path("more"));
    assert!(succeed(eval).contains("split all"));
}

#[test]
fn clips_of_one_recording_are_held_out_together() {
    let place = Place::new();
    for (class, name) in CLASSES.iter().take(2).enumerate() {
        for number in 0..8 {
            let clip = format!("videos/{name}/take{}_part{}.avi", number / 2, number % 2);
            draw(&place.path(&clip), class, number);
        }
    }
    let said = succeed(fit(&place, "run", &[]));
    // The recordings of both classes have the same names, and are the same.
    assert!(said.contains("4 folds, 16 clips of 4 recordings"), "{said}");
}

#[test]
fn folders_inside_class_folders_are_recordings() {
    let place = Place::new();
    for (class, name) in CLASSES.iter().take(2).enumerate() {
        for number in 0..6 {
            let clip = format!("videos/{name}/day {}/{number}.avi", number / 2);
            draw(&place.path(&clip), class, number);
        }
    }
    let mut fit = trainer(&["fit"]);
    fit.arg(place.path("videos"));
    fit.arg("--weights").arg(place.backbone());
    fit.arg("--out").arg(place.path("run"));
    set(&mut fit, &QUICK);
    set(&mut fit, &FEW_FRAMES);
    let said = text(&run(fit));
    for words in [
        "each such folder is a recording",
        "cross-validating on 12 clips",
        "fold 3 of 3",
        "3 folds, 12 clips of 3 recordings",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn eval_gives_the_probabilities_of_predict() {
    let place = Place::new();
    place.folder("videos", &[5, 5]);
    succeed(fit(&place, "run", &[]));
    for class in [0, 1] {
        let path = format!("more/{}/{class}.avi", CLASSES[class]);
        draw(&place.path(&path), class, 9);
    }
    // One that shows neither.
    draw(&place.path("more/Archery/odd.avi"), 3, 1);
    let mut eval = trainer(&["eval", "-q"]);
    eval.arg(place.path("run"))
        .arg("--root")
        .arg(place.path("more"));
    let said = succeed(eval);
    let found = json(&place.path("run/eval/seed-0/result.json"));
    let clips = found["tests"][0]["clips"].as_array().unwrap().clone();
    assert_eq!(clips.len(), 3);
    let mut none = 0;
    for clip in clips {
        let path = place.path("more").join(clip["id"].as_str().unwrap());
        let answer = predict(&place, &path, &[]);
        for key in ["belonging", "threshold"] {
            let off = clip[key].as_f64().unwrap() - answer[key].as_f64().unwrap();
            // Kept features are rounded to half precision.
            assert!(off.abs() < 1e-3, "{key}: {clip} {answer}");
        }
        assert_eq!(clip["known"], answer["known"]);
        none += usize::from(answer["known"] == false);
        let [best, given] = [&clip["top"][0][1], &answer["predictions"][0]["score"]]
            .map(|score| score.as_f64().unwrap());
        assert!((best - given).abs() < 1e-3, "{clip} {answer}");
    }
    assert!(none > 0, "{said}");
    assert!(said.contains(&format!("threshold: {none} of 3")), "{said}");
}

#[test]
fn a_folder_none_is_no_class_and_moves_the_threshold() {
    let place = Place::new();
    place.folder("videos", &[5, 5]);
    for number in 0..4 {
        draw(&place.path(&format!("videos/none/{number}.avi")), 3, number);
    }
    let said = text(&run(fit(&place, "run", &[])));
    assert!(said.contains("the clips in 'none' are examples"), "{said}");
    assert!(said.contains("of 4 examples of none of them"), "{said}");
    let found = result(&place);
    assert_eq!(found["train_clips"], 10);
    assert_eq!(found["tests"][0]["labels"].as_array().unwrap().len(), 2);
    let stranger = predict(&place, &place.path("videos/none/0.avi"), &[]);
    assert_eq!(stranger["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(stranger["known"], false, "{stranger}");
    let mut plain = trainer(&["predict", "--device", "cpu"]);
    plain.arg(place.path("videos/none/0.avi"));
    plain.arg("--checkpoint").arg(place.path("run"));
    let said = succeed(plain);
    assert!(said.lines().next().unwrap().ends_with("\tnone"), "{said}");

    let mut add = trainer(&["add-class", "-q"]);
    add.arg(place.path("run")).arg("none");
    refused(add, &["are not a class"]);
}

#[test]
fn a_run_without_a_calibration_answers_as_before() {
    let place = Place::new();
    place.folder("videos", &[5, 5]);
    succeed(fit(&place, "run", &["--hold-out"]));
    let state = checkpoint(&place.path("run")).join("state.json");
    assert!(!fs::read_to_string(state).unwrap().contains("calibration"));
    let answer = predict(&place, &place.path("videos/HighJump/00.avi"), &[]);
    for key in ["known", "belonging", "threshold"] {
        assert!(answer.get(key).is_none(), "{answer}");
    }
}

#[test]
fn a_clip_in_the_wrong_folder_is_named_first() {
    let place = Place::new();
    place.folder("videos", &[6, 6]);
    fs::rename(
        place.path("videos/Archery/05.avi"),
        place.path("videos/HighJump/wrong.avi"),
    )
    .unwrap();
    let said = succeed(fit(&place, "run", &[]));
    let named = &result(&place)["cross_validation"]["suspects"][0];
    assert_eq!(named["id"], "HighJump/wrong.avi", "{said}");
    assert_eq!(named["other"], "Archery");
    assert!(
        said.contains("HighJump/wrong.avi: more like Archery"),
        "{said}"
    );
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(page.contains("<td>HighJump/wrong.avi</td><td>HighJump</td>"));
}

#[test]
fn a_class_that_is_added_is_judged_anew_and_only_its_features_are_computed() {
    let place = Place::new();
    place.folder("videos", &[4, 4]);
    succeed(fit(&place, "run", &[]));
    for number in 0..4 {
        draw(
            &place.path(&format!("videos/PushUps/{number:02}.avi")),
            2,
            number,
        );
    }
    let config = place.path("run/config.toml");
    let mut extract = trainer(&["extract", "-q", "--config"]);
    extract.arg(&config);
    let said = succeed(extract);
    assert!(said.contains("4 computed now, 8 taken over"), "{said}");
    let mut add = trainer(&["add-class", "-q"]);
    add.arg(place.path("run")).arg("PushUps");
    add.arg("--out").arg(place.path("more"));
    let said = succeed(add);
    assert!(said.contains("12 clips of 12 recordings"), "{said}");
    let found = json(&place.path("more/seed-0/result.json"));
    assert_eq!(found["tests"][0]["labels"].as_array().unwrap().len(), 3);
}

#[test]
fn nothing_that_judges_a_clip_has_seen_its_fold() {
    let place = Place::new();
    place.folder("videos", &[5, 5, 5]);
    let judged = |run: &str| -> BTreeSet<String> {
        succeed(fit(&place, run, &[]));
        let found = json(&place.path(run).join("seed-0/result.json"));
        let clips = found["tests"][0]["clips"].as_array().unwrap().iter();
        clips.map(Value::to_string).collect()
    };
    let before = judged("run");
    // Another video under the same name: same folds, other features.
    draw(&place.path("videos/Archery/02.avi"), 3, 7);
    let after = judged("changed");
    // The start, its choices and the temperature that judge the two others of its fold are those of
    // before; what judges the other folds has seen the new video.
    assert_eq!(
        before.intersection(&after).count(),
        2,
        "{before:?} {after:?}"
    );
}
