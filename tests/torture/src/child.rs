//! Work in processes of their own: a file that crashes, hangs or grows one of them fails its own case
//! and no other.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Verdict;
use crate::blocks::{parsers, videos};

/// The argument that makes this program a child.
pub const ARGUMENT: &str = "child";

/// Seconds of processor time for one request.
const PATIENCE: Duration = Duration::from_secs(15);
/// Requests that a child answers before another takes its place.
const REQUESTS: usize = 500;

/// The work of a child.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Decodes as the command line does, in the process.
    Plain,
    /// Decodes as the server does, confined.
    Confined,
    /// Parses.
    Parser,
}

/// The end of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    /// The variant of the error.
    Refused(String),
    /// A broken promise, in words.
    Failed(String),
}

/// Reads requests from standard input until it is closed.
///
/// # Errors
/// Standard input or output is gone, or the confinement fails.
pub fn run(kind: &str, slot: &Path) -> Result<()> {
    match serde_json::from_str(kind)? {
        Kind::Plain => answer(videos::plain),
        Kind::Confined => {
            let file = File::open(slot)?;
            serve::confine_decoding()?;
            answer(move |request| videos::confined(&file, request))
        }
        Kind::Parser => {
            crate::keep_panics();
            answer(parsers::parse)
        }
    }
}

fn answer<T: DeserializeOwned>(work: impl Fn(&T) -> Reply) -> Result<()> {
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line)? > 0 {
        let reply = work(&serde_json::from_str(&line)?);
        println!("{}", serde_json::to_string(&reply)?);
        line.clear();
    }
    Ok(())
}

/// A running child.
struct Child {
    process: Process,
    input: ChildStdin,
    replies: Receiver<String>,
    /// The file that a confined child reads, its errors.
    slot: PathBuf,
    asked: usize,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Children that wait for work.
pub(crate) struct Pool {
    kind: Kind,
    folder: PathBuf,
    idle: Mutex<Vec<Child>>,
    started: std::sync::atomic::AtomicUsize,
}

impl Pool {
    /// Children of this kind, with their files in `folder`.
    pub(crate) fn new(kind: Kind, folder: &Path) -> Self {
        Self {
            kind,
            folder: folder.into(),
            idle: Mutex::default(),
            started: std::sync::atomic::AtomicUsize::default(),
        }
    }

    fn start(&self) -> Result<Child> {
        let number = self
            .started
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let slot = self.folder.join(format!("{:?}-{number}", self.kind));
        File::create(&slot)?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(serde_json::to_string(&self.kind)?)
            .arg(&slot)
            .env("OMP_NUM_THREADS", "1")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(slot.with_extension("stderr"))?)
            .spawn()?;
        let (sender, replies) = channel();
        let output = process.stdout.take().context("no output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Ok(Child {
            input: process.stdin.take().context("no input")?,
            process,
            replies,
            slot,
            asked: 0,
        })
    }

    /// Has a child work on `request`, with `bytes` in its file if it is confined, and fails if it takes
    /// more than 15 s of processor time or grows by more than `memory` bytes.
    pub(crate) fn ask(
        &self,
        request: &impl Serialize,
        bytes: Option<&[u8]>,
        memory: u64,
    ) -> Result<Reply, String> {
        let words = |error: anyhow::Error| format!("no child: {error:#}");
        let idle = self.idle.lock().unwrap().pop();
        let mut child = match idle {
            Some(child) => child,
            None => self.start().map_err(words)?,
        };
        if let Some(bytes) = bytes {
            fs::write(&child.slot, bytes).map_err(|error| words(error.into()))?;
        }
        let mut line = serde_json::to_string(request).map_err(|error| words(error.into()))?;
        line.push('\n');
        let id = child.process.id();
        // The peak starts again from the present size.
        let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
        let before = status(id, "VmHWM").unwrap_or(u64::MAX);
        let began = (Instant::now(), processor(id));
        let _ = child.input.write_all(line.as_bytes());
        loop {
            match child.replies.recv_timeout(Duration::from_secs(1)) {
                Ok(line) => {
                    let grown = status(id, "VmHWM").unwrap_or(0).saturating_sub(before);
                    child.asked += 1;
                    if child.asked < REQUESTS {
                        self.idle.lock().unwrap().push(child);
                    }
                    if grown > memory {
                        return Err(format!("grew by {} MiB", grown >> 20));
                    }
                    return serde_json::from_str(&line).map_err(|error| words(error.into()));
                }
                // A machine with other work may need longer than the child does.
                Err(RecvTimeoutError::Timeout) => {
                    let used = processor(id).saturating_sub(began.1);
                    if used > PATIENCE || began.0.elapsed() > 20 * PATIENCE {
                        return Err(format!("no answer after {used:?} of processor time"));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = child.process.wait().map(|status| status.to_string());
                    let said = fs::read_to_string(child.slot.with_extension("stderr"));
                    let said = said.unwrap_or_default();
                    let last: Vec<&str> = said.lines().rev().take(3).collect();
                    return Err(format!("ended the process ({status:?}): {last:?}"));
                }
            }
        }
    }
}

/// Keeps an input that failed; where.
pub(crate) fn keep(folder: &Path, name: &str, number: u64, input: &[u8]) -> String {
    let path = folder.join(format!("{name}-{number}"));
    let _ = fs::create_dir_all(folder);
    let _ = fs::write(&path, input);
    path.display().to_string()
}

/// The verdict of a reply.
pub(crate) fn verdict(reply: Reply) -> Result<Verdict, String> {
    match reply {
        Reply::Done => Ok(Verdict::Done),
        Reply::Refused(_) => Ok(Verdict::Refused),
        Reply::Failed(words) => Err(words),
    }
}

/// A size of a process, in bytes.
fn status(id: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

/// The processor time of a process.
fn processor(id: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}
