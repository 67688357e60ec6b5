//! A part's Markdown, appended row by row, so that a part that is stopped leaves its rows.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The file of one part.
#[derive(Debug)]
pub(crate) struct Table {
    file: File,
    failures: usize,
}

impl Table {
    /// Starts `<folder>/<part>.md` with a heading.
    pub(crate) fn create(folder: &Path, part: &str, heading: &str) -> Result<Self> {
        let path = folder.join(format!("{part}.md"));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()));
        let mut table = Self {
            file: file?,
            failures: 0,
        };
        table.line(&format!("## {heading}\n"))?;
        Ok(table)
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        eprintln!("{text}");
        writeln!(self.file, "{text}").context("cannot write the table")
    }

    pub(crate) fn columns(&mut self, names: &[&str]) -> Result<()> {
        let rule = "---|".repeat(names.len());
        self.line(&format!("| {} |\n|{rule}", names.join(" | ")))
    }

    pub(crate) fn row(&mut self, cells: &[String]) -> Result<()> {
        self.line(&format!("| {} |", cells.join(" | ")))
    }

    /// A last cell, counted if it is a failure.
    pub(crate) fn verdict(&mut self, holds: bool) -> String {
        self.failures += usize::from(!holds);
        (if holds { "ok" } else { "**FAILS**" }).into()
    }

    /// The number of failures, also as the last line.
    pub(crate) fn finish(mut self) -> Result<usize> {
        self.line(&format!("\n{} failures in this part.\n", self.failures))?;
        Ok(self.failures)
    }
}

pub(crate) fn precision(kind: tch::Kind) -> &'static str {
    match kind {
        tch::Kind::BFloat16 => "bf16",
        tch::Kind::Half => "fp16",
        _ => "fp32",
    }
}
