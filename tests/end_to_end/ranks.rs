//! `train` on several ranks, each a process as a launcher starts it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, last, set, text, trainer, wait_for};

/// Five training clips and two test clips of three classes, one of each broken.
fn place() -> Place {
    let place = Place::new();
    place.folder("videos/train", &[5, 5, 5]);
    place.folder("videos/val", &[3, 3, 3]);
    for broken in ["train/PushUps/01.avi", "val/PushUps/01.avi"] {
        fs::write(place.path("videos").join(broken), b"no video").unwrap();
    }
    place
}

/// Dropout, mixing, averaging and smoothing on: all that draws or remembers.
const SEEING_IN_FLOWING: [&str; 11] = [
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
const ACTION_CLIP: [&str; 7] = [
    "model.system=action-clip",
    "model.action_clip.head=transformer_cls",
    "model.action_clip.visual_prompt=in_network",
    "model.action_clip.recompute=true",
    "model.action_clip.frozen={ text = true, image_blocks = 2 }",
    "train.micro_batches=2",
    "train.epochs=2",
];

/// `trainer train` on two frames a clip, into `out`. The last batch has fewer clips than ranks.
fn train(place: &Place, out: &str, keys: &[&str]) -> Command {
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
struct Ranks {
    all: Vec<Child>,
    /// Where they find each other, until they end.
    _place: tempfile::TempDir,
}

impl Ranks {
    fn start(size: usize, command: impl Fn(usize) -> Command) -> Self {
        let place = tempfile::tempdir().unwrap();
        let rank = |rank: usize| {
            let mut command = command(rank);
            if size > 1 {
                let place = format!("file://{}", place.path().join("here").display());
                command.env("DIST_RENDEZVOUS", place);
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
    fn signal(&self, rank: usize, signal: &str) {
        let id = self.all[rank].id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    fn ended(self) -> Vec<Output> {
        self.all
            .into_iter()
            .map(|child| child.wait_with_output().unwrap())
            .collect()
    }
}

/// Trains on so many ranks to the end.
fn trained(place: &Place, out: &str, size: usize, keys: &[&str]) {
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
fn result(run: &Path) -> (String, String, Vec<Vec<u8>>) {
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

/// What every rank says as it refuses.
fn refused(size: usize, command: impl Fn(usize) -> Command) -> Vec<String> {
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

/// `cargo xtask faults`.
mod needs_minutes {
    use super::*;

    /// When a fault strikes.
    #[derive(Debug, Clone, Copy)]
    enum Moment {
        Start,
        Step,
        Save,
        Test,
    }

    const STEPS: usize = 24;

    /// Seconds until the survivors are gone.
    const OF_A_DEATH: u64 = 10;
    /// With the tests' limit of silence of 3 seconds instead of 30.
    const OF_SILENCE: u64 = 13;

    fn keys() -> Vec<String> {
        let steps = format!("train.min_steps={STEPS}");
        let more = [
            steps.as_str(),
            "train.save_every=1",
            "train.keep_checkpoints=2",
        ];
        [&SEEING_IN_FLOWING[..], &more]
            .concat()
            .into_iter()
            .map(String::from)
            .collect()
    }

    fn command(place: &Place, out: &str) -> Command {
        let keys = keys();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut command = train(place, out, &keys);
        command.env("DIST_JOIN_SECONDS", "5");
        command
    }

    fn lines(run: &Path) -> usize {
        let log = fs::read_to_string(run.join("seed-0/log.jsonl"));
        log.map_or(0, |text| text.lines().count())
    }

    fn is_saving(run: &Path) -> bool {
        let mut entries = fs::read_dir(run.join("seed-0/checkpoints"))
            .into_iter()
            .flatten()
            .flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
    }

    /// Strikes one rank; what the others say, and how long they take.
    fn strike(
        place: &Place,
        out: &str,
        size: usize,
        victim: usize,
        signal: &str,
        moment: Moment,
    ) -> bool {
        let run = place.path(out);
        let mut ranks = Ranks::start(size, |_| command(place, out));
        let there = || match moment {
            Moment::Start => true,
            Moment::Step => lines(&run) >= 3,
            Moment::Save => is_saving(&run),
            Moment::Test => lines(&run) >= STEPS,
        };
        let began = Instant::now();
        while !there() && began.elapsed() < Duration::from_secs(60) {
            if ranks.all[0].try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if matches!(moment, Moment::Start) {
            std::thread::sleep(Duration::from_millis(150));
        }
        let ended = ranks
            .all
            .iter_mut()
            .any(|rank| rank.try_wait().unwrap().is_some());
        if !ended {
            ranks.signal(victim, signal);
        }
        let began = Instant::now();
        let mut gone = ranks.all.remove(victim);
        let others = ranks.ended();
        let seconds = began.elapsed().as_secs();
        let _ = gone.kill();
        gone.wait().unwrap();
        // It was over before it could be struck.
        if others.iter().all(|output| output.status.success()) {
            return false;
        }
        let limit = match (signal, moment) {
            // Ranks that have not come are waited for.
            (_, Moment::Start) => 13 + OF_A_DEATH,
            ("-KILL", _) => OF_A_DEATH,
            _ => OF_SILENCE,
        };
        for output in &others {
            let said = text(output);
            let code = output.status.code();
            assert!(code == Some(75) || code == Some(3), "{code:?} {said}");
            let error = said.lines().find_map(|line| line.strip_prefix("error: "));
            let error = error.unwrap_or_else(|| panic!("no error in {said}"));
            assert!(
                error.contains(&format!("rank {victim}")),
                "{size} {victim} {signal} {moment:?}: {error}"
            );
        }
        assert!(
            seconds <= limit,
            "{size} {victim} {signal} {moment:?}: {seconds} s"
        );
        true
    }

    #[test]
    #[ignore = "minutes; run by cargo xtask faults"]
    fn of_every_rank_at_every_moment() {
        let place = place();
        let straight = straight(&place);
        let (mut struck, mut number) = (0, 0);
        for size in [2, 4] {
            for victim in 0..size {
                for signal in ["-KILL", "-STOP"] {
                    for moment in [Moment::Start, Moment::Step, Moment::Save, Moment::Test] {
                        let out = format!("fault-{number}");
                        number += 1;
                        let hit = strike(&place, &out, size, victim, signal, moment);
                        struck += usize::from(hit);
                        // Resumed on another number of ranks.
                        let size = [1, 2, 4][number % 3];
                        goes_on(&place, &out, size, &straight);
                        eprintln!(
                            "fault {number}: {size} ranks go on, {}",
                            if hit { "struck" } else { "too late" }
                        );
                    }
                }
            }
        }
        eprintln!("{struck} of {number} faults struck");
        assert!(struck * 10 >= number * 8, "{struck} of {number}");
    }

    #[test]
    #[ignore = "minutes; run by cargo xtask faults"]
    fn of_a_stop_asked_for_on_one_rank() {
        let place = place();
        let straight = straight(&place);
        for size in [2, 4] {
            for asked in 0..size {
                let run = place.path("asked");
                let mut ranks = Ranks::start(size, |_| command(&place, "asked"));
                wait_for(&mut ranks.all[asked], || lines(&run) >= 3);
                ranks.signal(asked, "-TERM");
                for output in ranks.ended() {
                    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
                }
                assert!(lines(&run) < STEPS);
                goes_on(&place, "asked", [1, 4, 2][asked % 3], &straight);
            }
        }
    }

    /// Runs what prepares the machine.
    fn system(line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
        assert!(done.status.success(), "{line} (as root): {}", text(&done));
    }

    /// Undoes it at the end, however that comes.
    struct Undo(Vec<String>);

    impl Drop for Undo {
        fn drop(&mut self) {
            for line in &self.0 {
                let words: Vec<&str> = line.split_whitespace().collect();
                // It may be undone already.
                let _ = Command::new(words[0]).args(&words[1..]).output();
            }
        }
    }

    #[test]
    #[ignore = "minutes, as root; run by cargo xtask faults"]
    fn of_a_full_disk_on_the_rank_that_writes() {
        let place = place();
        let straight = straight(&place);
        for size in [2, 4] {
            let out = place.path("full");
            fs::create_dir(&out).unwrap();
            let _undo = Undo(vec![format!("umount {}", out.display())]);
            system(&format!(
                "mount -t tmpfs -o size=1m tmpfs {}",
                out.display()
            ));
            let outputs = Ranks::start(size, |_| command(&place, "full/run")).ended();
            for output in &outputs {
                let said = text(output);
                assert_eq!(output.status.code(), Some(3), "{said}");
                assert!(said.contains("No space left on device"), "{said}");
            }
            assert!(text(&outputs[1]).contains("error: rank 0 (host "));
            system(&format!(
                "mount -o remount,size=100m tmpfs {}",
                out.display()
            ));
            goes_on(&place, "full/run", 6 - size, &straight);
            drop(_undo);
            fs::remove_dir(&out).unwrap();
        }
    }

    #[test]
    #[ignore = "minutes, as root; run by cargo xtask faults"]
    fn of_the_link_between_two_machines() {
        let place = place();
        let straight = straight(&place);
        let _undo = Undo(vec![
            "ip netns del ranks-0".into(),
            "ip netns del ranks-1".into(),
        ]);
        system("ip netns add ranks-0");
        system("ip netns add ranks-1");
        system("ip link add ranks0 netns ranks-0 type veth peer name ranks1 netns ranks-1");
        for rank in 0..2 {
            let inside = format!("ip -n ranks-{rank}");
            system(&format!(
                "{inside} addr add 10.77.0.{}/24 dev ranks{rank}",
                rank + 1
            ));
            system(&format!("{inside} link set ranks{rank} up"));
            system(&format!("{inside} link set lo up"));
        }
        let start = |out: &str, port: u16| -> Vec<Child> {
            let start = |rank: usize| {
                let own = command(&place, out);
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", &format!("ranks-{rank}")]);
                inside.arg(own.get_program()).args(own.get_args());
                inside.envs([("DIST_SILENCE_SECONDS", "3"), ("MASTER_ADDR", "10.77.0.1")]);
                inside.envs([("RANK", rank.to_string()), ("WORLD_SIZE", "2".into())]);
                inside.env("MASTER_PORT", port.to_string());
                inside
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            };
            (0..2).map(start).collect()
        };
        let ended = |all: Vec<Child>| -> Vec<Output> {
            all.into_iter()
                .map(|child| child.wait_with_output().unwrap())
                .collect()
        };
        for rank in 0..2 {
            let link = format!("ip -n ranks-{rank} link set ranks{rank}");
            let mut all = start("cut", 29_700 + rank as u16);
            wait_for(&mut all[0], || lines(&place.path("cut")) >= 3);
            system(&format!("{link} down"));
            let began = Instant::now();
            for (rank, output) in ended(all).iter().enumerate() {
                let said = text(output);
                assert_eq!(output.status.code(), Some(75), "{said}");
                assert!(
                    said.contains(&format!("error: lost rank {} (host ", 1 - rank)),
                    "{said}"
                );
            }
            assert!(
                began.elapsed().as_secs() <= OF_SILENCE,
                "{:?}",
                began.elapsed()
            );
            system(&format!("{link} up"));
            goes_on(&place, "cut", 4, &straight);
        }
        // A slow link changes nothing but the time.
        for (number, speed) in ["1gbit", "20mbit"].iter().enumerate() {
            for rank in 0..2 {
                system(&format!(
                    "ip netns exec ranks-{rank} tc qdisc replace dev ranks{rank} root tbf rate {speed} \
                     burst 256kb latency 50ms"
                ));
            }
            for output in ended(start("slow", 29_710 + number as u16)) {
                assert!(output.status.success(), "{}", text(&output));
            }
            assert!(result(&place.path("slow")) == straight, "{speed}");
            fs::remove_dir_all(place.path("slow")).unwrap();
        }
    }

    fn straight(place: &Place) -> (String, String, Vec<Vec<u8>>) {
        let output = Ranks::start(1, |_| command(place, "straight"))
            .ended()
            .remove(0);
        assert!(output.status.success(), "{}", text(&output));
        result(&place.path("straight"))
    }

    /// Resumes on so many ranks, and removes the run.
    fn goes_on(place: &Place, out: &str, size: usize, straight: &(String, String, Vec<Vec<u8>>)) {
        for output in Ranks::start(size, |_| command(place, out)).ended() {
            assert!(output.status.success(), "{}", text(&output));
        }
        assert!(result(&place.path(out)) == *straight, "{out}");
        fs::remove_dir_all(place.path(out)).unwrap();
    }
}
