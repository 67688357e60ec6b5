//! Bit rot: a region of a stored file is flipped, overwritten or cut. Every reader finds it and loads
//! nothing of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clips::Fingerprint;
use clips::feature_cache::FeatureReader;
use data::Manifest;
use serde_json::Value;
use trainer::json::read_record;
use trainer::log::RunLog;

use crate::trace::Captured;
use crate::{Block, Cases, Context, Random, Verdict};
use crate::{material, scenario};

pub(super) const BLOCK: Block = Block {
    number: 4,
    name: "rot",
    cases: 2000,
    share: 200,
    seconds: 60,
    prepare,
};

/// One case in so many starts a process.
const SELDOM: u64 = 25;

/// The longest that one may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A reader of stored files.
struct Target {
    /// A folder of good files.
    folder: PathBuf,
    /// The files that are struck, relative to it.
    files: Vec<PathBuf>,
    /// Reads a copy of the folder; the error that it ends with, or that it worked around.
    read: Reader,
}

type Reader = Box<dyn Fn(&Path) -> Result<(), String> + Sync>;

struct Rot {
    targets: Vec<Target>,
}

fn prepare(context: &Context) -> Result<Box<dyn Cases>> {
    let run = scenario::trained(context)?;
    let (features, run) = (run.join("features"), run.join("run"));
    let features = fs::read_dir(&features)?
        .next()
        .context("no features")??
        .path();
    let fingerprint = FeatureReader::open_any(&features)?.fingerprint().clone();
    let mut targets = vec![
        checkpoints(run.join("seed-0"))?,
        features_of(features, fingerprint)?,
        log(run.join("seed-0"))?,
        records(run.join("seed-0"), "result.json"),
        records(run.clone(), "inputs.json"),
        manifest(scenario::prepared(context)?),
        exported(context, run)?,
    ];
    for target in &mut targets {
        let read = (target.read)(&target.folder);
        ensure!(read.is_ok(), "{}: {read:?}", target.folder.display());
        target.files.sort();
        ensure!(!target.files.is_empty(), "{}", target.folder.display());
    }
    Ok(Box::new(Rot { targets }))
}

fn checkpoints(folder: PathBuf) -> Result<Target> {
    let newest = recogniser::newest::<Value>(&folder)?.context("no checkpoint")?;
    let newest = newest.path.strip_prefix(&folder)?.to_path_buf();
    let files = material::files(&folder.join(&newest))?;
    Ok(Target {
        files: files.iter().map(|file| newest.join(file)).collect(),
        folder,
        read: Box::new(|folder| {
            // There is an older one, which nothing struck.
            let loaded = recogniser::newest::<Value>(folder);
            let loaded = loaded.unwrap_or_else(|e| panic!("no older checkpoint was used: {e}"));
            match loaded {
                // An older one was used.
                Some(loaded) => match loaded.refused.first() {
                    Some((_, reason)) => Err(reason.clone()),
                    None => Ok(()),
                },
                None => Ok(()),
            }
        }),
    })
}

fn features_of(folder: PathBuf, fingerprint: Fingerprint) -> Result<Target> {
    let is_read = |file: &PathBuf| file.to_str() != Some("clips.json");
    Ok(Target {
        files: material::files(&folder)?
            .into_iter()
            .filter(is_read)
            .collect(),
        folder,
        read: Box::new(move |folder| {
            let read = FeatureReader::open(folder, &fingerprint);
            read.map(|_| ()).map_err(|error| error.to_string())
        }),
    })
}

fn log(folder: PathBuf) -> Result<Target> {
    let done = recogniser::newest::<Value>(&folder)?
        .context("no checkpoint")?
        .step;
    Ok(Target {
        files: vec!["log.jsonl".into()],
        folder,
        read: Box::new(move |folder| {
            let log = RunLog::open(folder, done, done, true);
            log.map(|_| ()).map_err(|error| error.to_string())
        }),
    })
}

fn records(folder: PathBuf, name: &'static str) -> Target {
    Target {
        files: vec![name.into()],
        folder,
        read: Box::new(move |folder| {
            let read = read_record::<Value>(&folder.join(name));
            read.map(|_| ()).map_err(|error| error.to_string())
        }),
    }
}

fn manifest(folder: PathBuf) -> Target {
    Target {
        files: vec!["manifest.json".into()],
        folder,
        read: Box::new(|folder| {
            let read = Manifest::load(&folder.join("manifest.json"));
            read.map(|_| ()).map_err(|error| error.to_string())
        }),
    }
}

/// An exported run, as `predict` reads it.
fn exported(context: &Context, run: PathBuf) -> Result<Target> {
    let folder = context.folder.join("exported");
    let mut export = material::trainer(&context.trainer, ["export"]);
    let ended = Captured::of(export.arg(run).arg(&folder))?.wait(LIMIT)?;
    ensure!(ended.code == 0, "export: {}", ended.stderr);
    let (trainer, video) = (
        context.trainer.clone(),
        context.folder.join("videos/val/YoYo/03.avi"),
    );
    Ok(Target {
        files: [
            "seeing_in_flowing.json",
            "trained.safetensors",
            "model.safetensors",
        ]
        .map(PathBuf::from)
        .into(),
        folder,
        read: Box::new(move |folder| {
            let mut predict = material::trainer(&trainer, ["predict", "--device", "cpu"]);
            predict.arg(&video).arg("--checkpoint").arg(folder);
            let ended = Captured::of(&mut predict).and_then(|running| running.wait(LIMIT));
            let ended = ended.expect("a process");
            match (ended.code, ended.stderr.contains("error: ")) {
                (0, _) => Ok(()),
                (3, true) => Err(ended.stderr),
                (code, _) => panic!("status {code}: {}", ended.stderr),
            }
        }),
    })
}

impl Cases for Rot {
    fn run(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        // A process is started for the last one alone.
        let (last, others) = self.targets.split_last().expect("targets");
        let target = match index.is_multiple_of(SELDOM) {
            true => last,
            false => &others[index as usize % others.len()],
        };
        let file = &target.files[random.below(target.files.len())];
        let copy = folder.join("copy");
        material::link_all(&target.folder, &copy).unwrap();
        let path = copy.join(file);
        let good = fs::read(&path).unwrap();
        let (bad, harm) = strike(&good, random);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bad).unwrap();
        match (target.read)(&copy) {
            Err(words) if !words.is_empty() => Ok(Verdict::Refused),
            _ => Err(format!("{} was loaded with {harm}", file.display())),
        }
    }
}

/// Other bytes than `good`, and what was done to them.
fn strike(good: &[u8], random: &mut Random) -> (Vec<u8>, String) {
    loop {
        let mut bad = good.to_vec();
        let start = random.below(good.len());
        let length = 1 + random.below((good.len() - start).min(64));
        let region = start..start + length;
        let harm = match random.below(6) {
            0 => {
                let bit = random.below(8);
                bad[start] ^= 1 << bit;
                format!("bit {bit} of byte {start} flipped")
            }
            1 => {
                bad[region.clone()].fill(0);
                format!("bytes {region:?} zeroed")
            }
            2 => {
                for byte in &mut bad[region.clone()] {
                    *byte = random.below(256) as u8;
                }
                format!("bytes {region:?} random")
            }
            3 => {
                bad.drain(region.clone());
                format!("bytes {region:?} cut out")
            }
            4 => {
                bad.truncate(start);
                format!("cut at byte {start}")
            }
            _ => {
                let from = random.below(good.len() - length + 1);
                bad.copy_within(from..from + length, start);
                format!("bytes {region:?} replaced by those at {from}")
            }
        };
        if bad != good {
            return (bad, harm);
        }
    }
}
