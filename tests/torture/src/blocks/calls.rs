//! Failing calls: each operation of a command on a file fails in turn, once or from then on. The
//! command ends right, or with one sentence; run again, it ends as if nothing had happened.

use std::path::Path;

use anyhow::Result;
use nix::errno::Errno;

use crate::scenario::{self, Inputs, Scenario, judge};
use crate::trace::{Answer, Kind, Op, Traced, changes};
use crate::{Block, Cases, Context, Random, Verdict};

pub(super) const BLOCK: Block = Block {
    number: 2,
    name: "calls",
    cases: 0,
    share: 12,
    seconds: 480,
    prepare,
};

struct Calls {
    scenarios: Vec<Scenario>,
    /// Every call of every scenario with every fault that it may have.
    all: Vec<Fault>,
}

/// The faults of a case.
#[derive(Debug, Clone)]
struct Fault {
    scenario: usize,
    /// The call, counted from the command's start.
    call: usize,
    /// One after the other, each on what the one before left.
    harms: Vec<Harm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Once(Errno),
    /// All later ones fail, too.
    Always(Errno),
    /// Half of the bytes are read or written, and the next call of its kind fails.
    ShortThen(Errno),
}

fn prepare(context: &Context) -> Result<Box<dyn Cases>> {
    let inputs = Inputs::new(context)?;
    let mut scenarios = scenario::writers(context, &inputs)?;
    scenarios.extend(scenario::readers(context, &inputs)?);
    let mut all = Vec::new();
    for (scenario, of) in scenarios.iter().enumerate() {
        for (call, op) in of.ops.iter().enumerate() {
            let harms = harms(op, call);
            // What changes something is struck in both ways from a fresh start. What only reads is
            // struck once, and for good in the run that resumes.
            let apart = match changes(op) {
                true => harms.into_iter().map(|harm| vec![harm]).collect(),
                false => vec![harms],
            };
            all.extend(apart.into_iter().map(|harms| Fault {
                scenario,
                call,
                harms,
            }));
        }
    }
    // The share and a campaign cut short see all scenarios.
    Random::new(context.seed, &["calls"]).shuffle(&mut all);
    Ok(Box::new(Calls { scenarios, all }))
}

/// The faults of a call: one that passes, chosen in turn among those that its kind has, and one that
/// stays.
fn harms(op: &Op, call: usize) -> Vec<Harm> {
    use Errno::{EACCES, EINTR, EIO, EMFILE, ENOSPC, EROFS};
    use Harm::{Always, Once, ShortThen};
    let (passing, staying): (&[Harm], &[Errno]) = match op.kind {
        Kind::Open => (
            &[Once(EACCES), Once(EIO), Once(EMFILE), Once(EINTR)],
            &[EACCES],
        ),
        Kind::Create => (
            &[Once(ENOSPC), Once(EACCES), Once(EMFILE), Once(EINTR)],
            &[ENOSPC, EROFS],
        ),
        Kind::Read => (&[Once(EIO), Once(EINTR), ShortThen(EIO)], &[EIO]),
        Kind::Write => (
            &[Once(ENOSPC), Once(EINTR), ShortThen(ENOSPC), Once(EIO)],
            &[ENOSPC],
        ),
        Kind::Sync | Kind::SyncAll => (&[Once(EIO), Once(ENOSPC)], &[EIO]),
        Kind::Rename | Kind::Folder | Kind::Link => {
            (&[Once(ENOSPC), Once(EACCES), Once(EIO)], &[EROFS])
        }
        Kind::Remove => (&[Once(EACCES), Once(EIO)], &[EROFS]),
        Kind::Truncate => (&[Once(EIO)], &[EIO]),
        Kind::List | Kind::Map | Kind::Look => (&[Once(EIO), Once(EACCES)], &[EIO]),
        Kind::Lock => (&[Once(EIO)], &[]),
    };
    let pick = |count: usize| call % count;
    let mut harms = vec![passing[pick(passing.len())]];
    if !staying.is_empty() {
        harms.push(Always(staying[pick(staying.len())]));
    }
    harms
}

impl Cases for Calls {
    fn all(&self) -> Option<u64> {
        Some(self.all.len() as u64)
    }

    fn run(&self, index: u64, _: &mut Random, folder: &Path) -> Result<Verdict, String> {
        let fault = &self.all[index as usize % self.all.len()];
        let scenario = &self.scenarios[fault.scenario];
        scenario.start(folder).map_err(|error| error.to_string())?;
        let mut verdict = Verdict::Done;
        for harm in &fault.harms {
            let (ended, struck) = strike(scenario, fault.call, *harm, folder)?;
            verdict = judge(scenario, &ended, folder).map_err(|words| {
                let struck = struck.unwrap_or_else(|| "no call".into());
                format!(
                    "{}: call {}, {struck}: {harm:?}: {words}",
                    scenario.name, fault.call
                )
            })?;
        }
        // Refused after the last rename, such as by the sync of the folder, it is as if it were done.
        if verdict == Verdict::Refused && !scenario.is_done(folder) {
            let again = scenario.goes_on(folder);
            again.map_err(|words| format!("call {}: {:?}: {words}", fault.call, fault.harms))?;
        }
        Ok(verdict)
    }
}

/// Runs a command whose call meets harm; how it ended, and which call that was.
fn strike(
    scenario: &Scenario,
    call: usize,
    harm: Harm,
    folder: &Path,
) -> Result<(Traced, Option<String>), String> {
    let mut struck = None;
    let (mut next, mut cut) = (0, None);
    let ended = scenario.run(folder, folder, &mut |op| {
        let here = next;
        next += 1;
        if here == call {
            struck = Some(format!("{:?} {}", op.kind, op.path.display()));
        }
        match harm {
            Harm::Once(error) if here == call => Answer::Fail(error),
            Harm::Always(error) if here >= call => Answer::Fail(error),
            Harm::ShortThen(_) if here == call => {
                cut = Some(op.kind);
                Answer::Short
            }
            Harm::ShortThen(error) if cut == Some(op.kind) => {
                cut = None;
                Answer::Fail(error)
            }
            _ => Answer::Go,
        }
    });
    Ok((ended.map_err(|error| error.to_string())?, struck))
}
