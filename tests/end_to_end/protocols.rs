//! Every protocol, from drawn videos to saved scores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{Place, checkpoint, json, set, succeed};

/// The raw scores of a test: rows of probabilities, and the true classes.
fn scores(trial: &Path, test: &str) -> (Vec<Vec<f32>>, Vec<usize>) {
    let bytes = fs::read(trial.join(format!("scores-{test}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (rows, labels) = (
        tensors.tensor("probabilities").unwrap(),
        tensors.tensor("labels").unwrap(),
    );
    let width = rows.shape()[1];
    let values: Vec<f32> = rows
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let labels = labels.data().as_chunks().0.iter();
    (
        values.chunks(width).map(<[f32]>::to_vec).collect(),
        labels
            .map(|bytes| i64::from_le_bytes(*bytes) as usize)
            .collect(),
    )
}

/// Reads a trial's result, and counts every figure anew from its raw scores.
fn checked(trial: &Path) -> Value {
    let result = json(&trial.join("result.json"));
    for test in result["tests"].as_array().unwrap() {
        let (rows, truth) = scores(trial, test["test"].as_str().unwrap());
        let classes = test["labels"].as_array().unwrap().len();
        assert_eq!(rows.len(), truth.len());
        let mut confusion = vec![vec![0u64; classes]; classes];
        let mut among_five = 0;
        for (row, truth) in rows.iter().zip(&truth) {
            assert_eq!(row.len(), classes);
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{row:?}");
            let mut order: Vec<usize> = (0..classes).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            confusion[*truth][order[0]] += 1;
            among_five += usize::from(order.iter().take(5).any(|class| class == truth));
        }
        let right: u64 = (0..classes).map(|class| confusion[class][class]).sum();
        let clips = truth.len() as f64;
        let accuracy = &test["accuracy"];
        assert_eq!(accuracy["clips"], truth.len());
        assert_eq!(accuracy["top1"].as_f64(), Some(right as f64 / clips));
        assert_eq!(
            accuracy["top5"].as_f64(),
            Some(f64::from(among_five as u32) / clips)
        );
        assert_eq!(
            accuracy["confusion"],
            serde_json::to_value(&confusion).unwrap()
        );
        for (class, row) in confusion.iter().enumerate() {
            let all: u64 = row.iter().sum();
            let share = (all > 0).then(|| row[class] as f64 / all as f64);
            assert_eq!(accuracy["per_class"][class].as_f64(), share);
        }
        for (clip, row) in test["clips"].as_array().unwrap().iter().zip(&rows) {
            let best = clip["top"][0][0].as_u64().unwrap() as usize;
            assert!(row.iter().all(|score| *score <= row[best]), "{clip}");
        }
    }
    result
}

fn protocol(result: &Value) -> &str {
    result["protocol"].as_str().unwrap()
}

/// `trainer train` on the drawn data set, below `out`; what it says.
fn train(place: &Place, data: &str, out: &str, keys: &[&str]) -> String {
    let mut command = place.command(&["train"], data);
    command.arg("--out").arg(place.path(out));
    set(&mut command, keys);
    succeed(command)
}

#[test]
fn closed_set_of_each_official_split() {
    let place = Place::new();
    place.ucf(3);
    for split in 1..=3 {
        let split_key = format!("protocol.split={split}");
        let out = format!("split{split}");
        let keys = ["protocol.name=closed-set", "protocol.seeds=[0]", &split_key];
        let said = train(&place, "ucf", &out, &keys);
        let name = format!("ucf101 closed-set, split {split}, views 1x1, names words");
        assert!(said.contains(&name) && said.contains("seeds 0,"), "{said}");
        let result = checked(&place.path(&out).join("seed-0"));
        assert_eq!(protocol(&result), name);
        assert_eq!(result["train_clips"], 12);
        assert_eq!(result["tests"][0]["accuracy"]["clips"], 4);
        let tested = result["tests"][0]["clips"].as_array().unwrap();
        let recording = format!("_g{split:02}_");
        assert!(
            tested
                .iter()
                .all(|clip| clip["id"].as_str().unwrap().contains(&recording))
        );
    }
}

#[test]
fn few_shot_draws_are_nested_and_views_are_averaged() {
    let place = Place::new();
    place.ucf(5);
    for (shots, views) in [(2, "1x1"), (4, "4x3")] {
        let keys = [
            &format!("protocol.shots={shots}"),
            "protocol.seeds=[0,1,2]",
            &format!("protocol.views={views}"),
        ];
        let said = train(&place, "ucf", &format!("k{shots}"), &keys);
        assert!(said.contains("seeds 0 1 2"), "{said}");
        assert!(
            said.contains(&format!("{shots} shots, views {views}")),
            "{said}"
        );
        assert!(
            said.lines().all(|line| line.chars().count() <= 80),
            "{said}"
        );
    }
    let draws = |out: &str| -> BTreeSet<String> {
        let trials = (0..3).map(|seed| place.path(&format!("{out}/seed-{seed}")));
        trials
            .map(|trial| {
                let folder = fs::read_dir(trial.join("checkpoints")).unwrap();
                let newest = folder.flatten().map(|entry| entry.path()).max().unwrap();
                let state = json(&newest.join("state.json"));
                let result = checked(&trial);
                assert_eq!(result["tests"][0]["accuracy"]["clips"], 4);
                state["run"]["data"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    assert_eq!(draws("k2").len(), 3, "each seed has clips of its own");
    assert_eq!(draws("k4").len(), 3);
    assert_eq!(
        json(&place.path("k4/seed-1/result.json"))["train_clips"],
        16
    );
    let kept = fs::read_dir(place.path("features")).unwrap().count();
    assert_eq!(
        kept, 3,
        "training clips, test clips once and from twelve views"
    );

    // What was trained with one view is tested with twelve, and the scores are others.
    let mut eval = place.command(&["eval"], "ucf");
    eval.arg(place.path("k2"));
    set(&mut eval, &["protocol.views=4x3"]);
    let said = succeed(eval);
    assert!(
        said.contains("views 4x3") && said.contains("seeds 0 1 2"),
        "{said}"
    );
    let again = checked(&place.path("k2/eval/seed-2"));
    assert_eq!(
        again["checkpoint"],
        json(&place.path("k2/seed-2/result.json"))["checkpoint"]
    );
    assert_ne!(
        scores(&place.path("k2/eval/seed-2"), "test"),
        scores(&place.path("k2/seed-2"), "test")
    );
    // With one view they are the same.
    let mut eval = place.command(&["eval"], "ucf");
    eval.arg(place.path("k2"))
        .arg("--out")
        .arg(place.path("same"));
    succeed(eval);
    assert_eq!(
        scores(&place.path("same/seed-2"), "test"),
        scores(&place.path("k2/seed-2"), "test")
    );
}

#[test]
fn few_clips_of_best_start_from_a_solved_residual_and_single_ones_do_not() {
    let place = Place::new();
    place.ucf(5);
    let chosen = |out: &str, keys: &[&str]| {
        let seeds = ["model.preset=best", "protocol.seeds=[0]"];
        train(&place, "ucf", out, &[keys, &seeds].concat());
        checked(&place.path(out).join("seed-0"))["warm_start"].clone()
    };
    let warm = chosen("warm", &["protocol.shots=4"]);
    let [held_out, frozen] = [0, 1].map(|at| warm["held_out_loss"][at].as_f64().unwrap());
    assert!(held_out < frozen, "{warm}");
    assert!(warm["residual_length"].as_f64().unwrap() >= 0.0, "{warm}");
    assert!(chosen("single", &["protocol.shots=1"]).is_null());
    let cold = ["protocol.shots=4", "train.warm_start=false"];
    assert!(chosen("cold", &cold).is_null());
    assert_ne!(
        scores(&place.path("warm/seed-0"), "test"),
        scores(&place.path("cold/seed-0"), "test")
    );
}

#[test]
fn kinetics_five_shots_of_its_one_split() {
    let place = Place::new();
    place.kinetics(6);
    let said = train(
        &place,
        "k400",
        "run",
        &["protocol.shots=5", "protocol.seeds=[0]"],
    );
    assert!(
        said.contains("kinetics400 few-shot, split val, 5 shots"),
        "{said}"
    );
    let result = checked(&place.path("run/seed-0"));
    assert_eq!(
        (&result["train_clips"], &result["seed"]),
        (&20.into(), &0.into())
    );
    assert_eq!(result["tests"][0]["labels"].as_array().unwrap().len(), 4);
}

#[test]
fn base_to_novel_trains_on_one_half_and_tests_both_apart() {
    let place = Place::new();
    place.ucf(4);
    let keys = [
        "protocol.name=base-to-novel",
        "protocol.shots=3",
        "protocol.seeds=[0,1,2]",
    ];
    let said = train(&place, "ucf", "run", &keys);
    assert!(said.contains("harmonic mean of base and novel"), "{said}");
    for seed in 0..3 {
        let result = checked(&place.path(&format!("run/seed-{seed}")));
        assert_eq!(result["train_clips"], 6, "three of each base class");
        let names: Vec<&str> = (0..2)
            .map(|test| result["tests"][test]["test"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["base", "novel"]);
        let labels = |test: usize| -> BTreeSet<&str> {
            let labels = result["tests"][test]["labels"].as_array().unwrap();
            labels.iter().map(|label| label.as_str().unwrap()).collect()
        };
        assert_eq!((labels(0).len(), labels(1).len()), (2, 2));
        assert!(labels(0).is_disjoint(&labels(1)));
    }
}

#[test]
fn zero_shot_of_three_lists_and_of_half_the_classes() {
    let place = Place::new();
    place.kinetics(2);
    place.ucf(2);
    let keys = ["protocol.name=closed-set", "protocol.seeds=[0]"];
    train(&place, "k400", "trained", &keys);
    let eval = |out: &str, keys: &[&str]| {
        let mut command = place.command(&["eval"], "ucf");
        command
            .arg(place.path("trained"))
            .arg("--out")
            .arg(place.path(out));
        set(&mut command, keys);
        succeed(command)
    };
    let mut tested = BTreeSet::new();
    for split in 1..=3 {
        let (out, key) = (format!("list{split}"), format!("protocol.split={split}"));
        eval(&out, &[&key, "protocol.name=zero-shot"]);
        let result = checked(&place.path(&out).join("seed-0"));
        assert!(protocol(&result).starts_with(&format!("ucf101 zero-shot, split {split}")));
        assert_eq!(result["train_clips"], 0);
        tested.insert(
            result["tests"][0]["clips"][0]["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(tested.len(), 3, "each list has clips of its own");
    let said = eval(
        "halves",
        &["protocol.name=zero-shot-halves", "protocol.seeds=[0,1,2,3]"],
    );
    assert!(
        said.contains("zero-shot-halves") && said.contains("seeds 0 1 2 3"),
        "{said}"
    );
    let mut halves = BTreeSet::new();
    for seed in 0..4 {
        let result = checked(&place.path(&format!("halves/seed-{seed}")));
        let labels = result["tests"][0]["labels"].to_string();
        assert_eq!(result["tests"][0]["labels"].as_array().unwrap().len(), 2);
        halves.insert(labels);
    }
    assert!(halves.len() > 1, "draws differ: {halves:?}");

    // Frozen CLIP needs no training.
    let said = train(
        &place,
        "ucf",
        "clip",
        &[
            "protocol.name=zero-shot",
            "protocol.seeds=[0]",
            "model.row=clip",
        ],
    );
    assert!(said.contains("ucf101 zero-shot, split 1"), "{said}");
    let result = checked(&place.path("clip/seed-0"));
    assert!(result["checkpoint"].is_null() && !place.path("clip/seed-0/checkpoints").exists());
}

#[test]
fn a_checkpoint_holds_what_was_trained_and_tells_what_it_stands_on() {
    let place = Place::new();
    place.ucf(2);
    train(
        &place,
        "ucf",
        "run",
        &["protocol.shots=2", "protocol.seeds=[0]"],
    );
    let folder = checkpoint(&place.path("run"));
    let state = json(&folder.join("state.json"));
    let run = &state["run"];
    for key in ["config", "seed", "revision", "data", "classes"] {
        assert!(!run[key].is_null(), "{key} is missing");
    }
    let card = &run["card"];
    for key in ["model", "labels", "frames", "backbone"] {
        assert!(!card[key].is_null(), "{key} is missing");
    }
    assert_eq!(card["backbone"]["sha256"].as_str().unwrap().len(), 64);
    let bytes = fs::read(folder.join("trained.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(tensors.len() > 10);
    assert!(
        tensors
            .names()
            .iter()
            .all(|name| !name.contains("vision_model")),
        "the frozen tower is not in it"
    );
}
