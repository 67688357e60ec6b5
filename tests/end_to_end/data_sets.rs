//! From official archives to kept features, through the binaries a user runs: `xtask
//! prepare-*`, `trainer check-videos`, `trainer extract` killed and resumed.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use data::{Manifest, SkipList};

use crate::support::{run, text};

/// A folder with archives, a program that unpacks them, and what is made of both.
struct Bench {
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl Bench {
    fn new(test: &str) -> Option<Self> {
        let data = testkit::shared(test)?.join("data");
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        // Reads what is a tar whatever its name. Real `.rar`s are xtask's own tests' matter.
        let program = bin.join("unrar");
        let script = "#!/bin/sh\ncase $1 in\n\
                      lb) exec tar -tf \"$4\" ;;\n\
                      x) exec tar -xf \"$6\" -C \"$7\" ;;\n\
                      esac\nexit 2\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("from")).unwrap();
        Some(Self { folder, data })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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
            .arg(self.data.join("weights/deit-tiny-dual"))
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
    let Some(bench) = Bench::new("UCF-101 from archives to features") else {
        return;
    };
    tar(
        &bench.data.join("ucf8/UCF-101"),
        "UCF-101",
        &bench.path("from/UCF101.rar"),
    );
    let lists = fs::read_dir(bench.data.join("lists/ucfTrainTestlist")).unwrap();
    let zipped = bench.path("from/UCF101TrainTestSplits-RecognitionTask.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(zipped).unwrap());
    for list in lists {
        let list = list.unwrap();
        let name = format!("ucfTrainTestlist/{}", list.file_name().display());
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(&fs::read(list.path()).unwrap()).unwrap();
    }
    zip.finish().unwrap();
    let manifest = bench.prepare("ucf101", &["--allow-missing"]);
    assert_eq!((manifest.clips().len(), manifest.classes().len()), (256, 8));

    // All 144 training and 112 test clips of split 1, in two shards and one.
    let keys = ["protocol.shots=16"];
    let kill_at: [fn(&Files) -> bool; 3] = [
        |files| !files.is_empty(),
        |files| shards(files) == 1,
        |files| shards(files) == 2,
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
    let Some(bench) = Bench::new("HMDB-51 from archives to features") else {
        return;
    };
    fs::create_dir(bench.path("classes")).unwrap();
    for class in fs::read_dir(bench.data.join("hmdb-mini")).unwrap() {
        let class = class.unwrap();
        let name = class.file_name().into_string().unwrap();
        let archive = bench.path(&format!("classes/{name}.rar"));
        tar(&class.path(), &name, &archive);
    }
    tar(
        &bench.path("classes"),
        "hmdb51",
        &bench.path("from/hmdb51_org.rar"),
    );
    tar(
        &bench.data.join("lists/testTrainMulti_7030_splits"),
        "testTrainMulti_7030_splits",
        &bench.path("from/test_train_splits.rar"),
    );
    let manifest = bench.prepare("hmdb51", &["--allow-missing"]);
    let split = manifest.split("1").unwrap();
    assert_eq!((split.train.len(), split.test.len()), (21, 21));
    // Before the first shard is whole, and after.
    let kill_at: [fn(&Files) -> bool; 2] = [|files| !files.is_empty(), |files| shards(files) == 1];
    bench.extract_killed("hmdb51", &["protocol.shots=1"], &kill_at);
}

#[test]
fn kinetics_from_ones_own_clips_to_features() {
    let Some(bench) = Bench::new("Kinetics from clips to features") else {
        return;
    };
    let mut lists = ["train", "val"].map(|part| {
        let mut list = fs::File::create(bench.path(&format!("from/{part}.csv"))).unwrap();
        writeln!(list, "label,youtube_id,time_start,time_end,split").unwrap();
        list
    });
    for (clip, id, label, part) in [
        ("arm_wrestling.mp4", "abcdefghij0", "arm wrestling", 0),
        ("test.mp4", "abc_efghij1", "arm wrestling", 1),
        (
            "flipping_a_pancake.mkv",
            "abcdefghij2",
            "flipping pancake",
            0,
        ),
        ("example.avi", "-bcdefghij3", "flipping pancake", 1),
    ] {
        let extension = clip.rsplit('.').next().unwrap();
        let name = format!("from/{id}_000003_000013.{extension}");
        fs::copy(bench.data.join("clips").join(clip), bench.path(&name)).unwrap();
        let name = ["train", "val"][part];
        writeln!(lists[part], "{label},{id},3,13,{name}").unwrap();
    }
    writeln!(lists[1], "flipping pancake,lost,0,10,val").unwrap();
    let manifest = bench.prepare("kinetics400", &[]);
    assert_eq!((manifest.clips().len(), manifest.classes().len()), (4, 2));
    let kill_at: [fn(&Files) -> bool; 2] = [|files| !files.is_empty(), |files| shards(files) == 1];
    bench.extract_killed("kinetics400", &["protocol.shots=1"], &kill_at);
}

#[test]
fn what_check_videos_lists_is_left_out() {
    let Some(bench) = Bench::new("check-videos on bad files") else {
        return;
    };
    let root = bench.path("own");
    let punch = bench.data.join("ucf8/UCF-101/Punch");
    let mut clips: Vec<_> = fs::read_dir(&punch)
        .unwrap()
        .map(|clip| clip.unwrap().path())
        .collect();
    clips.sort();
    let put = |class: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(root.join(class)).unwrap();
        fs::write(root.join(class).join(name), bytes).unwrap();
    };
    let whole = fs::read(&clips[0]).unwrap();
    for class in ["jab", "hook"] {
        put(class, "good.avi", &whole);
        put(class, "also_good.avi", &fs::read(&clips[1]).unwrap());
    }
    put("jab", "empty.avi", b"");
    put("jab", "truncated.avi", &whole[..whole.len() / 3]);
    put("hook", "undecodable.avi", b"an error page, not a video");
    let frame = |index| video::Frame {
        index,
        time: 0.0,
        width: 32,
        height: 32,
        rgb: vec![90; 32 * 32 * 3],
    };
    let frames: Vec<_> = (0..3).map(frame).collect();
    video::write_clip(&root.join("hook/short.avi"), &frames, 25).unwrap();

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
        ("hook/short.avi", "short"),
        ("hook/undecodable.avi", "undecodable"),
        ("jab/empty.avi", "empty"),
        ("jab/truncated.avi", "truncated"),
    ];
    let first = check(&[]);
    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    assert_eq!(first.status.code(), Some(1), "{}", text(&first));
    let counts = "9 videos: 4 good, 1 missing, 1 empty, 1 undecodable, 1 truncated, 1 short; \
                  0 were checked before";
    assert!(said.starts_with(counts), "{said}");
    for (id, fault) in expected {
        assert!(said.contains(&format!("\n{id}: {fault}: ")), "{said}");
    }
    let list = SkipList::load(&root.join("skip.txt")).unwrap();
    let ids: Vec<_> = list.iter().map(|(id, _)| id).collect();
    assert_eq!(ids, expected.map(|(id, _)| id));
    let counted = Manifest::load(&root.join("manifest.json")).unwrap();
    let frames = |id: &str| counted.clips()[counted.position(id).unwrap()].frames;
    assert_eq!(frames("hook/good.avi"), frames("jab/good.avi"));
    assert!(frames("jab/good.avi") > frames("jab/truncated.avi"));
    assert_eq!(frames("hook/short.avi"), Some(3));
    assert_eq!(frames("jab/empty.avi"), None);
    let again = check(&[]);
    assert!(
        text(&again).contains("9 were checked before"),
        "{}",
        text(&again)
    );

    // The loader meets the four good ones only.
    let mut command = bench.trainer("extract", "own", "features");
    command.args(["--set", "protocol.name=closed-set"]);
    let extracted = run(command);
    assert!(extracted.status.success(), "{}", text(&extracted));
    let said = text(&extracted);
    assert!(said.contains("5 clips are on the skip list"), "{said}");
    let total: usize = said
        .lines()
        .filter_map(|line| line.split_once(" clips x 1 views")?.0.rsplit(' ').next())
        .map(|count| count.parse::<usize>().unwrap())
        .sum();
    assert_eq!(total, 4, "{said}");
    assert_eq!(said.matches("0 cannot be decoded").count(), 2, "{said}");
}

#[test]
fn published_draws_train_what_they_name() {
    let Some(bench) = Bench::new("published draws") else {
        return;
    };
    let published = bench.data.join("lists");
    let train = |draws: &Path, out: &str, keys: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .args(["train", "--quiet", "--dataset", "ucf101", "--root"])
            .arg(bench.data.join("ucf8/UCF-101"))
            .arg("--lists")
            .arg(published.join("ucfTrainTestlist"))
            .arg("--weights")
            .arg(bench.data.join("weights/deit-tiny-dual"))
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
    let few = published.join("few-shot/ucf101");

    // Few-shot: the file named by split and shots. One in sixteen of its clips is here.
    let keys = [partial, "protocol.shots=16", "protocol.seeds=[0]"];
    let output = train(&few, "few", &keys);
    assert!(output.status.success(), "{}", text(&output));
    let named = fs::read_to_string(few.join("train1_few_shot_16.txt")).unwrap();
    let here = |line: &&str| {
        let name = line.split(' ').next().unwrap();
        let class = name.split('_').nth(1).unwrap();
        bench
            .data
            .join("ucf8/UCF-101")
            .join(class)
            .join(name)
            .is_file()
    };
    let here = named.lines().filter(here).count();
    let few_result = result("few", 0);
    assert!(here > 8);
    assert_eq!(few_result["train_clips"], here);
    assert_eq!(few_result["tests"][0]["accuracy"]["clips"], 112);
    let protocol = few_result["protocol"].as_str().unwrap();
    assert!(protocol.contains("16 shots of ucf101"), "{protocol}");

    // Base to novel: seed n takes list n, the classes are those of the published halves.
    let halves = published.join("base-to-novel/ucf_splits");
    let keys = [
        partial,
        "protocol.name=base-to-novel",
        "protocol.seeds=[1,2]",
    ];
    let output = train(&halves, "halves", &keys);
    assert!(output.status.success(), "{}", text(&output));
    let (first, second) = (result("halves", 1), result("halves", 2));
    let labels = |test: usize| first["tests"][test]["labels"].as_array().unwrap().len();
    assert_eq!(labels(0) + labels(1), 8);
    assert_eq!(first["tests"][0]["labels"], second["tests"][0]["labels"]);
    let clips = |test: usize| first["tests"][test]["accuracy"]["clips"].as_u64().unwrap();
    assert_eq!(clips(0) + clips(1), 112);

    // What does not fit is refused, each with its reason.
    let of_tests = bench.path("of_tests.txt");
    fs::write(&of_tests, "v_Punch_g01_c03.avi 0\n").unwrap();
    let absent = bench.path("absent.txt");
    fs::write(&absent, "v_Archery_g08_c01.avi 2\n").unwrap();
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
            few.join("train1_few_shot_16.txt"),
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
    let Some(bench) = Bench::new("features in half precision") else {
        return;
    };
    for (class, label) in [
        ("Punch", "punch"),
        ("PushUps", "push ups"),
        ("Lunges", "lunges"),
    ] {
        let mut clips: Vec<_> = fs::read_dir(bench.data.join("ucf8/UCF-101").join(class))
            .unwrap()
            .map(|clip| clip.unwrap().path())
            .collect();
        clips.sort();
        for (clip, part) in clips.iter().zip(["train", "val", "val"]) {
            let folder = bench.path("own").join(part).join(label);
            fs::create_dir_all(&folder).unwrap();
            fs::copy(clip, folder.join(clip.file_name().unwrap())).unwrap();
        }
    }
    let probabilities = |precision: &str| -> Vec<f32> {
        let mut command = bench.trainer("train", "own", "features");
        let precision = format!("data.cache_precision={precision}");
        for key in [
            &precision,
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
