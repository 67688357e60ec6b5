//! From official archives to kept features, through the binaries a user runs: `xtask
//! prepare-*`, `trainer check-videos`, `trainer extract` killed and resumed.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use data::{Manifest, SkipList};

use crate::support::{CLASSES, Place, draw, frames, run, text};

/// A folder with archives, a program that unpacks them, and what is made of both.
struct Bench(Place);

impl Bench {
    fn new() -> Self {
        let place = Place::new();
        let bin = place.path("bin");
        fs::create_dir(&bin).unwrap();
        // Reads what is a tar whatever its name. Real `.rar`s are xtask's own tests' matter.
        let program = bin.join("unrar");
        let script = "#!/bin/sh\ncase $1 in\n\
                      lb) exec tar -tf \"$4\" ;;\n\
                      x) exec tar -xf \"$6\" -C \"$7\" ;;\n\
                      esac\nexit 2\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.path("from")).unwrap();
        Self(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// `cargo xtask prepare-NAME --from` the archives put there, into `NAME`.
    fn prepare(&self, name: &str, more: &[&str]) -> Manifest {
        let mut command = Command::new(env!("CARGO"));
        command
            .current_dir(testkit::workspace_root())
            .args(["run", "--quiet", "--package", "xtask", "--profile", "xtask"])
            .args(["--", &format!("prepare-{name}"), "--from"])
            .arg(self.path("from"))
            .arg("--root")
            .arg(self.path(name))
            .args(more);
        // As a shell would start it, not as a part of this test's own build.
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&variable);
            }
        }
        let path = std::env::var_os("PATH").unwrap();
        let path = [self.path("bin")]
            .into_iter()
            .chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).unwrap());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let manifest = String::from_utf8(output.stdout).unwrap();
        Manifest::load(Path::new(manifest.trim())).unwrap()
    }

    /// `trainer NAME` on the prepared folder, with the small encoder and two frames a clip.
    fn trainer(&self, name: &str, root: &str, cache: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .args([name, "--quiet", "--root"])
            .arg(self.path(root))
            .arg("--weights")
            .arg(self.0.backbone())
            .stdin(Stdio::null());
        let cache = format!("data.cache={}", self.path(cache).display());
        for key in [
            "data.frames=2",
            "model.sif.motion.max_step=1",
            "threads=1",
            &cache,
        ] {
            command.args(["--set", key]);
        }
        command
    }

    /// Kept features, computed without a pause and, elsewhere, by runs that are killed
    /// (SIGKILL) once each of `kill_at` is there, until one ends. They are the same.
    fn extract_killed(&self, root: &str, keys: &[&str], kill_at: &[fn(&Files) -> bool]) {
        let command = |cache: &str| {
            let mut command = self.trainer("extract", root, cache);
            for key in keys {
                command.args(["--set", key]);
            }
            command
        };
        let straight = run(command("straight"));
        assert!(straight.status.success(), "{}", text(&straight));
        for reached in kill_at {
            let mut child = command("killed")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let began = Instant::now();
            while !reached(&files(&self.path("killed"))) {
                assert!(began.elapsed() < Duration::from_secs(300), "not reached");
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "it ended before it could be killed");
                std::thread::sleep(Duration::from_millis(5));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(shards(&files(&self.path("killed"))) < shards(&files(&self.path("straight"))));
        }
        let resumed = run(command("killed"));
        assert!(resumed.status.success(), "{}", text(&resumed));
        let (killed, straight) = (files(&self.path("killed")), files(&self.path("straight")));
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&killed), names(&straight));
        assert!(killed == straight, "the same bytes");
        assert!(shards(&straight) > 0);
    }
}

/// Every file below a folder that is no temporary one, by its relative path.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if path.is_dir() {
                folders.push(path);
            } else if !hidden && let Ok(bytes) = fs::read(&path) {
                found.insert(path.strip_prefix(folder).unwrap().into(), bytes);
            }
        }
    }
    found
}

fn shards(files: &Files) -> usize {
    let shard = |path: &&PathBuf| path.extension().is_some_and(|end| end == "safetensors");
    files.keys().filter(shard).count()
}

const EIGHT: [&str; 8] = [
    "Archery", "Biking", "Diving", "HighJump", "LongJump", "Lunges", "PushUps", "YoYo",
];

/// Everything below `folder` as a tar under `name`.
fn tar(folder: &Path, name: &str, to: &Path) {
    let output = Command::new("tar")
        .arg("-cf")
        .arg(to)
        .arg("-C")
        .arg(folder)
        .arg(format!("--transform=s,^\\.,{name},"))
        .arg(".")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn ucf_from_archives_to_a_probe_of_sixteen_shots() {
    let bench = Bench::new();
    // As in the official lists: 7 recordings for testing, 18 for training, and a class of
    // which this copy has no clip.
    let [mut index, mut train, mut test] = [(); 3].map(|()| String::new());
    for (class, name) in EIGHT.iter().chain(&["Rowing"]).enumerate() {
        let number = class + 1;
        writeln!(index, "{number} {name}").unwrap();
        for (recording, clip) in (1..=25).flat_map(|recording| [(recording, 1), (recording, 2)]) {
            let file = format!("{name}/v_{name}_g{recording:02}_c{clip:02}.avi");
            match (recording <= 7, clip) {
                (true, _) => writeln!(test, "{file}").unwrap(),
                (false, 1) => writeln!(train, "{file} {number}").unwrap(),
                _ => continue,
            }
            if class < EIGHT.len() {
                draw(
                    &bench.path("UCF-101").join(&file),
                    class,
                    2 * recording + clip,
                );
            }
        }
    }
    let videos = bench.path("UCF-101");
    tar(&videos, "UCF-101", &bench.path("from/UCF101.rar"));
    let zipped = bench.path("from/UCF101TrainTestSplits-RecognitionTask.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(zipped).unwrap());
    let mut put = |name: &str, list: &String| {
        let name = format!("ucfTrainTestlist/{name}.txt");
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(list.as_bytes()).unwrap();
    };
    put("classInd", &index);
    for split in 1..=3 {
        put(&format!("trainlist0{split}"), &train);
        put(&format!("testlist0{split}"), &test);
    }
    zip.finish().unwrap();
    let manifest = bench.prepare("ucf101", &["--allow-missing"]);
    assert_eq!((manifest.clips().len(), manifest.classes().len()), (256, 8));

    // All 144 training and 112 test clips of split 1, in two shards and one.
    let keys = ["protocol.shots=16"];
    let kill_at: [fn(&Files) -> bool; 3] = [
        |files| !files.is_empty(),
        |files| shards(files) >= 1,
        |files| shards(files) >= 2,
    ];
    bench.extract_killed("ucf101", &keys, &kill_at);

    // A run over a draw takes its 128 from there, computes nothing, and tests the 112.
    let before = files(&bench.path("straight"));
    let mut command = bench.trainer("train", "ucf101", "straight");
    for key in ["protocol.shots=16", "protocol.seeds=[0]", "model.row=probe"] {
        command.args(["--set", key]);
    }
    command.arg("--out").arg(bench.path("run"));
    let probe = run(command);
    assert!(probe.status.success(), "{}", text(&probe));
    assert!(before == files(&bench.path("straight")));
    let result = fs::read(bench.path("run/seed-0/result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(result["train_clips"], 128);
    assert_eq!(result["tests"][0]["accuracy"]["clips"], 112);

    // A folder of another data set is not taken for this one.
    let mut other = bench.trainer("extract", "ucf101", "other");
    other.args(["--dataset", "hmdb51"]);
    let refused = run(other);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused).contains("data.layout"), "{}", text(&refused));
}

#[test]
fn hmdb_from_archives_to_features() {
    let bench = Bench::new();
    let (classes, lists) = (bench.path("classes"), bench.path("lists"));
    fs::create_dir(&classes).unwrap();
    fs::create_dir(&lists).unwrap();
    for (class, name) in ["climb_stairs", "hit", "pick", "wave"].iter().enumerate() {
        let mut list = String::new();
        for clip in 0..16 {
            let file = format!("odd_(name)!_&#;+_{name}_u_{clip}.avi");
            draw(&bench.path(name).join(&file), class, clip);
            writeln!(list, "{file} {}", if clip < 2 { 1 } else { 2 }).unwrap();
        }
        for split in 1..=3 {
            fs::write(lists.join(format!("{name}_test_split{split}.txt")), &list).unwrap();
        }
        let archive = classes.join(format!("{name}.rar"));
        tar(&bench.path(name), name, &archive);
    }
    tar(&classes, "hmdb51", &bench.path("from/hmdb51_org.rar"));
    let packed = bench.path("from/test_train_splits.rar");
    tar(&lists, "testTrainMulti_7030_splits", &packed);
    let manifest = bench.prepare("hmdb51", &[]);
    let split = manifest.split("1").unwrap();
    assert_eq!((split.train.len(), split.test.len()), (8, 56));
    // Before the first shard is whole, and after.
    let kill_at: [fn(&Files) -> bool; 2] = [|files| !files.is_empty(), |files| shards(files) >= 1];
    bench.extract_killed("hmdb51", &["protocol.shots=1"], &kill_at);
}

#[test]
fn kinetics_from_ones_own_clips_to_features() {
    let bench = Bench::new();
    let mut lists = ["train", "val"].map(|part| {
        let mut list = fs::File::create(bench.path(&format!("from/{part}.csv"))).unwrap();
        writeln!(list, "label,youtube_id,time_start,time_end,split").unwrap();
        list
    });
    for (clip, label) in (0..40).flat_map(|clip| [(clip, "arm wrestling"), (clip, "yoga")]) {
        let (class, part) = (usize::from(label == "yoga"), usize::from(clip >= 2));
        let id = format!("-{class}cdefghi{clip:02}");
        draw(
            &bench.path(&format!("from/{id}_000003_000013.avi")),
            class,
            clip,
        );
        let name = ["train", "val"][part];
        writeln!(lists[part], "{label},{id},3,13,{name}").unwrap();
    }
    writeln!(lists[1], "yoga,lost,0,10,val").unwrap();
    let manifest = bench.prepare("kinetics400", &[]);
    assert_eq!((manifest.clips().len(), manifest.classes().len()), (80, 2));
    let kill_at: [fn(&Files) -> bool; 2] = [|files| !files.is_empty(), |files| shards(files) >= 1];
    bench.extract_killed("kinetics400", &["protocol.shots=1"], &kill_at);
}

#[test]
fn what_check_videos_lists_is_left_out() {
    let bench = Bench::new();
    let root = bench.path("own");
    let put = |class: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(root.join(class)).unwrap();
        fs::write(root.join(class).join(name), bytes).unwrap();
    };
    let long = |number: usize| {
        let path = bench.path("long.avi");
        let all: Vec<_> = (0..5).flat_map(|at| frames(0, number + at)).collect();
        video::write_clip(&path, &all, 25).unwrap();
        fs::read(path).unwrap()
    };
    let whole = long(0);
    for class in ["jab", "hook"] {
        put(class, "good.avi", &whole);
        put(class, "also_good.avi", &long(1));
    }
    put("jab", "empty.avi", b"");
    put("jab", "truncated.avi", &whole[..whole.len() / 3]);
    put("hook", "undecodable.avi", b"an error page, not a video");
    let short = &frames(0, 0)[..3];
    video::write_clip(&root.join("hook/short.avi"), short, 25).unwrap();

    // Listed, with one file that is gone by the time of the check.
    put("hook", "missing.avi", &whole);
    let found = data::formats::class_folders("own", &root, Default::default()).unwrap();
    let split = data::Split {
        name: "1".into(),
        train: (0..5).collect(),
        test: (5..9).collect(),
    };
    let manifest = found.manifest.with_split(split).unwrap();
    manifest.save(&root.join("manifest.json")).unwrap();
    fs::remove_file(root.join("hook/missing.avi")).unwrap();

    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .args(["check-videos", "--quiet", "--root"])
            .arg(&root);
        command.args(more).stdin(Stdio::null());
        run(command)
    };
    let expected = [
        ("hook/missing.avi", "missing"),
        ("hook/undecodable.avi", "undecodable"),
        ("jab/empty.avi", "empty"),
        ("jab/truncated.avi", "truncated"),
    ];
    let first = check(&[]);
    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    assert_eq!(first.status.code(), Some(1), "{}", text(&first));
    let counts = "9 videos: 5 good, 1 missing, 1 empty, 1 undecodable, 1 truncated; \
                  0 were checked before";
    assert!(said.starts_with(counts), "{said}");
    for (id, fault) in expected {
        assert!(said.contains(&format!("\n{id}: {fault}: ")), "{said}");
    }
    let list = SkipList::load(&root.join("skip.txt")).unwrap();
    let ids: Vec<_> = list.iter().map(|(id, _)| id).collect();
    assert_eq!(ids, expected.map(|(id, _)| id));
    let counted = Manifest::load(&root.join("manifest.json")).unwrap();
    let counted = |id: &str| counted.clips()[counted.position(id).unwrap()].frames;
    assert_eq!(counted("hook/good.avi"), counted("jab/good.avi"));
    assert!(counted("jab/good.avi") > counted("jab/truncated.avi"));
    assert_eq!(counted("hook/short.avi"), Some(3));
    assert_eq!(counted("jab/empty.avi"), None);
    let again = check(&[]);
    assert!(
        text(&again).contains("9 were checked before"),
        "{}",
        text(&again)
    );

    let short = "1 video shorter than the 8 frames sampled; frames repeat: 'hook/short.avi'";
    assert!(text(&again).contains(short), "{}", text(&again));

    // The loader meets the five good ones only.
    let mut command = bench.trainer("extract", "own", "features");
    command.args(["--set", "protocol.name=closed-set"]);
    let extracted = run(command);
    assert!(extracted.status.success(), "{}", text(&extracted));
    let said = text(&extracted);
    assert!(
        said.contains("4 clips on the skip list left out: "),
        "{said}"
    );
    let total: usize = said
        .lines()
        .filter_map(|line| line.split_once(" clips x 1 views")?.0.rsplit(' ').next())
        .map(|count| count.parse::<usize>().unwrap())
        .sum();
    assert_eq!(total, 5, "{said}");
    assert_eq!(said.matches("0 cannot be decoded").count(), 2, "{said}");
}

#[test]
fn published_draws_train_what_they_name() {
    let bench = Bench::new();
    bench.0.ucf(4);
    // Of all clips one is not here.
    let lost = "v_PushUps_g02_c01.avi";
    fs::remove_file(bench.path("ucf/videos/PushUps").join(lost)).unwrap();
    let list = |folder: &str, name: &str, clips: &[String]| {
        fs::create_dir_all(bench.path(folder)).unwrap();
        fs::write(bench.path(folder).join(name), clips.concat()).unwrap();
    };
    // Two recordings a class are drawn, and each class is tested on one.
    let clips = |classes: &[&str], recordings: [usize; 2]| -> Vec<String> {
        let label = |class| CLASSES.iter().position(|one| one == class).unwrap();
        let line = |class, at| format!("v_{class}_g{at:02}_c01.avi {}\n", label(class));
        let recordings = recordings[0]..=recordings[1];
        let lines = |class| recordings.clone().map(move |at| line(class, at));
        classes.iter().flat_map(lines).collect()
    };
    list("few", "train1_few_shot_2.txt", &clips(&CLASSES, [2, 3]));
    let (base, novel) = CLASSES.split_at(2);
    list("halves", "base_val.txt", &clips(base, [1, 1]));
    list("halves", "novel_val.txt", &clips(novel, [1, 1]));
    for seed in [1, 2] {
        let name = format!("fs_base_s{seed}_train.txt");
        list("halves", &name, &clips(base, [seed + 1, seed + 2]));
    }
    let train = |draws: &Path, out: &str, keys: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .args(["train", "--quiet", "--dataset", "ucf101", "--root"])
            .arg(bench.path("ucf/videos"))
            .arg("--lists")
            .arg(bench.path("ucf/lists"))
            .arg("--weights")
            .arg(bench.0.backbone())
            .arg("--out")
            .arg(bench.path(out))
            .stdin(Stdio::null());
        let draws = format!("protocol.draws={}", draws.display());
        let cache = format!("data.cache={}", bench.path("features").display());
        for key in [draws.as_str(), &cache, "data.frames=2", "model.row=clip"] {
            command.args(["--set", key]);
        }
        for key in keys {
            command.args(["--set", key]);
        }
        run(command)
    };
    let result = |out: &str, seed: u64| -> serde_json::Value {
        let path = bench.path(&format!("{out}/seed-{seed}/result.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let partial = "data.allow_missing=true";
    let few = bench.path("few");

    // Few-shot: the file named by split and shots.
    let keys = [partial, "protocol.shots=2", "protocol.seeds=[0]"];
    let output = train(&few, "run", &keys);
    assert!(output.status.success(), "{}", text(&output));
    let few_result = result("run", 0);
    assert_eq!(few_result["train_clips"], 7);
    assert_eq!(few_result["tests"][0]["accuracy"]["clips"], 4);
    let protocol = few_result["protocol"].as_str().unwrap();
    assert!(protocol.contains("2 shots of few"), "{protocol}");

    // Base to novel: seed n takes list n, the classes are those of the published halves.
    let halves = bench.path("halves");
    let keys = [
        partial,
        "protocol.name=base-to-novel",
        "protocol.shots=2",
        "protocol.seeds=[1,2]",
    ];
    let output = train(&halves, "both", &keys);
    assert!(output.status.success(), "{}", text(&output));
    let (first, second) = (result("both", 1), result("both", 2));
    let labels = |test: usize| first["tests"][test]["labels"].as_array().unwrap().len();
    assert_eq!((labels(0), labels(1)), (2, 2));
    assert_eq!(first["tests"][0]["labels"], second["tests"][0]["labels"]);
    let clips = |test: usize| first["tests"][test]["accuracy"]["clips"].as_u64().unwrap();
    assert_eq!((clips(0), clips(1)), (2, 2));

    // What does not fit is refused, each with its reason.
    let of_tests = bench.path("of_tests.txt");
    fs::write(&of_tests, "v_Archery_g01_c01.avi 0\n").unwrap();
    let absent = bench.path("absent.txt");
    fs::write(&absent, format!("{lost} 2\n")).unwrap();
    let tested = "in train and in test";
    for (draws, keys, expected) in [
        (
            few.clone(),
            vec![
                "protocol.seeds=[0]",
                "data.allow_missing=true",
                "protocol.shots=5",
            ],
            "train1_few_shot_5.txt",
        ),
        (
            halves.clone(),
            vec![partial, "protocol.name=base-to-novel", "protocol.seeds=[7]"],
            "fs_base_s7_train.txt",
        ),
        (
            few.join("train1_few_shot_2.txt"),
            vec![partial, "protocol.shots=1"],
            "protocol.shots",
        ),
        (
            few.clone(),
            vec![partial, "protocol.name=zero-shot"],
            "protocol.draws",
        ),
        (bench.path("nowhere"), vec![partial], "nowhere"),
        (of_tests, vec![partial], tested),
        (absent, vec![partial], "at least 1 that exists"),
    ] {
        let output = train(&draws, "refused", &keys);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(
            text(&output).contains(expected),
            "{expected}: {}",
            text(&output)
        );
    }
}

#[test]
fn features_kept_in_half_precision_move_no_logit_by_a_hundredth() {
    let bench = Bench::new();
    for (class, label) in ["punch", "push ups", "lunges"].iter().enumerate() {
        for (number, part) in ["train", "val", "val"].iter().enumerate() {
            let clip = format!("own/{part}/{label}/{number}.avi");
            draw(&bench.path(&clip), class, number);
        }
    }
    let probabilities = |precision: &str| -> Vec<f32> {
        let mut command = bench.trainer("train", "own", "features");
        let precision = format!("data.cache_precision={precision}");
        for key in [
            &precision,
            "backbone.precision=fp32",
            "model.row=clip",
            "protocol.name=zero-shot",
            "protocol.seeds=[0]",
        ] {
            command.args(["--set", key]);
        }
        let out = bench.path(&precision);
        command.arg("--out").arg(&out);
        let output = run(command);
        assert!(output.status.success(), "{}", text(&output));
        let bytes = fs::read(out.join("seed-0/scores-test.safetensors")).unwrap();
        let scores = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let scores = scores.tensor("probabilities").unwrap();
        assert_eq!(scores.shape(), [6, 3]);
        let values = scores.data().as_chunks().0.iter();
        values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let (half, single) = (probabilities("f16"), probabilities("f32"));
    assert_ne!(half, single, "the precision is what differs");
    // Logits up to a number for each clip, which cancels between two classes.
    let ratios = |all: &[f32]| -> Vec<f32> {
        let clips = all.chunks(3);
        clips
            .flat_map(|p| [p[0].ln() - p[1].ln(), p[0].ln() - p[2].ln()])
            .collect()
    };
    for (half, single) in ratios(&half).iter().zip(ratios(&single)) {
        assert!((half - single).abs() < 1e-2, "{half} {single}");
    }
}
