//! Faults on several ranks, each followed by a resumption: `cargo xtask faults`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use clips::feature_cache::{FeatureReader, FeatureWriter, Row, ShardRows};

use crate::ranks::{ACTION_CLIP, Outcome, Ranks, SEEING_IN_FLOWING, place, refused, result, train};
use crate::support::{Place, set, text, trainer, wait_for};

const STEPS: usize = 24;

/// The command of all ranks: a checkpoint after every step.
fn command(place: &Place, out: &str, keys: &[&str]) -> Command {
    let steps = format!("train.min_steps={STEPS}");
    let more = [
        steps.as_str(),
        "train.save_every=1",
        "train.keep_checkpoints=2",
    ];
    let mut command = train(place, out, &[keys, &more].concat());
    command.env("DIST_JOIN_SECONDS", "5");
    command
}

fn lines(run: &Path) -> usize {
    let log = fs::read_to_string(run.join("seed-0/log.jsonl"));
    log.map_or(0, |text| text.lines().count())
}

/// What a run that is left alone ends with.
fn straight(place: &Place, out: &str, keys: &[&str]) -> Outcome {
    ends(Ranks::start(1, |_| command(place, out, keys)).ended());
    result(&place.path(out))
}

fn ends(outputs: Vec<Output>) {
    for output in outputs {
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// Resumes on so many ranks, and removes the run.
fn goes_on(place: &Place, out: &str, size: usize, keys: &[&str], straight: &Outcome) {
    ends(Ranks::start(size, |_| command(place, out, keys)).ended());
    assert!(result(&place.path(out)) == *straight, "{out}");
    fs::remove_dir_all(place.path(out)).unwrap();
}

/// Puts other features in the place of the first training clip's.
fn replace_features(cache: &Path, value: f32) -> Vec<(PathBuf, Vec<u8>)> {
    let mut before = Vec::new();
    for entry in fs::read_dir(cache).unwrap().flatten() {
        let Ok(reader) = FeatureReader::open_any(&entry.path()) else {
            continue;
        };
        let layout = *reader.layout();
        let row = |position: usize| {
            let mut features = vec![0.0; layout.clip_len()];
            reader.copy_view(position, 0, &mut features).unwrap();
            Row { position, features }
        };
        let has = (0..layout.clips).filter(|position| reader.has(*position));
        let mut rows: Vec<Row> = has.map(row).collect();
        rows[0].features.fill(value);
        let rows = ShardRows {
            rows,
            skipped: reader.skipped(),
        };
        let shard = entry.path().join("features-00000.safetensors");
        before.push((shard.clone(), fs::read(&shard).unwrap()));
        let writer = FeatureWriter::open(&entry.path(), layout, reader.fingerprint().clone());
        writer.unwrap().write(0, &rows).unwrap();
    }
    before
}

/// A loss that is not finite on one rank ends all, naming it; with the old features the run goes on.
fn not_finite(size: usize) {
    let place = place();
    // A start solved over all clips, and mixed clips, would spread it.
    let keys = [
        &SEEING_IN_FLOWING[..],
        &[
            "train.mixup_alpha=0",
            "train.warm_start=false",
            "data.cache_precision=f32",
            "model.sif.tokens=class",
        ],
    ]
    .concat();
    let straight = straight(&place, "straight", &keys);
    let before = replace_features(&place.path("features"), 3e38);
    let said = refused(size, |_| command(&place, "broken", &keys));
    let named = |error: &String| {
        let (before, after) = error.split_once(" on rank ").unwrap();
        assert!(before.contains("NaN") || before.contains("inf"), "{error}");
        after.split_once(')').unwrap().0.to_owned()
    };
    let names: Vec<String> = said.iter().map(named).collect();
    assert!(names.iter().all(|name| *name == names[0]), "{said:?}");
    assert!(!said[0].contains(" and rank "), "{said:?}");
    for (path, bytes) in before {
        fs::write(path, bytes).unwrap();
    }
    goes_on(&place, "broken", 1, &keys, &straight);
}

#[test]
fn a_rank_whose_loss_is_not_finite_is_named_by_all() {
    not_finite(2);
}

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

    /// Seconds until the survivors are gone.
    const OF_A_DEATH: u64 = 10;
    /// With the tests' limit of silence of 3 seconds instead of 30.
    const OF_SILENCE: u64 = 13;

    fn sif(place: &Place, out: &str) -> Command {
        command(place, out, &SEEING_IN_FLOWING)
    }

    fn is_saving(run: &Path) -> bool {
        let entries = fs::read_dir(run.join("seed-0/checkpoints"));
        let mut entries = entries.into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
    }

    fn has_ended(run: &Path) -> bool {
        let last = format!("seed-0/checkpoints/step-{STEPS:010}");
        run.join(last).is_dir()
    }

    /// A port that was free a moment ago.
    fn free_port() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port().to_string()
    }

    /// Strikes one rank; the seconds until the others are gone, each with a sentence that names it.
    /// `None` if the run was over before.
    fn strike(
        start: impl Fn() -> Ranks,
        run: &Path,
        victim: usize,
        signal: &str,
        moment: Moment,
    ) -> Option<f64> {
        let mut ranks = start();
        let there = || match moment {
            Moment::Start => true,
            Moment::Step => lines(run) >= 3,
            Moment::Save => lines(run) >= 8 && is_saving(run),
            Moment::Test => has_ended(run),
        };
        let begun = Instant::now();
        while !there() && begun.elapsed() < Duration::from_secs(120) {
            if ranks.all[0].try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if matches!(moment, Moment::Start) {
            std::thread::sleep(Duration::from_millis(150));
        }
        let mut all = ranks.all.iter_mut();
        if !all.any(|rank| rank.try_wait().unwrap().is_some()) {
            ranks.signal(victim, signal);
        }
        let began = Instant::now();
        let mut gone = ranks.all.remove(victim);
        let others = ranks.ended();
        let seconds = began.elapsed().as_secs_f64();
        let _ = gone.kill();
        gone.wait().unwrap();
        if others.iter().all(|output| output.status.success()) {
            return None;
        }
        for output in &others {
            let said = text(output);
            let code = output.status.code();
            assert!(code == Some(75) || code == Some(3), "{code:?} {said}");
            let error = said.lines().find_map(|line| line.strip_prefix("error: "));
            let error = error.unwrap_or_else(|| panic!("no error in {said}"));
            let named = error.contains(&format!("rank {victim}"));
            assert!(named, "{victim} {signal} {moment:?}: {error}");
        }
        let limit = match (signal, moment) {
            // Ranks that have not come are waited for.
            (_, Moment::Start) => 13 + OF_A_DEATH,
            ("-KILL", _) => OF_A_DEATH,
            _ => OF_SILENCE,
        };
        assert!(
            seconds < limit as f64,
            "{victim} {signal} {moment:?}: {seconds:.1} s"
        );
        Some(seconds)
    }

    #[test]
    #[ignore = "minutes; run by cargo xtask faults"]
    fn of_every_rank_at_every_moment() {
        let place = place();
        let straight = straight(&place, "straight", &SEEING_IN_FLOWING);
        let run = place.path("struck");
        let (mut number, mut runs, mut most) = (0, 0, [0f64; 2]);
        for size in [2, 4] {
            for (victim, signal) in
                (0..size).flat_map(|victim| [(victim, "-KILL"), (victim, "-STOP")])
            {
                for moment in [Moment::Start, Moment::Step, Moment::Save, Moment::Test] {
                    // By a file or by a port, in turns.
                    let start = || {
                        let port = free_port();
                        Ranks::start(size, |_| {
                            let mut command = sif(&place, "struck");
                            if (number + size) % 2 == 0 {
                                command
                                    .envs([("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &port)]);
                            }
                            command
                        })
                    };
                    let mut times = 0;
                    let seconds = loop {
                        times += 1;
                        if let Some(seconds) = strike(start, &run, victim, signal, moment) {
                            break seconds;
                        }
                        assert!(times < 10, "{size} {victim} {signal} {moment:?}: too late");
                        fs::remove_dir_all(&run).unwrap();
                    };
                    number += 1;
                    eprintln!(
                        "fault {number}: {size} ranks, {signal} {victim} {moment:?}: {seconds:.1} s"
                    );
                    if !matches!(moment, Moment::Start) {
                        let most = &mut most[usize::from(signal == "-STOP")];
                        *most = most.max(seconds);
                    }
                }
                runs += 1;
                // On another number of ranks.
                goes_on(
                    &place,
                    "struck",
                    [1, 2, 4][runs % 3],
                    &SEEING_IN_FLOWING,
                    &straight,
                );
            }
        }
        let [death, silence] = most;
        eprintln!(
            "{number} of 48 faults; the others are gone at most {death:.1} s after a death, {silence:.1} s \
             after a stop"
        );
    }

    #[test]
    #[ignore = "minutes; run by cargo xtask faults"]
    fn twenty_kills_at_any_step() {
        let place = place();
        for (keys, kills) in [(&SEEING_IN_FLOWING[..], 10), (&ACTION_CLIP[..], 10)] {
            let whole = straight(&place, "straight", keys);
            let run = place.path("killed");
            for kill in 0..kills {
                // Of 1, 2 or 4 ranks, any one, a little after any step.
                let size = [2, 4, 1][kill % 3];
                let mut ranks = Ranks::start(size, |_| command(&place, "killed", keys));
                let victim = (7 * kill + 3) % size;
                let steps = lines(&run).max(2 * kill) + 1;
                wait_for(&mut ranks.all[victim], || lines(&run) >= steps);
                std::thread::sleep(Duration::from_millis((kill as u64 * 37) % 90));
                ranks.signal(victim, "-KILL");
                for (rank, output) in ranks.ended().iter().enumerate() {
                    assert!(
                        rank == victim || output.status.code() == Some(75),
                        "{}",
                        text(output)
                    );
                }
                let log = fs::read_to_string(run.join("seed-0/log.jsonl")).unwrap();
                // A line may be unfinished.
                let log = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
                assert!(whole.1.starts_with(log), "after kill {kill}");
                eprintln!(
                    "kill {kill}: rank {victim} of {size} after {} steps",
                    lines(&run)
                );
            }
            goes_on(&place, "killed", 2, keys, &whole);
            fs::remove_dir_all(place.path("straight")).unwrap();
        }
    }

    #[test]
    #[ignore = "minutes; run by cargo xtask faults"]
    fn of_a_stop_asked_for_on_one_rank() {
        let place = place();
        let straight = straight(&place, "straight", &SEEING_IN_FLOWING);
        for size in [2, 4] {
            for asked in 0..size {
                let run = place.path("asked");
                let mut ranks = Ranks::start(size, |_| sif(&place, "asked"));
                wait_for(&mut ranks.all[asked], || lines(&run) >= 3);
                ranks.signal(asked, "-TERM");
                for output in ranks.ended() {
                    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
                }
                assert!(lines(&run) < STEPS);
                let other = [1, 4, 2][asked % 3];
                goes_on(&place, "asked", other, &SEEING_IN_FLOWING, &straight);
            }
        }
    }

    #[test]
    #[ignore = "minutes; run by cargo xtask faults"]
    fn of_a_loss_that_is_not_finite() {
        not_finite(4);
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
        let straight = straight(&place, "straight", &SEEING_IN_FLOWING);
        for size in [2, 4] {
            let out = place.path("full");
            fs::create_dir(&out).unwrap();
            let undo = Undo(vec![format!("umount {}", out.display())]);
            let out = out.display();
            system(&format!("mount -t tmpfs -o size=1m tmpfs {out}"));
            let outputs = Ranks::start(size, |_| sif(&place, "full/run")).ended();
            for output in &outputs {
                let said = text(output);
                assert_eq!(output.status.code(), Some(3), "{said}");
                assert!(said.contains("No space left on device"), "{said}");
            }
            assert!(text(&outputs[1]).contains("error: rank 0 (host "));
            system(&format!("mount -o remount,size=100m tmpfs {out}"));
            goes_on(&place, "full/run", 6 - size, &SEEING_IN_FLOWING, &straight);
            drop(undo);
            fs::remove_dir(place.path("full")).unwrap();
        }
    }

    #[test]
    #[ignore = "minutes, as root; run by cargo xtask faults"]
    fn of_a_folder_that_is_another_on_one_machine() {
        let place = place();
        for folder in ["apart", "features"] {
            fs::create_dir_all(place.path(folder)).unwrap();
            // Rank 1 has a disk of its own there.
            let own = format!(
                "mount -t tmpfs tmpfs {} && exec \"$@\"",
                place.path(folder).display()
            );
            let said = refused(2, |rank| {
                let command = sif(&place, "apart");
                if rank == 0 {
                    return command;
                }
                let mut apart = Command::new("unshare");
                apart.args(["-m", "sh", "-c", &own, "sh"]);
                apart.arg(command.get_program()).args(command.get_args());
                apart.env("DIST_SILENCE_SECONDS", "3");
                apart
            });
            let words = format!("{folder} on rank 1 (host ");
            let all = said.iter().all(|error| error.contains(&words));
            assert!(all, "{said:?}");
            fs::remove_dir_all(place.path("apart")).unwrap();
        }
    }

    #[test]
    #[ignore = "minutes, as root; run by cargo xtask faults"]
    fn of_the_link_between_two_machines() {
        let place = place();
        let straight = straight(&place, "straight", &SEEING_IN_FLOWING);
        let _undo = Undo(vec![
            "ip netns del ranks-0".into(),
            "ip netns del ranks-1".into(),
        ]);
        system("ip netns add ranks-0");
        system("ip netns add ranks-1");
        system("ip link add ranks0 netns ranks-0 type veth peer name ranks1 netns ranks-1");
        for rank in 0..2 {
            let inside = format!("ip -n ranks-{rank}");
            let address = format!("10.77.0.{}/24", rank + 1);
            system(&format!("{inside} addr add {address} dev ranks{rank}"));
            system(&format!("{inside} link set ranks{rank} up"));
            system(&format!("{inside} link set lo up"));
        }
        let start = |out: &str, port: u16, silence: &str| -> Vec<Child> {
            let start = |rank: usize| {
                let own = sif(&place, out);
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", &format!("ranks-{rank}")]);
                inside.arg(own.get_program()).args(own.get_args());
                inside.envs([
                    ("DIST_SILENCE_SECONDS", silence),
                    ("MASTER_ADDR", "10.77.0.1"),
                ]);
                inside.envs([("RANK", rank.to_string()), ("WORLD_SIZE", "2".into())]);
                inside.env("MASTER_PORT", port.to_string());
                inside.stdout(Stdio::piped()).stderr(Stdio::piped());
                inside.spawn().unwrap()
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
            let mut all = start("cut", 29_700 + rank as u16, "3");
            wait_for(&mut all[0], || lines(&place.path("cut")) >= 3);
            system(&format!("{link} down"));
            let began = Instant::now();
            for (rank, output) in ended(all).iter().enumerate() {
                let said = text(output);
                assert_eq!(output.status.code(), Some(75), "{said}");
                let words = format!("error: lost rank {} (host ", 1 - rank);
                assert!(said.contains(&words), "{said}");
            }
            let seconds = began.elapsed().as_secs_f64();
            eprintln!("link of rank {rank} down: both gone after {seconds:.1} s");
            assert!(seconds < OF_SILENCE as f64);
            system(&format!("{link} up"));
            goes_on(&place, "cut", 4, &SEEING_IN_FLOWING, &straight);
        }
        // A slow link changes nothing but the time.
        for (number, slow) in [
            "tbf rate 1gbit burst 256kb latency 50ms",
            "netem delay 100ms",
        ]
        .iter()
        .enumerate()
        {
            let shape = |rank: usize| {
                let line = format!(
                    "ip netns exec ranks-{rank} tc qdisc replace dev ranks{rank} root {slow}"
                );
                let mut words = line.split_whitespace();
                let mut tc = Command::new(words.next().unwrap());
                tc.args(words).output().unwrap()
            };
            let shaped = [shape(0), shape(1)];
            if slow.starts_with("netem") && text(&shaped[0]).contains("qdisc kind is unknown") {
                eprintln!("{slow}: not run, this kernel has no netem");
                continue;
            }
            ends(shaped.into());
            let began = Instant::now();
            ends(ended(start("slow", 29_710 + number as u16, "30")));
            eprintln!("{slow}: {:.1} s", began.elapsed().as_secs_f64());
            assert!(result(&place.path("slow")) == straight, "{slow}");
            fs::remove_dir_all(place.path("slow")).unwrap();
        }
    }

    /// Kinetics-400 as it would be: 240,000 clips of 400 classes, features of 512 numbers a frame.
    const CLASSES: usize = 400;
    const EACH: usize = 600;

    /// The small CLIP with as wide a joint space as ViT-B/16's.
    fn wide_backbone(place: &Place) -> PathBuf {
        let folder = place.backbone();
        let edit = |name: &str, width: &dyn Fn(&mut serde_json::Value)| {
            let path = folder.join(name);
            let mut all: serde_json::Value =
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            width(&mut all);
            fs::write(path, all.to_string()).unwrap();
        };
        edit("config.json", &|all| {
            all["projection_dim"] = 512.into();
            all["text_config"]["projection_dim"] = 512.into();
            all["vision_config"]["projection_dim"] = 512.into();
        });
        let path = folder.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let repeated: Vec<_> = ["text_projection.weight", "visual_projection.weight"]
            .into_iter()
            .map(|name| (name, tensors.tensor(name).unwrap().data().repeat(8)))
            .collect();
        let mut views: std::collections::BTreeMap<String, _> =
            tensors.tensors().into_iter().collect();
        for (name, data) in &repeated {
            let old = &views[*name];
            let shape = vec![512, old.shape()[1]];
            let view = safetensors::tensor::TensorView::new(old.dtype(), shape, data);
            views.insert((*name).into(), view.unwrap());
        }
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        folder
    }

    /// Anonymous memory of a process, in GB: mapped files are the system's.
    fn anonymous(process: &Child) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.map_or(0.0, |kib| kib.parse::<f64>().unwrap() * 1024.0 / 1e9)
    }

    #[test]
    #[ignore = "minutes; run by cargo xtask faults"]
    fn kinetics_400_fits_in_memory() {
        let place = Place::new();
        let backbone = wide_backbone(&place);
        for class in 0..CLASSES {
            let folder = place.path("videos");
            let first = folder.join(format!("val/action {class:03}/00000.avi"));
            crate::support::draw(&first, class, 0);
            let train = folder.join(format!("train/action {class:03}"));
            fs::create_dir_all(&train).unwrap();
            for clip in 0..EACH {
                fs::hard_link(&first, train.join(format!("{clip:05}.avi"))).unwrap();
            }
        }
        let with = |arguments: &[&str]| {
            let mut command = trainer(arguments);
            command.arg("--root").arg(place.path("videos"));
            command.arg("--weights").arg(&backbone);
            set(&mut command, &SEEING_IN_FLOWING[..1]);
            let one_token = ["data.tokens=class", "model.sif.tokens=class"];
            set(&mut command, &one_token);
            set(
                &mut command,
                &[
                    "protocol.name=closed-set",
                    "protocol.seeds=[0]",
                    "threads=1",
                    "train.lanes=4",
                    "train.batch_size=8",
                ],
            );
            set(&mut command, &[place.cache()]);
            command
        };
        // One shard is computed, and stands for all others.
        let shards = CLASSES * EACH / 128;
        let mut extract = with(&["extract", "--quiet"]);
        extract.args(["--shard", &format!("0/{shards}")]);
        ends(vec![extract.output().unwrap()]);
        for entry in fs::read_dir(place.path("features")).unwrap().flatten() {
            let index = fs::read(entry.path().join("features.json")).unwrap();
            let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
            let part = |name: &str| index[name].to_string();
            let layout = serde_json::from_str(&part("layout")).unwrap();
            let fingerprint = serde_json::from_str(&part("fingerprint")).unwrap();
            let writer = FeatureWriter::open(&entry.path(), layout, fingerprint).unwrap();
            let layout = *writer.layout();
            if layout.clips < 10_000 {
                continue;
            }
            assert_eq!((layout.clips, layout.width), (CLASSES * EACH, 512));
            let numbers: Vec<f32> = (0..layout.clip_len()).map(|at| (at as f32).sin()).collect();
            for shard in 1..layout.shards() {
                let row = |position| Row {
                    position,
                    features: numbers.clone(),
                };
                let rows = ShardRows {
                    rows: layout.positions(shard).map(row).collect(),
                    ..ShardRows::default()
                };
                writer.write(shard, &rows).unwrap();
            }
        }
        let (run, began) = (place.path("run"), Instant::now());
        let mut ranks = Ranks::start(2, |_| {
            let mut command = with(&["train"]);
            command.arg("--out").arg(&run);
            command
        });
        let (mut start, mut most) = (None, [0f64; 2]);
        while lines(&run) < 50 && began.elapsed() < Duration::from_secs(1200) {
            if ranks.all[0].try_wait().unwrap().is_some() {
                break;
            }
            for (rank, most) in ranks.all.iter().zip(&mut most) {
                *most = most.max(anonymous(rank));
            }
            if start.is_none() && lines(&run) > 0 {
                start = Some(began.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let whole = began.elapsed().as_secs_f64();
        ranks.signal(0, "-INT");
        for output in ranks.ended() {
            assert_eq!(output.status.code(), Some(130), "{}", text(&output));
        }
        let start = start.unwrap();
        eprintln!(
            "{} clips, 2 ranks, this build: the first step ended after {start:.1} s, 50 steps after \
             {whole:.1} s; anonymous memory at most {:.2} and {:.2} GB",
            CLASSES * EACH,
            most[0],
            most[1]
        );
        assert!(most.iter().all(|most| *most < 1.5), "{most:?}");
    }
}
