//! Power cuts: the operations of a command are cut at any point, and what was not synced is dropped,
//! torn or reordered. What had been completed before loads, and the command goes on to the same bytes.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clips::feature_cache::FeatureReader;
use serde_json::Value;
use trainer::log::RunLog;

use crate::lossy::{Recording, below};
use crate::scenario::{self, Inputs, Outcome, Scenario};
use crate::trace::{Kind, Op};
use crate::{Block, Cases, Context, Random, Verdict};

pub(super) const BLOCK: Block = Block {
    number: 3,
    name: "images",
    cases: 5000,
    share: 100,
    seconds: 300,
    prepare,
};

/// Of the commands that take long, one image in so many is gone on with.
const SELDOM: u64 = 50;

struct Images {
    recorded: Vec<Recorded>,
}

struct Recorded {
    scenario: Scenario,
    recording: Recording,
    promises: Vec<Promise>,
}

/// What has to be there after a power cut from operation `from` on, until the program removes it.
struct Promise {
    from: usize,
    until: usize,
    kept: Kept,
}

enum Kept {
    /// The checkpoint of this step of a run, or a later one.
    Step(PathBuf, u64),
    /// A file, whole, unless it was removed later.
    File(PathBuf),
}

fn prepare(context: &Context) -> Result<Box<dyn Cases>> {
    let mut recorded = Vec::new();
    for mut scenario in scenario::writers(context, &Inputs::new(context)?)? {
        let folder = context.folder.join(format!("reference-{}", scenario.name));
        let ops = std::mem::take(&mut scenario.ops);
        let recording = Recording::new(&ops, &folder);
        // Nothing lost is what the command left.
        let check = context.folder.join(format!("check-{}", scenario.name));
        recording.whole(&check)?;
        let replayed = Outcome::of(&check, "")?;
        let difference = scenario.reference.difference(&replayed);
        ensure!(
            difference.is_none(),
            "{}: replayed: {difference:?}",
            scenario.name
        );
        recorded.push(Recorded {
            promises: promises(&ops, &folder),
            recording,
            scenario,
        });
    }
    Ok(Box::new(Images { recorded }))
}

/// A rename completes a checkpoint or a file, the sync of the folder makes it last.
fn promises(ops: &[Op], folder: &Path) -> Vec<Promise> {
    let mut promises = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let (Kind::Rename, Some(to)) = (op.kind, &op.to) else {
            continue;
        };
        let above = to.parent().unwrap_or(to);
        let synced = ops.iter().enumerate().skip(at);
        let mut synced = synced.filter(|(_, op)| op.kind == Kind::Sync && op.path == above);
        let Some((sync, _)) = synced.next() else {
            continue;
        };
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let from = sync + 1;
        let step = name.strip_prefix("step-");
        let (kept, until) = match step.and_then(|step| step.parse().ok()) {
            Some(step) => {
                let run = above.parent().unwrap_or(above);
                (
                    Kept::Step(below(run, folder), step),
                    cleared(above, &ops[from..]),
                )
            }
            None => (Kept::File(below(to, folder)), gone(to, &ops[from..])),
        };
        let until = until.map_or(usize::MAX, |at| from + at);
        promises.push(Promise { from, until, kept });
    }
    promises
}

/// The operation that removes or renames a file, or a folder that it is in.
fn gone(file: &Path, later: &[Op]) -> Option<usize> {
    later
        .iter()
        .position(|op| matches!(op.kind, Kind::Remove | Kind::Rename) && file.starts_with(&op.path))
}

/// The first removal among the checkpoints of a run that is over, and removes them all.
fn cleared(checkpoints: &Path, later: &[Op]) -> Option<usize> {
    let removes = |op: &Op| op.kind == Kind::Remove && op.path.starts_with(checkpoints);
    let last = later.iter().rfind(|op| removes(op))?;
    (last.path == checkpoints).then_some(())?;
    later.iter().position(removes)
}

impl Cases for Images {
    fn run(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        let Recorded {
            scenario,
            recording,
            promises,
        } = &self.recorded[index as usize % self.recorded.len()];
        let cut = random.below(recording.operations() + 1);
        let image = recording.image(cut, random, folder);
        let image = image.map_err(|error| error.to_string())?;
        let name = scenario.name;
        let told = |words: String| format!("{name}: {image}: {words}");
        for promise in promises
            .iter()
            .filter(|promise| (promise.from..promise.until).contains(&cut))
        {
            is_kept_in(folder, &promise.kept).map_err(told)?;
        }
        whatever_is_there_is_whole(folder).map_err(told)?;
        let turn = index / self.recorded.len() as u64;
        let is_quick = ["prepare", "download"].contains(&name);
        if is_quick || turn.is_multiple_of(SELDOM) {
            scenario.goes_on(folder).map_err(told)?;
        }
        Ok(Verdict::Done)
    }
}

fn is_kept_in(folder: &Path, kept: &Kept) -> Result<(), String> {
    match kept {
        Kept::Step(run, step) => {
            let newest = recogniser::newest::<Value>(&folder.join(run));
            let newest = newest.map_err(|error| error.to_string())?;
            match newest {
                Some(loaded) if loaded.step >= *step => Ok(()),
                Some(loaded) => Err(format!("step {step} was complete, {} loads", loaded.step)),
                None => Err(format!("step {step} was complete, nothing loads")),
            }
        }
        Kept::File(file) => match folder.join(file).exists() {
            true => Ok(()),
            false => Err(format!("{} was complete and is missing", file.display())),
        },
    }
}

/// The newest checkpoint, the log up to it, the features and records: what is there loads.
fn whatever_is_there_is_whole(folder: &Path) -> Result<(), String> {
    let run = folder.join("run/seed-0");
    let newest = recogniser::newest::<Value>(&run).map_err(|error| error.to_string())?;
    if let Some(loaded) = newest {
        if let Some((path, reason)) = loaded.refused.first() {
            return Err(format!("{}: {reason}", path.display()));
        }
        let log = RunLog::open(&run, loaded.step, loaded.step, true);
        log.map_err(|error| error.to_string())?;
    }
    for record in ["run/inputs.json", "run/seed-0/result.json"] {
        if let Ok(bytes) = std::fs::read(folder.join(record)) {
            disk::expect_sealed(&bytes).map_err(|reason| format!("{record} {reason}"))?;
        }
    }
    for entry in std::fs::read_dir(folder.join("features"))
        .into_iter()
        .flatten()
        .flatten()
    {
        match FeatureReader::open_any(&entry.path()) {
            Ok(_) => {}
            Err(error) if error.to_string().contains("missing") => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}
