//! `train` on several ranks, each a process as a launcher starts it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, checkpoint, json, last, set, text, trainer, wait_for};

/// Five training clips and two test clips of three classes, one of each broken.
pub(crate) fn place() -> Place {
    let place = Place::new();
    place.folder("videos/train", &[5, 5, 5]);
    place.folder("videos/val", &[3, 3, 3]);
    for broken in ["train/PushUps/01.avi", "val/PushUps/01.avi"] {
        fs::write(place.path("videos").join(broken), b"no video").unwrap();
    }
    place
}

/// Dropout, mixing, averaging and smoothing on: all that draws or remembers.
pub(crate) const SEEING_IN_FLOWING: [&str; 11] = [
    "model.preset=best",
    "model.sif.motion.max_step=1",
    "model.sif.motion.ffn_dim=64",
    "model.sif.motion.dropout=0.1",
    "train.mixup_alpha=0.2",
    "train.ema_decay=0.9",
    "train.label_smoothing=0.1",
    "train.epochs=1",
    "train.min_steps=6",
    "train.warm_up_epochs=1",
    "train.judge_steps=false",
];

/// Pieces and recomputation; the image tower alone is trained, beside the head.
pub(crate) const ACTION_CLIP: [&str; 7] = [
    "model.system=action-clip",
    "model.action_clip.head=transformer_cls",
    "model.action_clip.visual_prompt=in_network",
    "model.action_clip.recompute=true",
    "model.action_clip.frozen={ text = true, image_blocks = 2 }",
    "train.micro_batches=2",
    "train.epochs=2",
];

/// `trainer train` on two frames a clip, into `out`. The last batch has fewer clips than ranks.
pub(crate) fn train(place: &Place, out: &str, keys: &[&str]) -> Command {
    let mut command = trainer(&["train"]);
    command.arg("--root").arg(place.path("videos"));
    command.arg("--weights").arg(place.backbone());
    command.arg("--out").arg(place.path(out));
    command.env("DIST_SILENCE_SECONDS", "3");
    set(&mut command, &[place.cache()]);
    set(
        &mut command,
        &[
            "protocol.name=closed-set",
            "protocol.seeds=[0]",
            "data.frames=2",
            "threads=1",
            "train.lanes=4",
            "train.batch_size=6",
            "train.save_every=2",
        ],
    );
    set(&mut command, keys);
    command
}

/// The processes of a group, which find each other by a file.
pub(crate) struct Ranks {
    pub(crate) all: Vec<Child>,
    /// Where they find each other, until they end.
    _place: tempfile::TempDir,
}

impl Ranks {
    pub(crate) fn start(size: usize, command: impl Fn(usize) -> Command) -> Self {
        let place = tempfile::tempdir().unwrap();
        let rank = |rank: usize| {
            let mut command = command(rank);
            if size > 1 {
                // Unless they find each other by a port.
                if !command.get_envs().any(|(name, _)| name == "MASTER_PORT") {
                    let place = format!("file://{}", place.path().join("here").display());
                    command.env("DIST_RENDEZVOUS", place);
                }
                command.env("RANK", rank.to_string());
                command.env("WORLD_SIZE", size.to_string());
            }
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        Self {
            all: (0..size).map(rank).collect(),
            _place: place,
        }
    }

    /// Sends a signal to one.
    pub(crate) fn signal(&self, rank: usize, signal: &str) {
        let id = self.all[rank].id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn ended(self) -> Vec<Output> {
        self.all
            .into_iter()
            .map(|child| child.wait_with_output().unwrap())
            .collect()
    }
}

/// Trains on so many ranks to the end.
pub(crate) fn trained(place: &Place, out: &str, size: usize, keys: &[&str]) {
    for (rank, output) in Ranks::start(size, |_| train(place, out, keys))
        .ended()
        .iter()
        .enumerate()
    {
        assert!(output.status.success(), "{size}: {}", text(output));
        assert_eq!(output.stdout.is_empty(), rank > 0, "{}", text(output));
    }
}

/// The checkpoint's manifest, the log and all scores.
pub(crate) type Outcome = (String, String, Vec<Vec<u8>>);

pub(crate) fn result(run: &Path) -> Outcome {
    let (manifest, log) = last(run);
    let files = fs::read_dir(run.join("seed-0"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let mut scores: Vec<_> = files
        .filter(|path| path.to_string_lossy().contains("/scores-"))
        .collect();
    scores.sort();
    assert!(!scores.is_empty());
    (
        manifest,
        log,
        scores.iter().map(|path| fs::read(path).unwrap()).collect(),
    )
}

fn same_bits_on_any_number_of_ranks(keys: &[&str]) {
    let place = place();
    let mut alone = None;
    for size in [4, 1, 2] {
        // Features are computed by these ranks.
        let _ = fs::remove_dir_all(place.path("features"));
        let out = format!("on-{size}");
        trained(&place, &out, size, keys);
        let result = result(&place.path(&out));
        let alone = alone.get_or_insert_with(|| result.clone());
        assert_eq!(result.1, alone.1, "{size}: the log");
        assert_eq!(result, *alone, "{size}");
    }
}

#[test]
fn seeing_in_flowing_has_the_same_bits_on_any_number_of_ranks() {
    same_bits_on_any_number_of_ranks(&SEEING_IN_FLOWING);
}

#[test]
fn action_clip_has_the_same_bits_on_any_number_of_ranks() {
    same_bits_on_any_number_of_ranks(&ACTION_CLIP);
}

#[test]
fn a_run_that_loses_ranks_ends_as_one_that_was_left_alone() {
    let place = place();
    let keys = [&SEEING_IN_FLOWING[..], &["train.min_steps=30"]].concat();
    trained(&place, "straight", 1, &keys);
    let straight = result(&place.path("straight"));
    let log = place.path("lost/seed-0/log.jsonl");
    let lines = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    for (size, victim, signal, steps) in
        [(2, 1, "-KILL", 4), (4, 0, "-KILL", 9), (2, 0, "-STOP", 14)]
    {
        let mut ranks = Ranks::start(size, |_| train(&place, "lost", &keys));
        wait_for(&mut ranks.all[victim], || lines() >= steps);
        ranks.signal(victim, signal);
        let began = Instant::now();
        let mut gone = ranks.all.remove(victim);
        let others = ranks.ended();
        let seconds = began.elapsed();
        gone.kill().unwrap();
        gone.wait().unwrap();
        for output in others {
            let said = text(&output);
            assert_eq!(output.status.code(), Some(75), "{said}");
            assert!(
                said.contains(&format!("error: lost rank {victim} (host ")),
                "{said}"
            );
        }
        assert!(seconds < Duration::from_secs(15), "{seconds:?}");
    }
    // A stop asked for on one rank stops all after a checkpoint.
    let mut ranks = Ranks::start(2, |_| train(&place, "lost", &keys));
    wait_for(&mut ranks.all[1], || lines() >= 20);
    ranks.signal(1, "-INT");
    for output in ranks.ended() {
        assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    }
    trained(&place, "lost", 4, &keys);
    assert!(result(&place.path("lost")) == straight);
}

/// The loss and the gradient norm of the first step.
fn first_step(run: &Path) -> [f64; 2] {
    let (_, log) = last(run);
    let step: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    ["loss", "gradient_norm"].map(|name| step[name].as_f64().unwrap())
}

#[test]
fn a_step_on_two_ranks_is_that_of_one_process_without_lanes() {
    let place = place();
    // Each lane has dropout of its own, which the head of the other tests has, too.
    let exact = ["model.sif.motion.dropout=0", "backbone.precision=fp32"];
    let head = ["train.epochs=1", "model.action_clip.head=transformer"];
    let seeing_in_flowing = [&SEEING_IN_FLOWING[..], &exact, &["train.min_steps=1"]].concat();
    for (name, keys) in [
        ("flowing", &seeing_in_flowing[..]),
        ("action-clip", &[&ACTION_CLIP[..], &head].concat()),
    ] {
        let (one, two) = (format!("{name}-1"), format!("{name}-2"));
        trained(&place, &one, 1, &[keys, &["train.lanes=1"]].concat());
        trained(&place, &two, 2, keys);
        let [one, two] = [one, two].map(|run| first_step(&place.path(&run)));
        for (one, two) in one.iter().zip(two) {
            let differs = (one - two).abs() / one.abs();
            assert!(differs < 1e-6, "{name}: {one} and {two}: {differs:e}");
        }
    }
}

#[test]
fn steps_are_judged_once_for_all_ranks() {
    let place = place();
    let keys: Vec<&str> = SEEING_IN_FLOWING
        .into_iter()
        .filter(|key| *key != "train.judge_steps=false")
        // A fold makes a few of them.
        .chain(["train.min_steps=30"])
        .collect();
    let judged = |out: &str| json(&place.path(out).join("seed-0/result.json"))["gain"].clone();
    for size in [1, 2] {
        trained(&place, &format!("on-{size}"), size, &keys);
    }
    assert!(judged("on-1")["steps"].is_number(), "{}", judged("on-1"));
    assert_eq!(judged("on-2"), judged("on-1"));
    let results = ["on-1", "on-2"].map(|out| {
        let run = place.path(out);
        let log = fs::read_to_string(run.join("seed-0/log.jsonl"));
        (
            fs::read(checkpoint(&run).join("manifest.json")).unwrap(),
            log.unwrap_or_default(),
        )
    });
    assert!(results[0] == results[1]);
}

/// What every rank says as it refuses.
pub(crate) fn refused(size: usize, command: impl Fn(usize) -> Command) -> Vec<String> {
    let refuse = |output: Output| {
        let said = text(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        let error = said.lines().find_map(|line| line.strip_prefix("error: "));
        error
            .unwrap_or_else(|| panic!("no error in {said}"))
            .to_owned()
    };
    Ranks::start(size, command)
        .ended()
        .into_iter()
        .map(refuse)
        .collect()
}

#[test]
fn ranks_that_do_not_fit_together_say_so() {
    let place = place();
    let train = |keys: &[&str]| train(&place, "wrong", &[&SEEING_IN_FLOWING[..], keys].concat());
    for (words, differing) in [
        ("the number of threads is 2 on rank 1 (host ", "threads=2"),
        (
            "train.learning_rate is 0.5 on rank 1 (host ",
            "train.learning_rate=0.5",
        ),
    ] {
        let said = refused(2, |rank| match rank {
            0 => train(&[]),
            _ => train(&[differing]),
        });
        assert!(said.iter().all(|error| error.contains(words)), "{said:?}");
    }
    let said = refused(2, |_| train(&["train.lanes=1"]));
    let words = "--set train.lanes=1`: expected a power of two that 2 ranks share evenly";
    assert!(said.iter().all(|error| error.contains(words)), "{said:?}");
    // Folders that are not shared.
    let said = refused(2, |rank| {
        self::train(&place, &format!("own-{rank}"), &SEEING_IN_FLOWING)
    });
    for error in said {
        assert!(
            error.contains("rank 1 (host") && error.contains("own-"),
            "{error}"
        );
    }
    // An error on one rank ends both.
    let said = refused(2, |rank| match rank {
        0 => train(&[]),
        _ => train(&["data.skip_list=/nowhere"]),
    });
    assert!(
        said.iter().all(|error| error.contains("/nowhere")),
        "{said:?}"
    );
    assert!(said[0].starts_with("rank 1 (host "), "{said:?}");
}
