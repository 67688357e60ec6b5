//! Kills: a command is killed at a random moment, or before a certain operation on a file. Run
//! again, it ends with the same bytes as one that was left alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use serde_json::Value;

use crate::scenario::{self, Inputs, Scenario};
use crate::trace::{Answer, Kind, Op, changes};
use crate::{Block, Cases, Context, Random, Verdict};

pub(super) const BLOCK: Block = Block {
    number: 1,
    name: "kills",
    cases: 500,
    share: 12,
    seconds: 480,
    prepare,
};

/// One case in so many is killed three times.
const OFTEN: u64 = 10;

struct Kills {
    scenarios: Vec<Scenario>,
    /// The named points of each: the places of its operations in their order, by kind and file.
    points: Vec<Vec<(String, Vec<usize>)>>,
}

fn prepare(context: &Context) -> Result<Box<dyn Cases>> {
    let scenarios = scenario::writers(context, &Inputs::new(context)?)?;
    let points = scenarios
        .iter()
        .map(|scenario| points(&scenario.ops))
        .collect();
    Ok(Box::new(Kills { scenarios, points }))
}

/// Operations of one kind on files of one sort are one point.
fn points(ops: &[Op]) -> Vec<(String, Vec<usize>)> {
    let mut points: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, op) in ops.iter().filter(|op| changes(op)).enumerate() {
        let last = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // The names of temporary files are random, those of features and steps are numbered.
            match name.starts_with(".part-") {
                true => ".part".to_owned(),
                false => name.replace(|c: char| c.is_ascii_digit(), ""),
            }
        };
        let to = op.to.as_deref().map(|to| format!(" to {}", last(to)));
        let name = format!("{:?} {}{}", op.kind, last(&op.path), to.unwrap_or_default());
        points.entry(name).or_default().push(place);
    }
    points.into_iter().collect()
}

impl Cases for Kills {
    fn run(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        let number = index as usize % self.scenarios.len();
        let (scenario, points) = (&self.scenarios[number], &self.points[number]);
        scenario.start(folder).map_err(|error| error.to_string())?;
        let turn = index / self.scenarios.len() as u64;
        let kills = if turn % OFTEN == OFTEN - 1 { 3 } else { 1 };
        for _ in 0..kills {
            let words = match random.chance(0.25) {
                true => at_random(scenario, random, folder)?,
                // All points in turn, each at its occurrences in turn.
                false => {
                    let (name, places) = &points[(turn as usize + random.below(2)) % points.len()];
                    let place = places[random.below(places.len())];
                    at_point(scenario, place, random.chance(0.3), folder)?;
                    name.clone()
                }
            };
            newest_is_whole(folder).map_err(|error| format!("killed at {words}: {error}"))?;
        }
        scenario.goes_on(folder)?;
        Ok(Verdict::Done)
    }
}

/// Kills it before the change at `place`, or after half of a write there.
fn at_point(scenario: &Scenario, place: usize, torn: bool, folder: &Path) -> Result<(), String> {
    let mut next = 0;
    let mut is_torn = false;
    let killed = scenario.run(folder, folder, &mut |op| {
        if !changes(op) {
            return Answer::Go;
        }
        let here = next;
        next += 1;
        match here {
            _ if is_torn => Answer::Kill,
            here if here < place => Answer::Go,
            _ if torn && op.kind == Kind::Write => {
                is_torn = true;
                Answer::Short
            }
            _ => Answer::Kill,
        }
    });
    let killed = killed.map_err(|error| error.to_string())?;
    match killed.code {
        // After an earlier kill there is less to do: it may be over before.
        0 | 137 => Ok(()),
        code => Err(format!("it ended by itself with {code}: {}", killed.stderr)),
    }
}

/// Kills it at any moment.
fn at_random(scenario: &Scenario, random: &mut Random, folder: &Path) -> Result<String, String> {
    let moment = scenario.time.mul_f64(random.unit());
    let mut command = scenario.command(folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    std::thread::sleep(moment);
    let _ = child.kill();
    child.wait().map_err(|error| error.to_string())?;
    Ok(format!("{moment:?}"))
}

/// Every run that has checkpoints has a newest one that loads.
fn newest_is_whole(folder: &Path) -> Result<(), String> {
    for run in ["run/seed-0", "run/all"] {
        let newest = recogniser::newest::<Value>(&folder.join(run));
        let newest = newest.map_err(|error| error.to_string())?;
        if let Some((path, reason)) = newest.and_then(|loaded| loaded.refused.into_iter().next()) {
            return Err(format!("{} is not whole: {reason}", path.display()));
        }
    }
    Ok(())
}
