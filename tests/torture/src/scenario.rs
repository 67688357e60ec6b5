//! Commands with their inputs and the result that they have when they are left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use testkit::hub::{self, HubFile};
use testkit::server::{Server, content};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::material::{self, ACTION_CLIP, SEEING_IN_FLOWING, TWO_KEPT};
use crate::trace::{self, Answer, Op, Traced};
use crate::{Context, Verdict};

/// The longest that a command may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A command, started in a folder of its own.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The files that it finds there.
    before: Option<PathBuf>,
    command: Box<dyn Fn(&Path) -> Command + Sync>,
    /// Its folder after it ran alone.
    pub(crate) reference: Outcome,
    /// All that it asks of the file system below its folder, in order.
    pub(crate) ops: Vec<Op>,
    /// How long it takes, traced.
    pub(crate) time: Duration,
    /// Whether its standard output is a result.
    prints: bool,
}

/// Every file below a folder, and its content; the times of a result left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    files: BTreeMap<PathBuf, String>,
    printed: String,
}

impl Outcome {
    /// What is in `folder`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn of(folder: &Path, printed: &str) -> Result<Self> {
        let mut files = BTreeMap::new();
        for file in material::files(folder)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            // Their names and contents have times in them.
            if name.starts_with("events.out.tfevents") || name.ends_with(".lock") {
                continue;
            }
            let mut bytes = fs::read(folder.join(&file))?;
            if name == "result.json" {
                let mut result: Value = serde_json::from_slice(&bytes)?;
                let fields = result.as_object_mut();
                let fields = fields.ok_or_else(|| anyhow::anyhow!("{name} is not an object"))?;
                // A resumed run does not know what it cost.
                fields.retain(|key, _| !["seconds", "cost", "sha256"].contains(&key.as_str()));
                bytes = serde_json::to_vec(&result)?;
            }
            files.insert(file, disk::sha256(bytes));
        }
        let printed = printed.to_owned();
        Ok(Self { files, printed })
    }

    /// The first difference from `self`, the expected one.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let names = self.files.keys().chain(other.files.keys());
        for name in names {
            let place = name.display();
            match (self.files.get(name), other.files.get(name)) {
                (Some(_), None) => return Some(format!("{place} is missing")),
                (None, Some(_)) => return Some(format!("{place} was left over")),
                (one, two) if one != two => return Some(format!("{place} differs")),
                _ => {}
            }
        }
        let (expected, got) = (&self.printed, &other.printed);
        (expected != got).then(|| format!("it printed {got:?}, expected {expected:?}"))
    }
}

impl Scenario {
    fn new(
        context: &Context,
        name: &'static str,
        before: Option<&Path>,
        prints: bool,
        command: impl Fn(&Path) -> Command + Sync + 'static,
    ) -> Result<Self> {
        let mut scenario = Self {
            name,
            before: before.map(Path::to_path_buf),
            command: Box::new(command),
            reference: Outcome {
                files: BTreeMap::new(),
                printed: String::new(),
            },
            ops: Vec::new(),
            time: Duration::ZERO,
            prints,
        };
        let mut ops = Vec::new();
        let folder = context.folder.join(format!("reference-{name}"));
        scenario.start(&folder)?;
        let began = std::time::Instant::now();
        let ended = scenario.run(&folder, &folder, &mut |op| {
            ops.push(op.clone());
            Answer::Go
        })?;
        scenario.time = began.elapsed();
        ensure!(ended.code == 0, "{name} fails: {}", ended.stderr);
        scenario.reference = scenario.outcome(&folder, &ended)?;
        scenario.ops = ops;
        Ok(scenario)
    }

    /// Puts what the command finds into `folder`, which is made.
    ///
    /// # Errors
    /// It cannot be copied.
    pub(crate) fn start(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        match &self.before {
            Some(before) => material::copy_all(before, folder),
            None => Ok(()),
        }
    }

    /// Runs it there to its end; `watch` sees the operations below `within`.
    ///
    /// # Errors
    /// It cannot be traced.
    pub(crate) fn run(
        &self,
        folder: &Path,
        within: &Path,
        watch: &mut dyn FnMut(&Op) -> Answer,
    ) -> Result<Traced> {
        Ok(trace::run(&mut self.command(folder), within, LIMIT, watch)?)
    }

    /// The command.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = (self.command)(folder);
        command.current_dir(folder);
        command
    }

    /// What it left in `folder`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn outcome(&self, folder: &Path, ended: &Traced) -> Result<Outcome> {
        Outcome::of(folder, if self.prints { &ended.stdout } else { "" })
    }

    /// What it prints when it is left alone.
    pub(crate) fn printed(&self) -> &String {
        &self.reference.printed
    }

    /// Whether all that it writes is there.
    pub(crate) fn is_done(&self, folder: &Path) -> bool {
        let outcome = Outcome::of(folder, &self.reference.printed);
        outcome.is_ok_and(|outcome| outcome == self.reference)
    }

    /// Runs it again, undisturbed, to the result that it has when left alone.
    ///
    /// # Errors
    /// It fails, or its result is another one.
    pub(crate) fn goes_on(&self, folder: &Path) -> Result<(), String> {
        let ended = self.run(folder, folder, &mut |_| Answer::Go);
        let ended = ended.map_err(|error| error.to_string())?;
        if ended.code != 0 {
            let last = ended.stderr.trim();
            return Err(format!(
                "{} does not go on: status {}: {last}",
                self.name, ended.code
            ));
        }
        let outcome = self.outcome(folder, &ended).map_err(|e| e.to_string())?;
        match self.reference.difference(&outcome) {
            Some(words) => Err(format!("{} went on to another result: {words}", self.name)),
            None => Ok(()),
        }
    }
}

/// What all scenarios read.
#[derive(Clone)]
pub(crate) struct Inputs {
    videos: PathBuf,
    backbone: PathBuf,
}

impl Inputs {
    /// Makes them in the block's folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn new(context: &Context) -> Result<Self> {
        let videos = context.folder.join("videos");
        material::videos(&videos, 3, 1)?;
        let backbone = context.folder.join("backbone");
        material::copy_all(&material::backbone(context), &backbone)?;
        Ok(Self { videos, backbone })
    }
}

/// The commands that write what has to survive: both systems, extraction, few clips, a data set, a
/// download.
///
/// # Errors
/// One fails when it is left alone.
pub(crate) fn writers(context: &Context, inputs: &Inputs) -> Result<Vec<Scenario>> {
    let extract = {
        let (trainer, inputs) = (context.trainer.clone(), inputs.clone());
        Scenario::new(context, "extract", None, false, move |_| {
            let mut command = material::trainer(&trainer, ["extract", "--quiet"]);
            inputs.add(&mut command);
            material::set(
                &mut command,
                &[material::TRAINING, SEEING_IN_FLOWING].concat(),
            );
            command
        })
    };
    let fit = {
        let (trainer, inputs) = (context.trainer.clone(), inputs.clone());
        Scenario::new(context, "fit", None, false, move |_| {
            let mut command = material::trainer(&trainer, ["fit", "--quiet", "--out", "run"]);
            command.arg("--weights").arg(&inputs.backbone);
            command.arg(inputs.videos.join("train"));
            let keys = ["train.min_steps=2", "model.sif.motion.ffn_dim=32"];
            material::set(&mut command, &[material::FRAMES, &keys].concat());
            command
        })
    };
    Ok(vec![
        train(context, inputs, "train", SEEING_IN_FLOWING)?,
        train(context, inputs, "train-action-clip", ACTION_CLIP)?,
        extract?,
        fit?,
        prepare(context)?,
        download(context)?,
    ])
}

fn train(
    context: &Context,
    inputs: &Inputs,
    name: &'static str,
    keys: &'static [&'static str],
) -> Result<Scenario> {
    let (trainer, inputs) = (context.trainer.clone(), inputs.clone());
    Scenario::new(context, name, None, false, move |_| {
        let mut command = material::trainer(&trainer, ["train", "--quiet"]);
        inputs.add(&mut command);
        command.args(["--out", "run"]);
        material::set(&mut command, &[material::TRAINING, keys].concat());
        command
    })
}

/// A folder with the finished run `run`, which has kept two checkpoints, and its `features`.
///
/// # Errors
/// The training fails.
pub(crate) fn trained(context: &Context) -> Result<PathBuf> {
    train(context, &Inputs::new(context)?, "train", TWO_KEPT)?;
    Ok(context.folder.join("reference-train"))
}

/// A data set with its manifest, prepared.
///
/// # Errors
/// The preparation fails.
pub(crate) fn prepared(context: &Context) -> Result<PathBuf> {
    prepare(context)?;
    Ok(context.folder.join("reference-prepare/charades"))
}

/// The commands that read it.
///
/// # Errors
/// One fails when it is left alone.
pub(crate) fn readers(context: &Context, inputs: &Inputs) -> Result<Vec<Scenario>> {
    let run = context.folder.join("reference-train");
    let reader = |name, arguments: &'static [&'static str]| {
        let trainer = context.trainer.clone();
        Scenario::new(context, name, Some(&run), true, move |_| {
            material::trainer(&trainer, arguments)
        })
    };
    let predict = {
        let (trainer, inputs) = (context.trainer.clone(), inputs.clone());
        Scenario::new(context, "predict", Some(&run), true, move |_| {
            let mut command = material::trainer(&trainer, ["predict", "--json", "--device", "cpu"]);
            command.arg(inputs.videos.join("val/YoYo/03.avi"));
            command.args(["--checkpoint", "run"]);
            command
        })
    };
    Ok(vec![
        predict?,
        reader("eval", &["eval", "--quiet", "run"])?,
        reader("export", &["export", "run", "exported"])?,
        reader("report", &["report", "run"])?,
    ])
}

impl Inputs {
    fn add(&self, command: &mut Command) {
        command.arg("--root").arg(&self.videos);
        command.arg("--weights").arg(&self.backbone);
    }
}

/// `prepare-charades` from two small archives.
fn prepare(context: &Context) -> Result<Scenario> {
    let from = context.folder.join("archives");
    fs::create_dir_all(&from)?;
    let head = "id,subject,actions,length\n";
    let clips: Vec<(String, Vec<u8>)> = (0..8usize)
        .map(|number| (format!("CLIP{number}"), content(3000 + number)))
        .collect();
    let lines = |clips: &[(String, Vec<u8>)]| -> String {
        let lines = clips
            .iter()
            .map(|(id, _)| format!("{id},S1,c000 0.0 1.0,3.0\n"));
        head.to_owned() + &lines.collect::<String>()
    };
    let (train, test) = clips.split_at(5);
    zip(
        &from.join("Charades.zip"),
        &[
            (
                "Charades/Charades_v1_classes.txt".into(),
                b"c000 Opening a door\n".to_vec(),
            ),
            (
                "Charades/Charades_v1_train.csv".into(),
                lines(train).into_bytes(),
            ),
            (
                "Charades/Charades_v1_test.csv".into(),
                lines(test).into_bytes(),
            ),
        ],
    )?;
    let named = clips
        .iter()
        .map(|(id, bytes)| (format!("Charades_v1_480/{id}.mp4"), bytes.clone()));
    zip(
        &from.join("Charades_v1_480.zip"),
        &named.collect::<Vec<_>>(),
    )?;
    let xtask = context.xtask.clone();
    Scenario::new(context, "prepare", None, false, move |_| {
        let mut command = Command::new(&xtask);
        command
            .args(["prepare-charades", "--root", "charades", "--from"])
            .arg(&from);
        command
    })
}

fn zip(path: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let mut zip = ZipWriter::new(fs::File::create(path)?);
    for (name, bytes) in files {
        zip.start_file(name.as_str(), SimpleFileOptions::default())?;
        zip.write_all(bytes)?;
    }
    zip.finish()?;
    Ok(())
}

/// `download-clip` from a server on this machine.
fn download(context: &Context) -> Result<Scenario> {
    let file = |name, body: Vec<u8>| HubFile {
        name,
        hash: disk::sha256(&body),
        body,
    };
    let folder = material::backbone(context);
    let read = |name: &'static str| fs::read(folder.join(name)).map(|body| file(name, body));
    let files: Vec<HubFile> = vec![
        read("config.json")?,
        read("preprocessor_config.json")?,
        read("tokenizer.json")?,
        file("model.safetensors", content(700_000)),
    ];
    let server = Server::start(move |request, _| hub::answer(request, &files));
    let xtask = context.xtask.clone();
    Scenario::new(context, "download", None, false, move |folder| {
        let mut command = Command::new(&xtask);
        command.args(["download-clip", hub::ID]);
        command.env("HF_ENDPOINT", &server.base);
        command.env("HF_HUB_CACHE", folder.join("hub"));
        command
    })
}

/// Whether a command that met a fault ended right, or with one sentence.
///
/// # Errors
/// It hangs, panics, is killed, is silent, or its result is another one.
pub(crate) fn judge(scenario: &Scenario, ended: &Traced, folder: &Path) -> Result<Verdict, String> {
    if ended.is_late {
        return Err("it hangs".into());
    }
    let said = ended.stderr.trim();
    if said.contains("panicked") || ended.code >= 128 {
        return Err(format!("it ended with {}: {said}", ended.code));
    }
    if ended.code == 0 {
        let outcome = scenario.outcome(folder, ended).map_err(|e| e.to_string())?;
        return match scenario.reference.difference(&outcome) {
            Some(words) => Err(format!("status 0, but {words}; it said: {said}")),
            None => Ok(Verdict::Done),
        };
    }
    let errors = said
        .lines()
        .filter(|line| line.starts_with("error: "))
        .count();
    match errors {
        1 => Ok(Verdict::Refused),
        _ => Err(format!(
            "status {} with {errors} errors: {said}",
            ended.code
        )),
    }
}
