//! The log of a run: a progress bar on stderr, JSON lines, TensorBoard events.

mod events;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
pub use events::Events;

/// The log entry of one step. No times: the log of a resumed run equals an uninterrupted one's.
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
    /// [`Error::Disk`].
    pub fn open(folder: &Path, done: u64, steps: u64, quiet: bool) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::file("cannot create", folder))?;
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
/// [`Error::Disk`]; [`Error::Syntax`] for a broken line before the last.
pub fn read_steps(path: &Path) -> Result<Vec<StepRecord>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = fs::read(path).map_err(Error::file("cannot read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut records = Vec::new();
    let count = text.lines().count();
    for (index, text) in text.lines().enumerate() {
        match serde_json::from_str(text) {
            Ok(record) => records.push(record),
            Err(_) if index + 1 == count => {}
            Err(error) => {
                return Err(Error::Syntax {
                    origin: format!("{}, line {}", path.display(), index + 1),
                    reason: error.to_string(),
                });
            }
        }
    }
    Ok(records)
}

/// The lines of steps up to `done`, verbatim: numbers are not parsed and written again.
fn lines_until(path: &Path, done: u64) -> Result<String> {
    let count = read_steps(path)?
        .iter()
        .filter(|record| record.step <= done)
        .count();
    if count == 0 {
        return Ok(String::new());
    }
    let bytes = fs::read(path).map_err(Error::file("cannot read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.split_inclusive('\n').take(count).collect())
}

fn line(record: &StepRecord) -> Result<String> {
    serde_json::to_string(record)
        .map(|text| text + "\n")
        .map_err(|error| Error::Syntax {
            origin: "log.jsonl".into(),
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn record(step: u64) -> StepRecord {
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
                log.step(&record(step), 4).unwrap();
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
    fn a_broken_line_in_the_middle_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, "{}\n{\"step\":1}\n").unwrap();
        let error = read_steps(&path).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
