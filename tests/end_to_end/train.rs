//! `train`, `eval`, `fit` and their like, driven as a user drives them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::{Place, json, last, run, set, text, trainer};

/// Five drawn clips of three classes, and a small backbone.
struct Task(Place);

impl Task {
    fn new() -> Self {
        let place = Place::new();
        place.folder("videos", &[5; 3]);
        Self(place)
    }

    fn videos(&self) -> PathBuf {
        self.path("videos")
    }

    /// `trainer fit` on two frames a clip, into `out`; features are shared by all runs.
    fn fit(&self, out: &str, more: &[&str]) -> Command {
        let mut command = trainer(&["fit", "--hold-out"]);
        command
            .arg(self.videos())
            .arg("--weights")
            .arg(self.0.backbone());
        command.arg("--out").arg(self.path(out));
        set(
            &mut command,
            &[
                &self.0.cache(),
                "data.frames=2",
                "model.sif.motion.max_step=1",
                "model.sif.motion.ffn_dim=64",
                "threads=1",
                "train.min_steps=30",
                "train.batch_size=6",
                "train.save_every=4",
            ],
        );
        set(&mut command, more);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

#[test]
fn a_killed_run_ends_as_one_that_was_left_alone() {
    let task = Task::new();
    // Dropout, mixing and averaging on: all that draws or remembers.
    let keys = [
        "model.sif.motion.dropout=0.1",
        "train.mixup_alpha=0.2",
        "train.ema_decay=0.9",
    ];
    // Once for the features, once for the time that a run takes with them there.
    assert!(run(task.fit("first", &keys)).status.success());
    let began = Instant::now();
    let straight = run(task.fit("straight", &keys));
    let whole = began.elapsed();
    assert!(straight.status.success(), "{}", text(&straight));
    let kills: u64 = std::env::var("TRAINER_KILLS").map_or(3, |count| count.parse().unwrap());
    let mut left = kills;
    let mut round = 0;
    while left > 0 {
        round += 1;
        let out = format!("killed-{round}");
        for attempt in 0.. {
            let mut command = task.fit(&out, &keys);
            let mut child = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Spread over start, steps and checkpoint writes by a fixed irrational step.
            let share = (round as f64 * 0.618 + f64::from(attempt) * 0.382).fract();
            std::thread::sleep(whole.mul_f64(0.1 + 0.8 * share));
            if left > 0 && child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                child.wait().unwrap();
                left -= 1;
            } else {
                assert!(child.wait().unwrap().success());
                break;
            }
        }
        assert_eq!(
            last(&task.path(&out)),
            last(&task.path("straight")),
            "round {round}"
        );
    }
}

#[test]
fn fit_learns_one_batch_by_heart_and_says_what_it_left_out() {
    let task = Task::new();
    fs::write(
        task.videos().join("PushUps/broken.avi"),
        b"this is no video",
    )
    .unwrap();
    // Steps alone have to do it, not a solved start.
    let keys = [
        "train.learning_rate=1e-3",
        "train.batch_size=64",
        "train.min_steps=60",
        "train.warm_start=false",
    ];
    let output = run(task.fit("fit", &keys));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("broken.avi"), "{said}");
    // A path is as long as it is.
    let folder = task.videos().to_string_lossy().into_owned();
    let mut plain = said.lines().filter(|line| !line.contains(&folder));
    assert!(plain.all(|line| line.chars().count() <= 100), "{said}");
    let log = last(&task.path("fit")).1;
    let loss = |line: Option<&str>| -> f64 {
        let step: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
        step["loss"].as_f64().unwrap()
    };
    assert!(loss(log.lines().next()) > 0.3, "{log}");
    assert!(loss(log.lines().last()) < 0.05, "{log}");

    // The checkpoint can be tested again, and gives the same answer.
    let eval = run({
        let mut command = trainer(&["eval", "-q"]);
        command.arg(task.path("fit"));
        command
    });
    assert!(eval.status.success(), "{}", text(&eval));
    let first = json(&task.path("fit/seed-0/result.json"));
    assert_eq!(first["tests"][0]["accuracy"]["clips"], 3);
    assert_eq!(
        json(&task.path("fit/eval/seed-0/result.json"))["tests"],
        first["tests"]
    );

    // A new class, without its folder and with it.
    let add = |class: &str| {
        let mut command = trainer(&["add-class", "-q"]);
        command
            .arg(task.path("fit"))
            .arg(class)
            .arg("--out")
            .arg(task.path("more"));
        run(command)
    };
    let refused = add("Lunges");
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused).contains("Lunges"));
    let (from, to) = (task.videos().join("PushUps"), task.videos().join("Lunges"));
    fs::create_dir(&to).unwrap();
    for clip in fs::read_dir(from).unwrap().take(3) {
        let clip = clip.unwrap().path();
        fs::copy(&clip, to.join(clip.file_name().unwrap())).unwrap();
    }
    let added = add("Lunges");
    assert!(
        matches!(added.status.code(), Some(0 | 1)),
        "{}",
        text(&added)
    );
    let more = json(&task.path("more/seed-0/result.json"));
    assert_eq!(more["tests"][0]["labels"].as_array().unwrap().len(), 4);
}

#[test]
fn what_shuffled_labels_teach_does_not_hold() {
    let task = Task::new();
    let keys = ["protocol.shuffle_labels=true", "train.min_steps=40"];
    let output = run(task.fit("shuffled", &keys));
    assert!(output.status.success(), "{}", text(&output));
    let result = json(&task.path("shuffled/seed-0/result.json"));
    // Three test clips of three classes.
    assert!(result["tests"][0]["accuracy"]["top1"].as_f64().unwrap() < 0.99);
}

#[test]
fn wrong_settings_end_with_one_line_that_names_them() {
    for (keys, expected) in [
        (vec!["train.batchs=3"], "train.batch_size"),
        (vec!["backbone.weights=/nowhere"], "/nowhere"),
        (vec!["train.learning_rate=fast"], "train.learning_rate"),
        (vec!["device=cuda:99"], "device"),
    ] {
        let mut command = trainer(&["train", "-q"]);
        if !keys[0].starts_with("backbone") {
            command.args(["--weights", "/nowhere"]);
        }
        for key in &keys {
            command.args(["--set", key]);
        }
        let output = run(command);
        assert_eq!(output.status.code(), Some(3));
        let said = text(&output);
        assert!(said.contains(expected), "{said}");
        assert!(said.starts_with("error: "), "{said}");
    }
}

#[test]
fn info_prints_the_papers_table_3() {
    let output = run(trainer(&["info"]));
    let said = text(&output);
    for figure in ["459.478", "556.366", "1135.759", "139.7", "143.9"] {
        assert!(said.contains(figure), "{figure}: {said}");
    }
    assert!(
        said.lines().all(|line| line.chars().count() <= 80),
        "{said}"
    );
}
