//! What the tests of the binary share: how it is started, what it leaves behind, and data sets
//! drawn for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use video::Frame;
use video::write_clip;

/// `trainer`, without a terminal.
pub(crate) fn trainer(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Adds `--set` for each key.
pub(crate) fn set(command: &mut Command, keys: &[impl AsRef<str>]) {
    for key in keys {
        command.args(["--set", key.as_ref()]);
    }
}

pub(crate) fn run(mut command: Command) -> Output {
    command.output().unwrap()
}

/// Runs what has to succeed; its stdout.
pub(crate) fn succeed(command: Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs what has to fail with exit code 3, saying each of `words`.
pub(crate) fn refused(command: Command, words: &[&str]) {
    let output = run(command);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} is missing from: {said}");
    }
    assert!(
        said.contains("error: ") && !said.contains("panicked"),
        "{said}"
    );
}

/// stdout and stderr.
pub(crate) fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

pub(crate) fn json(path: &Path) -> serde_json::Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// The newest checkpoint of the run's seed 0.
pub(crate) fn checkpoint(run: &Path) -> PathBuf {
    let folder = run.join("seed-0/checkpoints");
    let entries = fs::read_dir(&folder).unwrap().flatten();
    entries.map(|entry| entry.path()).max().unwrap()
}

/// The manifest of the last checkpoint (lengths and hashes of tensors, optimizer state and
/// description) and the log.
pub(crate) fn last(run: &Path) -> (String, String) {
    (
        fs::read_to_string(checkpoint(run).join("manifest.json")).unwrap(),
        fs::read_to_string(run.join("seed-0/log.jsonl")).unwrap(),
    )
}

/// Waits until `there` says so, while the run goes on.
pub(crate) fn wait_for(child: &mut Child, there: impl Fn() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(120), "not reached");
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Eight frames of a square on a ground: the class decides both colours, the number where it
/// starts.
pub(crate) fn frames(class: usize, number: usize) -> Vec<Frame> {
    const SIDE: usize = 32;
    let colour = |at: usize| {
        let shades = [40u8, 120, 220];
        [shades[at % 3], shades[at / 3 % 3], shades[at / 9 % 3]]
    };
    let (ground, square) = (colour(5 * class + 1), colour(7 * class + 11));
    (0..8)
        .map(|index| {
            let left = (3 * number + 2 * index) % (SIDE - 8);
            let inside =
                |x: usize, y: usize| (left..left + 8).contains(&x) && (12..20).contains(&y);
            let pixels = (0..SIDE * SIDE).flat_map(|at| match inside(at % SIDE, at / SIDE) {
                true => square,
                false => ground,
            });
            Frame {
                index,
                time: index as f64 / 10.0,
                width: SIDE,
                height: SIDE,
                rgb: pixels.collect(),
            }
        })
        .collect()
}

/// Writes the clip of a class and a number.
pub(crate) fn draw(path: &Path, class: usize, number: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_clip(path, &frames(class, number), 10).unwrap();
}

/// What a word is cut into.
fn pieces(tokenizer: &serde_json::Value, word: &str) -> Vec<String> {
    let tokenizer = tokenizers::Tokenizer::from_bytes(tokenizer.to_string()).unwrap();
    let encoded = tokenizer.encode(word, false).unwrap();
    encoded.get_tokens().to_vec()
}

pub(crate) const CLASSES: [&str; 4] = ["Archery", "HighJump", "PushUps", "YoYo"];

/// A folder of drawn data sets, of runs and of kept features.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The small CLIP that is committed with the demo, whose vocabulary here has the paper's
    /// words, too, each as one token.
    pub(crate) fn backbone(&self) -> PathBuf {
        let (from, to) = (
            testkit::workspace_root().join("datasets/demo/backbone"),
            self.path("backbone"),
        );
        if to.exists() {
            return to;
        }
        fs::create_dir(&to).unwrap();
        let preprocessor = "preprocessor_config.json";
        fs::copy(from.join(preprocessor), to.join(preprocessor)).unwrap();
        let mut words = json(&from.join("tokenizer.json"));
        let mut merged: Vec<String> = Vec::new();
        for word in ["a", "the", "common", "popular", "human", "action", "of"] {
            while let [left, right, ..] = &pieces(&words, word)[..] {
                let whole = format!("{left}{right}");
                let merges = words["model"]["merges"].as_array_mut().unwrap();
                merges.push(serde_json::json!([left, right]));
                merged.push(whole.clone());
                // The marks of start and end stay the last two.
                let (start, end) = ("<|startoftext|>", "<|endoftext|>");
                let vocabulary = words["model"]["vocab"].as_object_mut().unwrap();
                let last = vocabulary[end].as_u64().unwrap();
                vocabulary.insert(whole, (last - 1).into());
                vocabulary.insert(start.into(), last.into());
                vocabulary.insert(end.into(), (last + 1).into());
                words["added_tokens"][0]["id"] = last.into();
                words["added_tokens"][1]["id"] = (last + 1).into();
                words["post_processor"]["cls"][1] = last.into();
                words["post_processor"]["sep"][1] = (last + 1).into();
            }
        }
        fs::write(to.join("tokenizer.json"), words.to_string()).unwrap();
        let mut config = json(&from.join("config.json"));
        let text = &mut config["text_config"];
        for key in ["vocab_size", "bos_token_id", "eos_token_id"] {
            text[key] = (text[key].as_u64().unwrap() + merged.len() as u64).into();
        }
        fs::write(to.join("config.json"), config.to_string()).unwrap();
        let bytes = fs::read(from.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let table = "text_model.embeddings.token_embedding.weight";
        let known = tensors.tensor(table).unwrap();
        let [rows, width] = known.shape() else {
            panic!("a table has two sides");
        };
        // New words mean what the first bytes mean.
        let (old, marks) = known.data().split_at((rows - 2) * width * 2);
        let new = &old[..merged.len() * width * 2];
        let wider = [old, new, marks].concat();
        let shape = vec![rows + merged.len(), *width];
        let mut views: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
        views.insert(
            table.into(),
            TensorView::new(known.dtype(), shape, &wider).unwrap(),
        );
        let bytes = safetensors::serialize(views, None).unwrap();
        fs::write(to.join("model.safetensors"), bytes).unwrap();
        to
    }

    /// Class folders of so many clips each.
    pub(crate) fn folder(&self, name: &str, sizes: &[usize]) -> PathBuf {
        for (class, (label, size)) in CLASSES.iter().zip(sizes).enumerate() {
            for number in 0..*size {
                let clip = format!("{name}/{label}/{number:02}.avi");
                draw(&self.path(&clip), class, number);
            }
        }
        self.path(name)
    }

    /// UCF-101's layout: `train` training clips and one test clip a class in each of three
    /// splits. A test clip's recording is another's training clip, as it is there.
    pub(crate) fn ucf(&self, train: usize) {
        let mut lists: BTreeMap<String, String> = BTreeMap::new();
        for (class, name) in CLASSES.iter().enumerate() {
            let number = class + 1;
            writeln!(
                lists.entry("classInd".into()).or_default(),
                "{number} {name}"
            )
            .unwrap();
            for clip in 0..train + 1 {
                let file = format!("{name}/v_{name}_g{:02}_c01.avi", clip + 1);
                draw(&self.path("ucf/videos").join(&file), class, clip);
                for split in 1..=3 {
                    let (list, line) = match clip + 1 == split {
                        true => (format!("testlist0{split}"), file.clone()),
                        false => (format!("trainlist0{split}"), format!("{file} {number}")),
                    };
                    writeln!(lists.entry(list).or_default(), "{line}").unwrap();
                }
            }
        }
        self.write_lists("ucf/lists", lists, "txt");
    }

    /// HMDB-51's layout, in the same way.
    pub(crate) fn hmdb(&self, train: usize) {
        let mut lists: BTreeMap<String, String> = BTreeMap::new();
        for (class, name) in ["archery", "high_jump", "pushup", "ride_bike"]
            .iter()
            .enumerate()
        {
            for clip in 0..train + 1 {
                let file = format!("take_{clip}_of_{name}.avi");
                draw(
                    &self.path("hmdb/videos").join(name).join(&file),
                    class,
                    clip,
                );
                for split in 1..=3 {
                    let id = if clip + 1 == split { 2 } else { 1 };
                    let list = format!("{name}_test_split{split}");
                    writeln!(lists.entry(list).or_default(), "{file} {id}").unwrap();
                }
            }
        }
        self.write_lists("hmdb/lists", lists, "txt");
    }

    /// Kinetics-400's layout: one split, lists as CSV.
    pub(crate) fn kinetics(&self, train: usize) {
        let mut lists: BTreeMap<String, String> = BTreeMap::new();
        for part in ["train", "val"] {
            let head = "label,youtube_id,time_start,time_end,split\n".to_owned();
            lists.insert(part.into(), head);
        }
        for (class, name) in ["archery", "high jump", "push up", "yo yo"]
            .iter()
            .enumerate()
        {
            for clip in 0..train + 1 {
                let part = if clip == 0 { "val" } else { "train" };
                let id = format!("c{class:04}_{clip:04}");
                let file = format!("k400/videos/{part}/{name}/{id}_000000_000010.avi");
                draw(&self.path(&file), class, clip);
                let list = lists.get_mut(part).unwrap();
                writeln!(list, "{name},{id},0,10,{part}").unwrap();
            }
        }
        self.write_lists("k400/lists", lists, "csv");
    }

    fn write_lists(&self, folder: &str, lists: BTreeMap<String, String>, ending: &str) {
        fs::create_dir_all(self.path(folder)).unwrap();
        for (name, lines) in lists {
            fs::write(self.path(&format!("{folder}/{name}.{ending}")), lines).unwrap();
        }
    }

    /// `trainer NAME` on a drawn data set (`ucf`, `hmdb` or `k400`), with the demo's backbone,
    /// few frames and two steps a training.
    pub(crate) fn command(&self, arguments: &[&str], data: &str) -> Command {
        let mut command = self.command_with_frames_of_its_own(arguments, data);
        set(&mut command, &FEW_FRAMES);
        command
    }

    /// The same with as many frames as the configuration says.
    pub(crate) fn command_with_frames_of_its_own(&self, arguments: &[&str], data: &str) -> Command {
        self.command_on(arguments, data, &self.backbone())
    }

    /// The same on another backbone.
    pub(crate) fn command_on(&self, arguments: &[&str], data: &str, backbone: &Path) -> Command {
        let mut command = trainer(arguments);
        let kind = match data {
            "ucf" => "ucf101",
            "hmdb" => "hmdb51",
            _ => "kinetics400",
        };
        command.args(["--quiet", "--dataset", kind, "--root"]);
        command.arg(self.path(data).join("videos"));
        command.arg("--lists").arg(self.path(data).join("lists"));
        command.arg("--weights").arg(backbone);
        set(&mut command, &QUICK);
        set(&mut command, &[self.cache()]);
        command
    }

    /// The key of the folder of kept features.
    pub(crate) fn cache(&self) -> String {
        format!("data.cache={}", self.path("features").display())
    }
}

/// Keys of a training that takes a moment.
pub(crate) const QUICK: [&str; 5] = [
    "model.sif.motion.ffn_dim=32",
    "threads=1",
    "train.epochs=1",
    "train.min_steps=2",
    "train.batch_size=4",
];

/// Keys of short clips.
pub(crate) const FEW_FRAMES: [&str; 2] = ["data.frames=4", "model.sif.motion.max_step=2"];
