//! `predict --window`: a long video window by window.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use video::write_clip;

use crate::support::{FEW_FRAMES, Place, QUICK, frames, refused, run, set, succeed, text, trainer};

/// A video of 4.5 s at 10 frames a second: what two classes do, one after the other.
fn long_video(path: &Path) {
    let mut all = Vec::new();
    for (class, count) in [(0, 25), (1, 20)] {
        all.extend((0..count).map(|at| frames(class, at / 8)[at % 8].clone()));
    }
    write_clip(path, &all, 10).unwrap();
}

fn predict(video: &Path, checkpoint: &Path, more: &[&str]) -> Command {
    let mut command = trainer(&["predict"]);
    command.arg(video).arg("--checkpoint").arg(checkpoint);
    command.args(more);
    command
}

const LABELS: [&str; 2] = ["--labels", "red square,blue circle,yellow star"];

fn answer(command: Command) -> Value {
    serde_json::from_str(&succeed(command)).unwrap()
}

#[test]
fn each_window_is_answered_as_a_clip_of_its_own() {
    let place = Place::new();
    let video = place.path("long.avi");
    long_video(&video);
    let frames = ["--frames", "4", "--json", "--top", "3"];
    let window = ["--window", "2s", "--stride", "1s"];
    let whole = answer(predict(
        &video,
        &place.backbone(),
        &[&LABELS[..], &frames, &window].concat(),
    ));
    assert_eq!(whole["frame_count"], 45);
    assert_eq!(
        (&whole["window"], &whole["stride"]),
        (&2.0.into(), &1.0.into())
    );
    let windows = whole["windows"].as_array().unwrap();
    // The last one is moved back so that it ends with the video.
    let starts: Vec<f64> = windows
        .iter()
        .map(|w| w["start"].as_f64().unwrap())
        .collect();
    for (start, expected) in starts.iter().zip([0.0, 1.0, 2.0, 2.5]) {
        assert!((start - expected).abs() < 1e-6, "{starts:?}");
    }
    assert_eq!(windows.len(), 4);
    let mut decoder = video::Video::open(&video, &Default::default()).unwrap();
    for (number, (window, start)) in windows.iter().zip(starts).enumerate() {
        let at = (start * 10.0).round() as usize;
        let indices: Vec<usize> = [2, 7, 12, 17].map(|place| at + place).to_vec();
        let seen: Vec<usize> = window["frames"]
            .as_array()
            .unwrap()
            .iter()
            .map(|frame| frame["index"].as_u64().unwrap() as usize)
            .collect();
        assert_eq!(seen, indices);
        // A video of these frames alone gets the same answer, but for a second encoding.
        let cut = place.path(&format!("cut{number}.avi"));
        write_clip(&cut, &decoder.frames(&indices).unwrap(), 10).unwrap();
        let alone = answer(predict(
            &cut,
            &place.backbone(),
            &[&LABELS[..], &frames].concat(),
        ));
        for (a, b) in (0..3).map(|k| (&window["predictions"][k], &alone["predictions"][k])) {
            assert_eq!(a["label"], b["label"]);
            let (a, b) = (a["score"].as_f64().unwrap(), b["score"].as_f64().unwrap());
            assert!((a - b).abs() < 0.02, "{window} {alone}");
        }
    }
    let of = |k: usize| &windows[k]["predictions"][0];
    assert_ne!(of(0), of(3), "what is seen changes half-way");
}

#[test]
fn a_video_shorter_than_a_window_is_one_window_with_the_whole_videos_answer() {
    let place = Place::new();
    let video = place.path("short.avi");
    write_clip(&video, &frames(2, 0), 10).unwrap();
    let json = [&LABELS[..], &["--json"]].concat();
    let plain = answer(predict(
        &video,
        &place.backbone(),
        &[&json[..], &["--top", "1"]].concat(),
    ));
    let one = answer(predict(
        &video,
        &place.backbone(),
        &[&json[..], &["--window", "1.5m"]].concat(),
    ));
    assert_eq!(one["windows"].as_array().unwrap().len(), 1);
    let window = &one["windows"][0];
    assert_eq!(window["frames"], plain["frames"]);
    assert_eq!(window["predictions"], plain["predictions"]);
    assert_eq!(
        (&window["start"], &window["end"]),
        (&0.0.into(), &0.8.into())
    );
}

#[test]
fn lines_and_exit_codes_are_those_of_a_script() {
    let place = Place::new();
    let video = place.path("long.avi");
    long_video(&video);
    std::fs::write(place.path("broken.avi"), b"this is no video").unwrap();
    let more = [&LABELS[..], &["--window", "2s", "--top", "2"]].concat();
    let mut command = predict(&place.path("broken.avi"), &place.backbone(), &more);
    command.arg(&video);
    let output = run(command);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    // Side by side without --stride: 0 to 2, 2 to 4, and the rest with what is before it.
    let starts: Vec<&str> = lines
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap())
        .collect();
    assert_eq!(
        starts,
        ["0.000", "0.000", "2.000", "2.000", "2.500", "2.500"]
    );
    assert!(
        lines.lines().all(|line| line.split('\t').count() == 6),
        "{lines}"
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("broken.avi") && said.contains("1 of 2 videos"),
        "{said}"
    );
}

#[test]
fn trained_runs_of_both_systems_give_timelines() {
    let place = Place::new();
    let video = place.path("long.avi");
    long_video(&video);
    for (part, size) in [("train", 2), ("val", 1)] {
        place.folder(&format!("videos/{part}"), &[size, size]);
    }
    for system in ["seeing-in-flowing", "action-clip"] {
        let mut train = trainer(&["train", "-q"]);
        train.arg("--root").arg(place.path("videos"));
        train.arg("--weights").arg(place.backbone());
        train.arg("--out").arg(place.path(system));
        set(&mut train, &[format!("model.system={system}")]);
        set(&mut train, &QUICK);
        set(&mut train, &FEW_FRAMES);
        set(
            &mut train,
            &[
                "protocol.name=closed-set",
                "protocol.seeds=[0]",
                "data.source=video",
            ],
        );
        succeed(train);
        let checkpoint = place.path(system);
        let window = ["--json", "--window", "2s", "--stride", "500ms"];
        let timeline = answer(predict(&video, &checkpoint, &window));
        let windows = timeline["windows"].as_array().unwrap();
        assert_eq!(windows.len(), 6, "{system}");
        for window in windows {
            assert_eq!(window["frames"].as_array().unwrap().len(), 4);
            let label = window["predictions"][0]["label"].as_str().unwrap();
            assert!(["Archery", "HighJump"].contains(&label), "{label}");
        }
        refused(
            predict(&video, &checkpoint, &["--window", "2s", "--frames", "8"]),
            &["trained on 4 frames"],
        );
        // New labels are encoded instead of the run's own.
        let own = ["--labels", "juggling,sleeping", "--window", "2s", "--json"];
        let other = answer(predict(&video, &checkpoint, &own));
        let label = other["windows"][0]["predictions"][0]["label"]
            .as_str()
            .unwrap();
        assert!(["juggling", "sleeping"].contains(&label), "{label}");
    }
}

#[test]
fn a_limit_that_is_reached_is_named_with_the_switch_that_lifts_it() {
    let place = Place::new();
    let video = place.path("long.avi");
    long_video(&video);
    let predict = |more: &[&str]| {
        let more = [&LABELS[..], more].concat();
        predict(&video, &place.backbone(), &more)
    };
    for timeline in [&[][..], &["--window", "2s"]] {
        let with = |limit: [&'static str; 2]| predict(&[timeline, &limit].concat());
        refused(
            with(["--max-packets", "44"]),
            &[
                "max_packets = 44; 45 would do",
                "--max-packets 45 allows it",
            ],
        );
        succeed(with(["--max-packets", "45"]));
        refused(with(["--max-pixels", "9"]), &["--max-pixels "]);
        refused(with(["--max-memory", "9"]), &["--max-memory "]);
        refused(
            with(["--stream", "1"]),
            &["stream 1 is not one of its video streams: 0 (mjpeg"],
        );
    }
}
