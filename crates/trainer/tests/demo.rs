//! `trainer demo` and `trainer pretrain`, driven as a user drives them, on very little.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use clip_backbone::Checkpoint;
use clips::Interrupt;
use demo::pretrain::{Options, pretrain};

/// The demo on one clip a class and two updates a training, everything below `folder`.
fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(["demo", "--shots", "1", "--test-clips", "1"]);
    command.args(["--steps", "2", "--seeds", "1", "--threads", "1"]);
    command.arg("--videos").arg(folder.join("videos"));
    command.arg("--out").arg(folder.join("out"));
    command.stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn the_demo_stops_when_asked_goes_on_and_ends_with_table_and_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first_cell = lines.find(|line| line.as_ref().unwrap().contains("CLIP, frozen"));
    assert!(first_cell.is_some(), "no progress was told");
    let stop = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(stop.unwrap().success());
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:?}");
    assert!(said.iter().any(|line| line.contains("resumes")), "{said:?}");
    assert!(!folder.path().join("out/report.html").exists());

    let whole = demo(folder.path()).output().unwrap();
    assert!(whole.status.success(), "{}", text(&whole));
    let table = String::from_utf8(whole.stdout.clone()).unwrap();
    for row in ["CLIP, frozen", "probe", "Baseline + MCB", "MMB + MAP + MCB"] {
        assert!(table.contains(row), "{table}");
    }
    assert!(table.lines().all(|line| line.len() <= 80), "{table}");
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("MMB + MAP + MCB") && page.contains("data:image/jpeg"));

    // Everything is there: the same table, read from the results.
    let again = demo(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), table);
}

#[test]
fn without_a_backbone_the_demo_says_how_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = demo(folder.path());
    command.arg("--backbone").arg(folder.path().join("nothing"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output).contains("trainer pretrain"),
        "{}",
        text(&output)
    );
    assert!(!folder.path().join("videos").exists());
}

#[test]
fn pretraining_gives_the_same_weights_from_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let pretrained = |name: &str, seed: u64| {
        let out = folder.path().join(name);
        let options = Options {
            seed,
            steps: 2,
            batch: 4,
            ..Options::default()
        };
        let mut told = 0;
        pretrain(&options, &out, &Interrupt::default(), |_| told += 1).unwrap();
        assert_eq!(told, 2);
        let checkpoint = Checkpoint::open(&out).unwrap();
        assert!(
            !checkpoint
                .tokenizer()
                .unwrap()
                .pieces("far left")
                .is_empty()
        );
        checkpoint.sha256().unwrap().to_owned()
    };
    let first = pretrained("a", 5);
    assert_eq!(first, pretrained("b", 5));
    assert_ne!(first, pretrained("c", 6));
}
