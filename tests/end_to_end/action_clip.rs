//! ActionCLIP trained, killed, tested and used as a user does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::process::{Command, Stdio};

use safetensors::SafeTensors;

use crate::support::{Place, checkpoint, json, last, run, set, succeed, text, trainer, wait_for};

/// Three training clips and one test clip of three classes.
fn place() -> Place {
    let place = Place::new();
    place.folder("videos/train", &[3, 3, 3]);
    place.folder("videos/val", &[1, 1, 1]);
    place
}

/// `trainer train` on two frames a clip, into `out`.
fn train(place: &Place, out: &str, keys: &[&str]) -> Command {
    let mut command = trainer(&["train"]);
    command.arg("--root").arg(place.path("videos"));
    command.arg("--weights").arg(place.backbone());
    command.arg("--out").arg(place.path(out));
    set(&mut command, &[place.cache()]);
    set(
        &mut command,
        &[
            "model.system=action-clip",
            "protocol.name=closed-set",
            "protocol.seeds=[0]",
            "data.frames=2",
            "threads=1",
            "train.epochs=2",
            "train.batch=5",
            "train.save_every=1",
            "model.action_clip.frozen={ text = true, image_blocks = 2 }",
        ],
    );
    set(&mut command, keys);
    command
}

#[test]
fn a_killed_run_ends_as_one_that_was_left_alone() {
    let place = place();
    // Dropout, random crops and colours, bf16 with its masters, pieces: all that draws or
    // remembers.
    let keys = [
        "model.action_clip.head=transformer_cls",
        "model.action_clip.recompute=false",
        "backbone.precision=bf16",
        "train.accumulate=2",
        "train.epochs=6",
        "data.augment.rand_augment={ ops = 2, magnitude = 9 }",
    ];
    succeed(train(&place, "straight", &keys));
    let log = place.path("killed/seed-0/log.jsonl");
    let lines = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    for steps in [2, 3, 7] {
        let mut child = train(&place, "killed", &keys)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&mut child, || lines() >= steps);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    succeed(train(&place, "killed", &keys));
    assert_eq!(last(&place.path("killed")), last(&place.path("straight")));
}

#[test]
fn a_run_is_tested_used_shown_and_gone_on_from() {
    let place = place();
    let first = run(train(&place, "first", &[]));
    assert!(first.status.success(), "{}", text(&first));
    let result = json(&place.path("first/seed-0/result.json"));
    assert_eq!(result["tests"][0]["accuracy"]["clips"], 3);
    // A block of the tower, its projection, the head and the temperature.
    assert_eq!(result["cost"]["steps"], 4);
    let trained = checkpoint(&place.path("first")).join("trained.safetensors");
    let trained = fs::read(trained).unwrap();
    let trained = SafeTensors::deserialize(&trained).unwrap();
    let numbers = trained
        .tensors()
        .into_iter()
        .map(|(_, tensor)| tensor.shape().iter().product::<usize>());
    assert_eq!(result["cost"]["parameters"], numbers.sum::<usize>());
    let has = |part: &str| trained.names().iter().any(|name| name.contains(part));
    assert!(has("encoder.layers.2.") && has("transformer.resblocks.5."));
    assert!(!has("encoder.layers.1.") && !has("clip.text_model."));

    let mut eval = trainer(&["eval", "-q", "--set", "protocol.views=2x1"]);
    eval.arg(place.path("first"));
    let eval = run(eval);
    assert!(eval.status.success(), "{}", text(&eval));
    assert!(text(&eval).contains("views 2x1"), "{}", text(&eval));

    let clips = fs::read_dir(place.path("videos/val/PushUps")).unwrap();
    let clip = clips.flatten().next().unwrap().path();
    let mut predict = trainer(&["predict", "--json"]);
    predict
        .arg(&clip)
        .arg("--checkpoint")
        .arg(place.path("first"));
    let predict = run(predict);
    assert!(predict.status.success(), "{}", text(&predict));
    let answer: serde_json::Value = serde_json::from_slice(&predict.stdout).unwrap();
    assert!(answer.to_string().contains("push ups"), "{answer}");

    let mut report = trainer(&["report"]);
    report.arg(place.path("first"));
    let report = run(report);
    assert!(report.status.success(), "{}", text(&report));

    let start = format!("train.start_from={}", place.path("first").display());
    let again = |out: &str, more: &[&str]| {
        let keys: Vec<&str> = [start.as_str(), "train.epochs=1"]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        run(train(&place, out, &keys))
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
    let held = again("held", &["model.action_clip.frozen.image_blocks=3"]);
    let said = text(&held);
    assert!(
        !held.status.success() && said.contains("would be lost"),
        "{said}"
    );
    // It begins where the first one ended: its first loss is not that of a new head.
    let losses = |out: &str| -> Vec<f64> {
        let log = last(&place.path(out)).1;
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
    let place = place();
    fs::write(
        place.path("videos/train/PushUps/broken.avi"),
        b"this is no video",
    )
    .unwrap();
    let output = run(train(
        &place,
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
    assert!(!place.path("features").exists(), "features were computed");
    let result = json(&place.path("flowing/seed-0/result.json"));
    assert_eq!(
        result["skipped"][0][0].as_str().unwrap(),
        "train/PushUps/broken.avi"
    );
    // Named in the log of each batch it would have been in: seen and left out make the whole.
    let log = last(&place.path("flowing")).1;
    assert_eq!(log.matches("broken.avi").count(), 2, "{log}");
}
