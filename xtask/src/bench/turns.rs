//! Contenders that take turns, so that a machine that gets busy or hot slows all of them alike and
//! their ratios stay valid.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// A program that prints `ready`, then answers every line on stdin with the seconds of one turn.
pub(super) struct Contender {
    name: String,
    command: Command,
}

impl Contender {
    pub(super) fn new(name: &str, command: Command) -> Self {
        let name = name.to_owned();
        Self { name, command }
    }
}

/// The measurements of a contender.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Timing {
    pub(super) name: String,
    /// The seconds of each turn.
    seconds: Vec<f64>,
    /// The peak memory of its process in GiB, if the system reports it.
    pub(super) peak: Option<f64>,
}

impl Timing {
    /// The median of the seconds.
    pub(super) fn seconds(&self) -> f64 {
        median(self.seconds.clone())
    }

    /// The median over the turns of its seconds divided by those of `other`. Changes in the speed
    /// of the machine affect this the least.
    pub(super) fn ratio_to(&self, other: &Self) -> f64 {
        let turns = self.seconds.iter().zip(&other.seconds);
        median(turns.map(|(one, other)| one / other).collect())
    }
}

struct Running {
    name: String,
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The number of turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    /// The number of times that all contenders are started anew. The memory layout makes a process
    /// some percent faster or slower as long as it runs.
    pub(super) starts: usize,
    /// The turns of each contender per start.
    pub(super) each: usize,
}

/// Runs the contenders in turns.
///
/// # Errors
/// A program cannot be started, fails, or answers with something other than seconds.
pub(super) fn take_turns(mut contenders: Vec<Contender>, turns: Turns) -> Result<Vec<Timing>> {
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
            if peak > *most {
                *most = peak;
            }
        }
    }
    let timings = contenders.into_iter().zip(seconds).zip(peaks);
    let timings = timings.map(|((contender, seconds), peak)| Timing {
        name: contender.name,
        seconds,
        peak,
    });
    Ok(timings.collect())
}

/// The median; the upper one of an even number of values.
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
            .map_err(|error| failed(name, error))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(name, "no pipes"));
        };
        let mut running = Self {
            name: name.clone(),
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
        };
        match running.answer()?.as_str() {
            "ready" => Ok(running),
            other => Err(running.failed(format!("expected \"ready\", got {other:?}"))),
        }
    }

    fn turn(&mut self) -> Result<f64> {
        self.stdin
            .write_all(b"\n")
            .and_then(|()| self.stdin.flush())
            .map_err(|error| self.failed(error))?;
        let answer = self.answer()?;
        answer
            .parse()
            .map_err(|_| self.failed(format!("expected seconds, got {answer:?}")))
    }

    fn answer(&mut self) -> Result<String> {
        match self.lines.next() {
            Some(Ok(line)) => Ok(line.trim().to_owned()),
            Some(Err(error)) => Err(self.failed(error)),
            None => {
                let status = self.child.wait().map_err(|error| self.failed(error))?;
                Err(self.failed(format!("ended early, {status}")))
            }
        }
    }

    /// Ends the process and returns its peak memory.
    fn end(mut self) -> Result<Option<f64>> {
        let peak = peak(self.child.id());
        drop(self.stdin);
        match self.child.wait() {
            Ok(status) if status.success() => Ok(peak),
            Ok(status) => Err(failed(&self.name, status)),
            Err(error) => Err(failed(&self.name, error)),
        }
    }

    fn failed(&self, reason: impl ToString) -> Error {
        failed(&self.name, reason)
    }
}

/// Runs `command` and returns its seconds and its peak memory in GiB.
pub(super) fn whole_process(mut command: Command) -> Result<(f64, f64)> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| Error::program(&command, e))?;
    let mut most = 0.0f64;
    loop {
        most = most.max(peak(child.id()).unwrap_or(0.0));
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Ok(Some(status)) if status.success() => {
                return Ok((start.elapsed().as_secs_f64(), most));
            }
            Ok(Some(status)) => return Err(Error::program(&command, status)),
            Err(error) => return Err(Error::program(&command, error)),
        }
    }
}

/// The peak memory of a running process in GiB.
fn peak(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / f64::from(1 << 20))
}

fn failed(program: &str, reason: impl ToString) -> Error {
    Error::Program {
        program: program.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(name: &str, script: &str) -> Contender {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Contender::new(name, command)
    }

    #[test]
    fn contenders_alternate_and_medians_are_returned() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = |name: &str, answers: &str| {
            format!(
                "echo ready; for n in {answers}; do read -r _; echo {name} >> {}; echo $n; done; read -r _ || true",
                log.display()
            )
        };
        // The machine is half as fast in the second turn.
        let a = shell("a", &script("a", "1 2 1"));
        let b = shell("b", &script("b", "2 5 3"));
        let turns = Turns { starts: 1, each: 3 };
        let timings = take_turns(vec![a, b], turns);
        let [a, b] = timings.unwrap().try_into().unwrap();
        assert_eq!(
            (a.name.as_str(), a.seconds(), a.ratio_to(&a)),
            ("a", 1.0, 1.0)
        );
        assert_eq!(
            (b.name.as_str(), b.seconds(), b.ratio_to(&a)),
            ("b", 3.0, 2.5)
        );
        let order = std::fs::read_to_string(log).unwrap();
        assert_eq!(order, "a\nb\na\nb\na\nb\n");
    }

    #[test]
    fn each_start_is_a_new_process() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = format!(
            "echo new >> {}; echo ready; read -r _; echo 2",
            log.display()
        );
        let turns = Turns { starts: 3, each: 1 };
        let timings = take_turns(vec![shell("a", &script)], turns).unwrap();
        assert_eq!((timings[0].seconds(), timings.len()), (2.0, 1));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "new\nnew\nnew\n");
    }

    #[test]
    fn a_whole_process_is_timed_and_its_failure_reported() {
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
