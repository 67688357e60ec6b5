//! The log of a run: a progress bar on stderr, JSON lines, TensorBoard events.

mod events;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
pub use events::Events;

/// The log entry of one step, a line with a checksum. No times: the log of a resumed run equals an uninterrupted one's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps done, including this one.
    pub step: u64,
    /// Its epoch, counted from 0.
    pub epoch: u64,
    /// Mean loss over its clips.
    pub loss: f64,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Norm of its gradients before clipping.
    pub gradient_norm: f64,
    /// Fraction of its clips whose own class has the highest score.
    pub top1: f64,
    /// Clips of the batch that could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// The log of one training run, in its folder.
#[derive(Debug)]
pub struct RunLog {
    lines: File,
    path: PathBuf,
    events: Events,
    bar: ProgressBar,
    plain: Option<PlainLines>,
    started: Instant,
    clips: u64,
}

/// Plain progress lines, if stderr is not a terminal.
#[derive(Debug)]
struct PlainLines {
    last: Instant,
    every: Duration,
    total: u64,
}

impl RunLog {
    /// Opens `folder/log.jsonl` and an event file for a run of `steps` that continues after
    /// step `done`: later lines, written by a killed run, are dropped.
    ///
    /// # Errors
    /// [`Error::Disk`]; [`Error::Syntax`] if a line up to that step is missing or has changed.
    pub fn open(folder: &Path, done: u64, steps: u64, quiet: bool) -> Result<Self> {
        disk::make_folder(folder)?;
        let path = folder.join("log.jsonl");
        let kept = lines_until(&path, done)?;
        disk::write(&path, kept.as_bytes())?;
        let lines = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(Error::file("cannot open", &path))?;
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            progress_bar(steps, "{bar:20} {pos}/{len} {msg} {eta} left")
        };
        bar.set_position(done);
        let plain = (!quiet && bar.is_hidden()).then(|| PlainLines {
            last: Instant::now(),
            every: Duration::from_secs(10),
            total: steps,
        });
        Ok(Self {
            lines,
            path,
            events: Events::create(folder, done)?,
            bar,
            plain,
            started: Instant::now(),
            clips: 0,
        })
    }

    /// Records one step over `clips` clips.
    ///
    /// # Errors
    /// [`Error::Disk`], e.g. if the disk is full.
    pub fn step(&mut self, record: &StepRecord, clips: usize) -> Result<()> {
        self.lines
            .write_all(line(record)?.as_bytes())
            .map_err(Error::file("cannot write", &self.path))?;
        self.clips += clips as u64;
        let rate = self.clips as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        for (tag, value) in [
            ("train/loss", record.loss),
            ("train/learning_rate", record.learning_rate),
            ("train/gradient_norm", record.gradient_norm),
            ("train/top1", record.top1),
            ("speed/clips_per_second", rate),
        ] {
            self.events.scalar(tag, record.step, value as f32)?;
        }
        let message = format!(
            "loss {:.4} lr {:.1e} {rate:.0} clips/s",
            record.loss, record.learning_rate
        );
        if let Some(plain) = &mut self.plain
            && (plain.last.elapsed() >= plain.every || record.step == plain.total)
        {
            plain.last = Instant::now();
            eprintln!("step {}/{} {message}", record.step, plain.total);
        }
        self.bar.set_message(message);
        self.bar.set_position(record.step);
        Ok(())
    }

    /// Writes what is buffered; called with every checkpoint.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn sync(&mut self) -> Result<()> {
        self.events.flush()?;
        self.lines
            .sync_data()
            .map_err(Error::file("cannot sync", &self.path))
    }

    /// Clears the progress bar.
    pub fn close(&mut self) -> Result<()> {
        self.bar.finish_and_clear();
        self.sync()
    }
}

/// A progress bar on stderr in `template`, hidden if stderr is not a terminal.
pub fn progress_bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(8));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The steps in a log file, in order; none if there is no file. A last line truncated by a kill
/// is dropped.
///
/// # Errors
/// [`Error::Disk`]; [`Error::Syntax`] for a whole line that is not the next step, or has changed.
pub fn read_steps(path: &Path) -> Result<Vec<StepRecord>> {
    let text = read(path)?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let lines = text.get(..whole).unwrap_or_default().lines();
    let records = (1..)
        .zip(lines)
        .map(|(step, line)| record(path, step, line));
    records.collect()
}

/// The lines of the steps up to `done`, verbatim: numbers are not parsed and written again. Those of a
/// killed run that follow may be anything.
fn lines_until(path: &Path, done: u64) -> Result<String> {
    let text = read(path)?;
    let mut lines = text.split_inclusive('\n');
    let mut kept = String::new();
    for step in 1..=done {
        // The next line would go on with one that has no end.
        let line = lines.next().and_then(|line| line.strip_suffix('\n'));
        let line = line.unwrap_or_default();
        record(path, step, line)?;
        kept += line;
        kept.push('\n');
    }
    Ok(kept)
}

fn read(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::file("cannot read", path)(error)),
    }
}

/// The name of a line's checksum, its last field.
const CHECKSUM: &str = ",\"crc32c\":\"";

/// The line of a step.
pub(crate) fn line(record: &StepRecord) -> Result<String> {
    let text = serde_json::to_string(record).map_err(|error| Error::Syntax {
        origin: "log.jsonl".into(),
        reason: error.to_string(),
    })?;
    let body = text.strip_suffix('}').unwrap_or(&text);
    Ok(format!(
        "{body}{CHECKSUM}{:08x}\"}}\n",
        crc32c::crc32c(body.as_bytes())
    ))
}

/// The record in a line, which has to be that of `step`.
fn record(path: &Path, step: u64, line: &str) -> Result<StepRecord> {
    let broken = |reason: String| Error::Syntax {
        origin: format!("{}, line {step}", path.display()),
        reason,
    };
    if line.is_empty() {
        return Err(broken("is missing".into()));
    }
    let (body, sum) = line.rsplit_once(CHECKSUM).ok_or_else(|| {
        broken("has no checksum: it has changed, or is of an earlier version".into())
    })?;
    if sum != format!("{:08x}\"}}", crc32c::crc32c(body.as_bytes())) {
        return Err(broken("has changed: its checksum differs".into()));
    }
    let record: StepRecord =
        serde_json::from_str(&format!("{body}}}")).map_err(|error| broken(error.to_string()))?;
    match record.step == step {
        true => Ok(record),
        false => Err(broken(format!("expected step {step}, got {}", record.step))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn made(step: u64) -> StepRecord {
        StepRecord {
            step,
            epoch: 0,
            loss: 1.0 / step as f64,
            learning_rate: 1e-3,
            gradient_norm: 0.1,
            top1: 0.5,
            skipped: Vec::new(),
        }
    }

    #[test]
    fn a_resumed_log_equals_one_never_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let (straight, killed) = (folder.path().join("a"), folder.path().join("b"));
        let write = |folder: &Path, done: u64, steps: std::ops::RangeInclusive<u64>| {
            let mut log = RunLog::open(folder, done, 9, true).unwrap();
            for step in steps {
                log.step(&made(step), 4).unwrap();
            }
            log.close().unwrap();
        };
        write(&straight, 0, 1..=9);
        write(&killed, 0, 1..=7);
        // Killed in the middle of a line, resumed from the checkpoint after step 5.
        let path = killed.join("log.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"step\": 8, \"epo").unwrap();
        write(&killed, 5, 6..=9);
        assert_eq!(
            fs::read(straight.join("log.jsonl")).unwrap(),
            fs::read(path).unwrap()
        );
    }

    #[test]
    fn a_line_that_changed_or_is_missing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let good: Vec<String> = (1..4).map(|step| line(&made(step)).unwrap()).collect();
        let text = good.concat();
        let refused = |text: &str, words: &str| {
            fs::write(&path, text).unwrap();
            for result in [
                read_steps(&path).map(|_| ()),
                RunLog::open(folder.path(), 3, 9, true).map(|_| ()),
            ] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
            }
        };
        refused(&text.replace("0.1", "0.2"), "line 1: has changed");
        refused(
            &format!("{}{}", good[0], good[2]),
            "line 2: expected step 2, got 3",
        );
        refused(&text.replace("crc32c", "crc32d"), "line 1: has no checksum");
        for cut in [good[..2].concat(), text.trim_end().to_owned()] {
            fs::write(&path, cut).unwrap();
            let error = RunLog::open(folder.path(), 3, 9, true).unwrap_err();
            assert!(error.to_string().contains("line 3: is missing"), "{error}");
        }
        // Behind the checkpoint a power cut may leave anything.
        fs::write(&path, text + "\0\0\0\n").unwrap();
        RunLog::open(folder.path(), 3, 9, true).unwrap();
        assert_eq!(read_steps(&path).unwrap().len(), 3);
    }
}
