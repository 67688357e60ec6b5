//! ActionCLIP trained, killed, tested and used as a user does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const CLASSES: [&str; 3] = ["BoxingPunchingBag", "JumpingJack", "PushUps"];

/// Three training clips and one test clip a class, and a small backbone.
struct Task {
    folder: tempfile::TempDir,
    weights: PathBuf,
}

impl Task {
    fn new(test: &str) -> Option<Self> {
        let shared = testkit::shared(test)?.join("data");
        let folder = tempfile::tempdir().unwrap();
        for class in CLASSES {
            let from = shared.join("ucf8/UCF-101").join(class);
            let mut clips: Vec<PathBuf> = fs::read_dir(from)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            clips.sort();
            // One of each recording: g08 and later are there once.
            for (place, clip) in clips.iter().rev().take(4).enumerate() {
                let part = if place == 0 { "val" } else { "train" };
                let to = folder.path().join("videos").join(part).join(class);
                fs::create_dir_all(&to).unwrap();
                fs::copy(clip, to.join(clip.file_name().unwrap())).unwrap();
            }
        }
        let weights = shared.join("weights/deit-tiny-dual");
        Some(Self { folder, weights })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `trainer train` on two frames a clip, into `out`.
    fn train(&self, out: &str, keys: &[&str]) -> Command {
        let mut command = trainer(&["train"]);
        command.arg("--root").arg(self.path("videos"));
        command.arg("--weights").arg(&self.weights);
        command.arg("--out").arg(self.path(out));
        let cache = format!("data.cache={}", self.path("features").display());
        command.args(["--set", &cache]);
        for key in [
            "model.system=action-clip",
            "protocol.name=closed-set",
            "protocol.seeds=[0]",
            "data.frames=2",
            "threads=1",
            "train.epochs=2",
            "train.batch=5",
            "train.save_every=1",
            // A checkpoint of what is left takes a moment to write.
            "model.action_clip.frozen={ text = true, image_blocks = 10 }",
        ]
        .iter()
        .chain(keys)
        {
            command.args(["--set", key]);
        }
        command
    }
}

fn trainer(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Output {
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// The manifest of the last checkpoint (lengths and hashes of tensors, optimizer state and
/// description) and the log.
fn last(run: &Path) -> (String, String) {
    let folder = run.join("seed-0");
    let mut checkpoints: Vec<PathBuf> = fs::read_dir(folder.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    checkpoints.sort();
    let manifest = fs::read_to_string(checkpoints.pop().unwrap().join("manifest.json")).unwrap();
    (
        manifest,
        fs::read_to_string(folder.join("log.jsonl")).unwrap(),
    )
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_killed_run_ends_as_one_that_was_left_alone() {
    let Some(task) = Task::new("ActionCLIP: kill -9 and resume") else {
        return;
    };
    // Dropout, random crops and colours, bf16 with its masters, pieces: all that draws or
    // remembers.
    let keys = [
        "model.action_clip.head=transformer_cls",
        "model.action_clip.recompute=false",
        "backbone.precision=bf16",
        "train.accumulate=2",
        "data.augment.rand_augment={ ops = 2, magnitude = 9 }",
    ];
    let straight = run(task.train("straight", &keys));
    assert!(straight.status.success(), "{}", text(&straight));
    let mut kills = 0;
    for attempt in 0.. {
        let mut child = task
            .train("killed", &keys)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(1200 + 900 * attempt));
        if kills < 2 && child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        } else {
            assert!(child.wait().unwrap().success());
            break;
        }
    }
    assert!(kills > 0, "the run was over before it could be killed");
    assert_eq!(last(&task.path("killed")), last(&task.path("straight")));
}

#[test]
fn a_run_is_tested_used_shown_and_gone_on_from() {
    let Some(task) = Task::new("ActionCLIP: eval, predict, report, start_from") else {
        return;
    };
    let first = run(task.train("first", &[]));
    assert!(first.status.success(), "{}", text(&first));
    let result = json(&task.path("first/seed-0/result.json"));
    assert_eq!(result["tests"][0]["accuracy"]["clips"], 3);
    // Two blocks of the tower, its projection, the head and the temperature.
    assert_eq!(result["cost"]["steps"], 4);
    let trained = result["cost"]["parameters"].as_u64().unwrap();
    assert!((2_500_000..5_000_000).contains(&trained), "{trained}");
    let checkpoint = fs::read_dir(task.path("first/seed-0/checkpoints")).unwrap();
    let checkpoint = checkpoint.flatten().next().unwrap().path();
    let trained = fs::read(checkpoint.join("trained.safetensors")).unwrap();
    let names = String::from_utf8_lossy(&trained[..200_000.min(trained.len())]).into_owned();
    assert!(names.contains("encoder.layers.10.") && names.contains("transformer.resblocks.5."));
    assert!(!names.contains("encoder.layers.9.") && !names.contains("clip.text_model."));

    let mut eval = trainer(&["eval", "-q", "--set", "protocol.views=2x1"]);
    eval.arg(task.path("first"));
    let eval = run(eval);
    assert!(eval.status.success(), "{}", text(&eval));
    assert!(text(&eval).contains("views 2x1"), "{}", text(&eval));

    let clips = fs::read_dir(task.path("videos/val/PushUps")).unwrap();
    let clip = clips.flatten().next().unwrap().path();
    let mut predict = trainer(&["predict", "--json"]);
    predict
        .arg(&clip)
        .arg("--checkpoint")
        .arg(task.path("first"));
    let predict = run(predict);
    assert!(predict.status.success(), "{}", text(&predict));
    let answer: serde_json::Value = serde_json::from_slice(&predict.stdout).unwrap();
    assert!(answer.to_string().contains("push ups"), "{answer}");

    let mut report = trainer(&["report"]);
    report.arg(task.path("first"));
    let report = run(report);
    assert!(report.status.success(), "{}", text(&report));

    let start = format!("train.start_from={}", task.path("first").display());
    let again = |out: &str, more: &[&str]| {
        let keys: Vec<&str> = [start.as_str(), "train.epochs=1"]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        run(task.train(out, &keys))
    };
    let other_head = again("head", &["model.action_clip.head=conv1d"]);
    let said = text(&other_head);
    assert_eq!(other_head.status.code(), Some(3), "{said}");
    assert!(
        said.contains("transformer") && said.contains("conv1d"),
        "{said}"
    );
    let shifted = text(&again("shifted", &["model.action_clip.inside=shift"]));
    assert!(shifted.contains("shift"), "{shifted}");
    let system = text(&again(
        "system",
        &[
            "model.system=seeing-in-flowing",
            "data.source=video",
            "model.sif.motion.max_step=1",
        ],
    ));
    assert!(system.contains("another system"), "{system}");
    for (out, more) in [
        ("kept", &[][..]),
        (
            "dropped",
            &["model.action_clip.head=conv1d", "train.start_head=drop"],
        ),
    ] {
        let output = again(out, more);
        assert!(output.status.success(), "{}", text(&output));
    }
    // What was trained there and would be held here is not lost in silence.
    let held = again("held", &["model.action_clip.frozen.image_blocks=11"]);
    let said = text(&held);
    assert!(
        !held.status.success() && said.contains("would be lost"),
        "{said}"
    );
    // It begins where the first one ended: its first loss is not that of a new head.
    let losses = |out: &str| -> Vec<f64> {
        let log = last(&task.path(out)).1;
        let steps = log.lines().map(|line| {
            let step: serde_json::Value = serde_json::from_str(line).unwrap();
            step["loss"].as_f64().unwrap()
        });
        steps.collect()
    };
    assert_ne!(losses("kept")[0], losses("first")[0]);
}

#[test]
fn the_other_system_learns_from_video_too() {
    let Some(task) = Task::new("Seeing in Flowing from video") else {
        return;
    };
    fs::write(
        task.path("videos/train/PushUps/broken.avi"),
        b"this is no video",
    )
    .unwrap();
    let output = run(task.train(
        "flowing",
        &[
            "model.system=seeing-in-flowing",
            "data.source=video",
            "model.sif.motion.max_step=1",
            "model.sif.motion.ffn_dim=64",
            "train.at_least=4",
            "train.rate=1e-3",
        ],
    ));
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(!task.path("features").exists(), "features were computed");
    let result = json(&task.path("flowing/seed-0/result.json"));
    assert_eq!(
        result["skipped"][0][0].as_str().unwrap(),
        "train/PushUps/broken.avi"
    );
    // Named in the log of each batch it would have been in: seen and left out make the whole.
    let log = last(&task.path("flowing")).1;
    assert_eq!(log.matches("broken.avi").count(), 2, "{log}");
}
