//! Contenders that take turns: in every round each works once, so that a machine that grows
//! busy or hot slows all alike, and ratios within the run hold.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// A program that says `ready`, then answers every line on stdin with the seconds its work took.
pub(super) struct Contender {
    /// How it stands in the table.
    pub(super) name: String,
    /// How it is started.
    pub(super) command: Command,
}

/// What a contender reached.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reached {
    /// How it stands in the table.
    pub(super) name: String,
    /// Seconds of each turn.
    seconds: Vec<f64>,
    /// The most memory its process held, in GiB; `None` where the system does not say.
    pub(super) peak: Option<f64>,
}

impl Reached {
    /// Median seconds.
    pub(super) fn seconds(&self) -> f64 {
        median(self.seconds.clone())
    }

    /// Its seconds by those that `other` took in the same turn: their median. A machine that runs
    /// now faster, now slower, moves this least.
    pub(super) fn by(&self, other: &Self) -> f64 {
        let turns = self.seconds.iter().zip(&other.seconds);
        median(turns.map(|(one, other)| one / other).collect())
    }
}

struct Running {
    name: String,
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// How often contenders work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    /// Times that all are started, take their turns, and end. Where things lie in the memory of a
    /// process makes it some percent faster or slower, as long as it lives.
    pub(super) starts: usize,
    /// Turns of each in between.
    pub(super) each: usize,
}

/// Lets all take their turns.
///
/// # Errors
/// A program that does not start, fails, or answers with something else than seconds.
pub(super) fn take_turns(mut contenders: Vec<Contender>, turns: Turns) -> Result<Vec<Reached>> {
    let mut seconds = vec![Vec::new(); contenders.len()];
    let mut peaks = vec![None; contenders.len()];
    for _ in 0..turns.starts.max(1) {
        let running = contenders.iter_mut().map(Running::start);
        let mut running = running.collect::<Result<Vec<_>>>()?;
        for _ in 0..turns.each.max(1) {
            for (one, seconds) in running.iter_mut().zip(&mut seconds) {
                seconds.push(one.turn()?);
            }
        }
        for (one, most) in running.into_iter().zip(&mut peaks) {
            let peak = one.end()?;
            if most.is_none_or(|most| peak > Some(most)) {
                *most = peak;
            }
        }
    }
    let reached = contenders.into_iter().zip(seconds).zip(peaks);
    let reached = reached.map(|((contender, seconds), peak)| Reached {
        name: contender.name,
        seconds,
        peak,
    });
    Ok(reached.collect())
}

/// The middle of the values; of an even number the upper one.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Running {
    fn start(contender: &mut Contender) -> Result<Self> {
        let Contender { name, command } = contender;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| failed(name, error.to_string()))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(name, "has no pipes".into()));
        };
        let mut running = Self {
            name: name.clone(),
            child,
            orders,
            answers: BufReader::new(answers).lines(),
        };
        match running.answer()?.as_str() {
            "ready" => Ok(running),
            other => Err(failed(
                &running.name,
                format!("expected \"ready\", got {other:?}"),
            )),
        }
    }

    fn turn(&mut self) -> Result<f64> {
        self.orders
            .write_all(b"\n")
            .and_then(|()| self.orders.flush())
            .map_err(|error| failed(&self.name, error.to_string()))?;
        let answer = self.answer()?;
        answer
            .parse()
            .map_err(|_| failed(&self.name, format!("expected seconds, got {answer:?}")))
    }

    fn answer(&mut self) -> Result<String> {
        match self.answers.next() {
            Some(Ok(line)) => Ok(line.trim().to_owned()),
            Some(Err(error)) => Err(failed(&self.name, error.to_string())),
            None => {
                let ended = self
                    .child
                    .wait()
                    .map_or_else(|e| e.to_string(), |s| s.to_string());
                Err(failed(&self.name, format!("ended early, {ended}")))
            }
        }
    }

    /// Ends it; the most memory that it held.
    fn end(mut self) -> Result<Option<f64>> {
        let peak = peak(self.child.id());
        drop(self.orders);
        match self.child.wait() {
            Ok(status) if status.success() => Ok(peak),
            Ok(status) => Err(failed(&self.name, status.to_string())),
            Err(error) => Err(failed(&self.name, error.to_string())),
        }
    }
}

/// Seconds and peak GiB of a whole process.
pub(super) fn whole_process(mut command: Command) -> Result<(f64, f64)> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |reason: String| Error::Program {
        program: program.clone(),
        reason,
    };
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let mut most = 0.0f64;
    loop {
        most = most.max(peak(child.id()).unwrap_or(0.0));
        if let Some(status) = child.try_wait().map_err(|e| failed(e.to_string()))? {
            return match status.success() {
                true => Ok((start.elapsed().as_secs_f64(), most)),
                false => Err(failed(status.to_string())),
            };
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The most memory a process has held, in GiB.
fn peak(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / f64::from(1 << 20))
}

fn failed(program: &str, reason: String) -> Error {
    Error::Program {
        program: program.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(name: &str, script: &str) -> Contender {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Contender {
            name: name.into(),
            command,
        }
    }

    #[test]
    fn contenders_alternate_and_medians_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = |name: &str, answers: &str| {
            format!(
                "echo ready; for n in {answers}; do read -r _; echo {name} >> {}; echo $n; done; read -r _ || true",
                log.display()
            )
        };
        // The machine is half as fast in the second round.
        let a = shell("a", &script("a", "1 2 1"));
        let b = shell("b", &script("b", "2 5 3"));
        let turns = Turns { starts: 1, each: 3 };
        let reached = take_turns(vec![a, b], turns);
        let [a, b] = reached.unwrap().try_into().unwrap();
        assert_eq!((a.name.as_str(), a.seconds(), a.by(&a)), ("a", 1.0, 1.0));
        assert_eq!((b.name.as_str(), b.seconds(), b.by(&a)), ("b", 3.0, 2.5));
        let order = std::fs::read_to_string(log).unwrap();
        assert_eq!(order, "a\nb\na\nb\na\nb\n");
    }

    #[test]
    fn contenders_that_are_started_again_are_as_new() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = format!(
            "echo new >> {}; echo ready; read -r _; echo 2",
            log.display()
        );
        let turns = Turns { starts: 3, each: 1 };
        let reached = take_turns(vec![shell("a", &script)], turns).unwrap();
        assert_eq!((reached[0].seconds(), reached.len()), (2.0, 1));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "new\nnew\nnew\n");
    }

    #[test]
    fn a_whole_process_is_timed_and_its_failure_told() {
        let mut command = Command::new("sleep");
        command.arg("0.05");
        let (seconds, peak) = whole_process(command).unwrap();
        assert!(seconds >= 0.05);
        assert!(!cfg!(target_os = "linux") || peak > 0.0);
        let error = whole_process(Command::new("false")).unwrap_err();
        assert!(error.to_string().starts_with("false: "), "{error}");
    }

    #[test]
    fn a_contender_that_fails_is_named() {
        let error = |script: &str| {
            take_turns(vec![shell("peer", script)], Turns { starts: 1, each: 1 })
                .unwrap_err()
                .to_string()
        };
        assert!(error("exit 3").contains("peer: ended early, exit status: 3"));
        assert!(error("echo hello").contains("expected \"ready\", got \"hello\""));
        assert!(error("echo ready; read -r _; echo fast").contains("expected seconds"));
    }
}
