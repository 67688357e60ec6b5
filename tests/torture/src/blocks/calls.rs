//! Failing calls: each operation of a command on a file fails in turn, once or from then on. The
//! command ends right, or with one sentence; run again, it ends as if nothing had happened.

use std::path::Path;

use anyhow::Result;
use nix::errno::Errno;

use crate::scenario::{self, Inputs, Scenario};
use crate::trace::{Answer, Kind, Op, Traced};
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

/// The fault of a case.
#[derive(Debug, Clone, Copy)]
struct Fault {
    scenario: usize,
    /// The call, counted from the command's start.
    call: usize,
    harm: Harm,
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
            all.extend(harms(op, call).into_iter().map(|harm| Fault {
                scenario,
                call,
                harm,
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
        let fault = self.all[index as usize % self.all.len()];
        let scenario = &self.scenarios[fault.scenario];
        scenario.start(folder).map_err(|error| error.to_string())?;
        let mut struck = None;
        let (mut next, mut cut) = (0, None);
        let ended = scenario.run(folder, folder, &mut |op| {
            let here = next;
            next += 1;
            if here == fault.call {
                struck = Some(format!("{:?} {}", op.kind, op.path.display()));
            }
            match fault.harm {
                Harm::Once(error) if here == fault.call => Answer::Fail(error),
                Harm::Always(error) if here >= fault.call => Answer::Fail(error),
                Harm::ShortThen(_) if here == fault.call => {
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
        let ended = ended.map_err(|error| error.to_string())?;
        let verdict = judge(scenario, &ended, folder)
            .and_then(|verdict| scenario.goes_on(folder).map(|()| verdict));
        verdict.map_err(|words| {
            let struck = struck.unwrap_or_else(|| "no call".into());
            format!(
                "{}: call {}, {struck}: {:?}: {words}",
                scenario.name, fault.call, fault.harm
            )
        })
    }
}

/// Whether a command that met a fault ended right, or with one sentence.
fn judge(scenario: &Scenario, ended: &Traced, folder: &Path) -> Result<Verdict, String> {
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
