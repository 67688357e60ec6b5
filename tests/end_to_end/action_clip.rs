//! ActionCLIP trained, killed, tested and used as a user does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::process::{Command, Stdio};

use safetensors::SafeTensors;

#[path = "../../crates/clip-backbone/tests/checkpoints/writers.rs"]
#[allow(dead_code)]
mod writers;

use writers::{Object, Weights, openai_names, state_dict, write_torch_save};

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
            "train.batch_size=5",
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
        "train.micro_batches=2",
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
    assert_eq!(
        result["cost"]["trainable_parameters"],
        numbers.sum::<usize>()
    );
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
    assert!(answer.to_string().contains("PushUps"), "{answer}");

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
    let shifted = text(&again(
        "shifted",
        &["model.action_clip.visual_prompt=in_network"],
    ));
    assert!(shifted.contains("in_network"), "{shifted}");
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

/// A file as the official training saves it, of these weights and the head `mean`, which has
/// but the positions that every official head has.
fn official(place: &Place, name: &str, weights: &Weights) -> String {
    let parallel = |weights: &Weights| {
        let named = weights.iter();
        let wrapped =
            named.map(|(name, tensor)| (format!("module.{name}"), tensor.shallow_clone()));
        state_dict(&wrapped.collect())
    };
    let positions = tch::Tensor::zeros([77, 64], (tch::Kind::Float, tch::Device::Cpu));
    let head = [("frame_position_embeddings.weight".to_owned(), positions)];
    let root = Object::Dict(vec![
        ("epoch".into(), Object::Int(49)),
        ("model_state_dict".into(), parallel(&openai_names(weights))),
        ("fusion_model_state_dict".into(), parallel(&head.into())),
    ]);
    let path = write_torch_save(&place.path(name), &root);
    format!("train.start_from={}", path.display())
}

#[test]
fn an_official_file_is_what_training_starts_from() {
    let place = place();
    let weights = place.backbone().join("model.safetensors");
    let weights: Weights = tch::Tensor::read_safetensors(weights)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_kind(tch::Kind::Float)))
        .collect();
    let mut others: Weights = weights
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect();
    let projection = "visual_projection.weight";
    others.insert(projection.into(), weights[projection].flip([0]));

    let keys = [
        "model.action_clip.head=mean",
        "model.action_clip.frozen={ text = false, image_blocks = 0 }",
        "train.epochs=1",
    ];
    let losses = |out: &str, start: Option<&str>| -> Vec<f64> {
        let keys: Vec<&str> = keys.into_iter().chain(start).collect();
        succeed(train(&place, out, &keys));
        let log = last(&place.path(out)).1;
        let steps = log.lines().map(|line| {
            let step: serde_json::Value = serde_json::from_str(line).unwrap();
            step["loss"].as_f64().unwrap()
        });
        steps.collect()
    };
    let same = official(&place, "same.pt", &weights);
    let other = official(&place, "other.pt", &others);
    let plain = losses("plain", None);
    assert_eq!(losses("same", Some(&same)), plain);
    assert_ne!(losses("other", Some(&other))[0], plain[0]);

    let wrong: Vec<&str> = keys
        .into_iter()
        .chain([same.as_str(), "model.action_clip.head=lstm"])
        .collect();
    let output = run(train(&place, "wrong", &wrong));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("mean") && said.contains("lstm"), "{said}");
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
            "train.min_steps=4",
            "train.learning_rate=1e-3",
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
