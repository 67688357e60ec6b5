//! The `predict` command, driven as a user drives it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::support::{Place, draw, trainer};

/// `trainer predict`, without a terminal.
fn predict(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = trainer(&["predict"]);
    command.args(arguments);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A drawn video, and a checkpoint.
struct Drawn {
    _place: Place,
    video: String,
    checkpoint: String,
}

impl Drawn {
    fn new() -> Self {
        let place = Place::new();
        let video = place.path("video.avi");
        draw(&video, 0, 0);
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        Self {
            video: path(video),
            checkpoint: path(place.backbone()),
            _place: place,
        }
    }
}

const LABELS: &str = "arm wrestling,baking cookies,swimming";

#[test]
fn a_video_is_named_in_tab_separated_lines() {
    let s = Drawn::new();
    let output = predict(&[&s.video, "--checkpoint", &s.checkpoint, "--labels", LABELS]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 3, "{text}");
    let scores: Vec<f64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    assert!(
        (scores.iter().sum::<f64>() - 1.0).abs() < 1e-4,
        "{scores:?}"
    );
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
}

#[test]
fn json_holds_one_object_a_video() {
    let s = Drawn::new();
    let second = Drawn::new();
    let output = predict(&[
        &s.video,
        &second.video,
        "--checkpoint",
        &s.checkpoint,
        "--labels",
        LABELS,
        "--json",
        "--top",
        "2",
        "--frames",
        "4",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let objects: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[0]["video"], s.video.as_str());
    for object in &objects {
        assert_eq!(object["predictions"].as_array().unwrap().len(), 2);
        assert!(object["predictions"][0]["score"].is_f64());
        assert!(object["predictions"][0]["label"].is_string());
        let frames = object["frames"].as_array().unwrap();
        assert_eq!(frames.len(), 4);
        let last = frames[3]["index"].as_u64().unwrap();
        assert!(last < object["frame_count"].as_u64().unwrap());
        assert!(frames[3]["time"].as_f64().unwrap() > frames[0]["time"].as_f64().unwrap());
    }
}

#[test]
fn one_bad_video_does_not_lose_the_others() {
    let s = Drawn::new();
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.mp4");
    std::fs::write(&broken, b"not a video at all").unwrap();
    let missing = folder.path().join("missing.mp4");
    let output = predict(&[
        broken.to_str().unwrap(),
        &s.video,
        missing.to_str().unwrap(),
        "--checkpoint",
        &s.checkpoint,
        "--labels",
        LABELS,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output).lines().count(), 3);
    let said = stderr(&output);
    assert!(
        said.contains("broken.mp4") && said.contains("missing.mp4"),
        "{said}"
    );
    assert!(said.contains("2 of 3 videos"), "{said}");
}

#[test]
fn nothing_answered_is_a_failure() {
    let s = Drawn::new();
    let output = predict(&[
        "none.mp4",
        "--checkpoint",
        &s.checkpoint,
        "--labels",
        LABELS,
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(3));
    let object: serde_json::Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(object["video"], "none.mp4");
    assert!(object["error"].as_str().unwrap().contains("none.mp4"));
}

#[test]
fn wrong_arguments_are_said_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let empty = file("empty.txt", "\n");
    let cases: [(&[&str], i32, &str); 13] = [
        (&[], 2, "VIDEO"),
        (&["a.mp4"], 2, "--labels"),
        (
            &["a.mp4", "--labels", "a", "--labels-file", "b"],
            2,
            "cannot be used with",
        ),
        (&["a.mp4", "--labels", "a,,b"], 3, "label 2 is empty"),
        (
            &["a.mp4", "--labels", "a,a"],
            3,
            "two spellings of one class",
        ),
        (
            &["a.mp4", "--labels-file", "no-such-file"],
            3,
            "no-such-file",
        ),
        (&["a.mp4", "--labels-file", &empty], 3, "names no class"),
        (&["a.mp4", "--labels", "a", "--frames", "0"], 2, "--frames"),
        (
            &["a.mp4", "--labels", "a", "--window", "2"],
            2,
            "such as 2s, 500ms or 1.5m; got \"2\"",
        ),
        (
            &["a.mp4", "--labels", "a", "--window", "0s"],
            2,
            "expected a positive time",
        ),
        (
            &[
                "a.mp4", "--labels", "a", "--window", "2s", "--stride", "soon",
            ],
            2,
            "'--stride <TIME>': expected",
        ),
        (&["a.mp4", "--labels", "a", "--stride", "1s"], 2, "--window"),
        (
            &[
                "a.mp4",
                "--labels",
                "a",
                "--templates",
                "no place for a name",
            ],
            3,
            "{}",
        ),
    ];
    for (arguments, code, said) in cases {
        let output = predict(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_missing_checkpoint_says_what_to_do() {
    let output = predict(&["a.mp4", "--labels", "a", "--checkpoint", "./no/such/folder"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("no/such/folder"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let s = Drawn::new();
    let mut child = command(&[&s.video, "--checkpoint", &s.checkpoint, "--labels", LABELS])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("error"), "{}", stderr(&output));
}

/// Where memory runs out in the middle of libtorch, oneDNN or FFmpeg: in one a wrong address, in another an
/// exception that nobody catches.
#[cfg(target_os = "linux")]
#[test]
fn little_memory_is_an_answer_or_a_sentence() {
    let s = Drawn::new();
    let mut refused = 0;
    for megabytes in [120, 128, 136, 144, 160, 190] {
        let mut command = Command::new("sh");
        command.args(["-c", r#"ulimit -c 0; ulimit -d "$0"; exec "$@""#]);
        command.arg((megabytes * 1024).to_string());
        command.arg(env!("CARGO_BIN_EXE_trainer"));
        command.args(["predict", &s.video, "--checkpoint", &s.checkpoint]);
        let output = command.args(["--labels", LABELS]).output().unwrap();
        let said = stderr(&output);
        match output.status.code() {
            Some(0) => assert_eq!(stdout(&output).lines().count(), 3, "{megabytes} MB: {said}"),
            Some(3) => {
                let errors = said.matches("error: not enough memory").count();
                assert_eq!(errors, 1, "{megabytes} MB: {said}");
                refused += 1;
            }
            _ => panic!("{megabytes} MB: {}: {said}", output.status),
        }
    }
    assert!(refused > 0, "every limit was enough");
}

#[test]
fn help_names_every_option() {
    let output = predict(&["--help"]);
    assert!(output.status.success());
    let text = stdout(&output);
    for option in [
        "--labels",
        "--labels-file",
        "--checkpoint",
        "--templates",
        "--frames",
        "--window",
        "--stride",
        "--top",
        "--json",
        "--device",
        "--precision",
    ] {
        assert!(text.contains(option), "{option} is missing from:\n{text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}
