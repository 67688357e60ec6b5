//! Time and peak memory of each command in its own process, at the paper's shapes: ViT-B/16,
//! 8 frames, HMDB-51's 51 classes, batches of 32.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::predict::{checkpoint, trainer};
use super::turns::whole_process;
use super::{Bench, Result, machine};
use crate::{Error, places, workspace};

/// The class added to a finished run.
const ADDED: &str = "another";

/// The inputs and outputs of the commands.
struct Files {
    labels: PathBuf,
    /// `{train,val}/<class>/<clip>`
    split: PathBuf,
    /// `<class>/<clip>`
    own: PathBuf,
    /// Runs and features, empty at the start.
    out: PathBuf,
}

pub(super) fn table(bench: &Bench<'_>, clip: &Path) -> Result<String> {
    let (trainer, weights) = (trainer(bench)?, checkpoint(bench)?);
    let files = Files::create(bench, clip)?;
    let mut text = String::from(
        "ViT-B/16 with generated weights, 8 frames, one clip in training and one in test for each \
         of HMDB-51's 51 classes (all the same video: only shapes matter), B = 32 and 4 updates \
         for training. One process per row.\n\n\
         | command | precision | seconds | peak GiB |\n|---|---|---|---|\n",
    );
    for &precision in machine::precisions() {
        for (name, arguments) in files.commands(&weights, clip, precision) {
            eprintln!("{precision}: {name}");
            if name.starts_with("add-class") {
                files.add_class(clip)?;
            }
            let mut command = Command::new(&trainer);
            command
                .args(arguments.0)
                .current_dir(&files.out)
                .stderr(Stdio::null());
            let (seconds, peak) = whole_process(command)?;
            text += &format!("| {name} | {precision} | {seconds:.1} | {peak:.2} |\n");
        }
        files.remove_class()?;
    }
    Ok(text)
}

impl Files {
    fn create(bench: &Bench<'_>, clip: &Path) -> Result<Self> {
        let folder = workspace::target(bench.root).join("bench/hmdb-shapes");
        let files = Self {
            labels: bench.root.join("datasets/hmdb51-classes.txt"),
            split: folder.join("split"),
            own: folder.join("own"),
            out: folder.join("out"),
        };
        let names = std::fs::read_to_string(&files.labels);
        let names = names.map_err(Error::io("cannot read", &files.labels))?;
        for name in names.lines() {
            for folder in ["train", "val"] {
                copy(clip, &files.split.join(folder).join(name), "clip")?;
            }
            for number in ["first", "second"] {
                copy(clip, &files.own.join(name), number)?;
            }
        }
        files.remove_class()?;
        places::empty_folder(&files.out)?;
        Ok(files)
    }

    fn add_class(&self, clip: &Path) -> Result<()> {
        copy(clip, &self.own.join(ADDED), "first")?;
        copy(clip, &self.own.join(ADDED), "second")
    }

    fn remove_class(&self) -> Result<()> {
        let folder = self.own.join(ADDED);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(Error::io("cannot remove", &folder))?;
        }
        Ok(())
    }

    /// The commands in the order of their dependencies, with a feature cache per precision.
    fn commands(
        &self,
        weights: &Path,
        clip: &Path,
        precision: &str,
    ) -> Vec<(&'static str, Arguments)> {
        let run = |name: &str| self.out.join(format!("{name}-{precision}"));
        let features = run("features").display().to_string();
        let common = Arguments::default()
            .path("--weights", weights)
            .set("backbone.precision", precision)
            .set("data.cache", &features)
            .word("--quiet");
        let split = Arguments::default()
            .path("--root", &self.split)
            .word("--dataset")
            .word("folder")
            .set("protocol.name", "few-shot")
            .set("protocol.shots", "1")
            .set("protocol.seeds", "[0]");
        let brief = Arguments::default()
            .set("train.epochs", "1")
            .set("train.min_steps", "4");
        let command = |name: &str| Arguments::default().word(name);
        let extract = command("extract").all(&common).all(&split);
        let train = command("train").all(&common).all(&split).all(&brief);
        let predict = |checkpoint: &Path| {
            let predict = command("predict").path("--checkpoint", checkpoint);
            predict.word(clip)
        };
        let zero_shot = predict(weights)
            .path("--labels-file", &self.labels)
            .word("--precision")
            .word(precision);
        let best = train.set("train.batch_size", "32");
        let paper = best.clone().set("model.preset", "paper");
        let fit = command("fit")
            .word("--hold-out")
            .all(&common)
            .all(&brief)
            .word(&self.own);
        let add_class = command("add-class").word(run("own")).word(ADDED);
        vec![
            ("predict, zero-shot", zero_shot),
            ("extract", extract),
            ("train, `best`", best.path("--out", &run("best"))),
            ("train, `paper`", paper.path("--out", &run("paper"))),
            ("eval", command("eval").word(run("best"))),
            ("report", command("report").word(run("best"))),
            ("predict, trained", predict(&run("best"))),
            ("fit", fit.path("--out", &run("own"))),
            ("add-class", add_class),
        ]
    }
}

/// The words of a command line.
#[derive(Clone, Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn word(mut self, word: impl Into<OsString>) -> Self {
        self.0.push(word.into());
        self
    }

    fn path(self, option: &str, path: &Path) -> Self {
        self.word(option).word(path)
    }

    fn set(self, key: &str, value: &str) -> Self {
        self.word("--set").word(format!("{key}={value}"))
    }

    fn all(mut self, others: &Self) -> Self {
        self.0.extend(others.0.iter().cloned());
        self
    }
}

/// Copies the clip to `folder` as `name` with its extension, unless that exists.
fn copy(clip: &Path, folder: &Path, name: &str) -> Result<()> {
    places::make_folder(folder)?;
    let mut target = folder.join(name);
    if let Some(extension) = clip.extension() {
        target.set_extension(extension);
    }
    if !target.exists() {
        std::fs::copy(clip, &target).map_err(Error::io("cannot copy to", &target))?;
    }
    Ok(())
}
