//! The cases of a block that have run, on disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::Verdict;

/// The first line: what the cases below hold for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// SHA-256 over the programs.
    pub(crate) build: String,
    pub(crate) seed: u64,
    pub(crate) block: String,
}

/// A case that has run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ran {
    pub(crate) case: u64,
    pub(crate) end: End,
    pub(crate) seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    Done,
    Refused,
    Failed(String),
}

impl From<Result<Verdict, String>> for End {
    fn from(outcome: Result<Verdict, String>) -> Self {
        match outcome {
            Ok(Verdict::Done) => Self::Done,
            Ok(Verdict::Refused) => Self::Refused,
            Err(words) => Self::Failed(words),
        }
    }
}

/// A journal and what it holds.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Option<File>,
    pub(crate) ran: BTreeMap<u64, Ran>,
}

impl Journal {
    /// A journal that is not kept.
    pub(crate) fn none() -> Self {
        Self {
            file: None,
            ran: BTreeMap::new(),
        }
    }

    /// That at `path`, started over if it belongs to another campaign or build.
    pub(crate) fn open(path: &Path, head: &Head) -> Result<Self> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        let same = lines
            .next()
            .and_then(|line| serde_json::from_str(line).ok());
        let mut ran = BTreeMap::new();
        let file = if same.as_ref() == Some(head) {
            for line in lines {
                let one: Ran = serde_json::from_str(line)?;
                ran.insert(one.case, one);
            }
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            let file = OpenOptions::new().append(true).open(path)?;
            // A last line cut by a kill.
            file.set_len(whole as u64)?;
            file
        } else {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            let mut file = File::create(path)?;
            writeln!(file, "{}", serde_json::to_string(head)?)?;
            file
        };
        Ok(Self {
            file: Some(file),
            ran,
        })
    }

    /// Adds a case.
    pub(crate) fn add(&mut self, ran: Ran) -> Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all((serde_json::to_string(&ran)? + "\n").as_bytes())?;
        }
        self.ran.insert(ran.case, ran);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_goes_on_and_another_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7/rot.jsonl");
        let head = |build: &str| Head {
            build: build.into(),
            seed: 7,
            block: "rot".into(),
        };
        let ran = |case| Ran {
            case,
            end: End::Failed("words".into()),
            seconds: 0.5,
        };
        let mut journal = Journal::open(&path, &head("a")).unwrap();
        journal.add(ran(3)).unwrap();
        journal.add(ran(4)).unwrap();
        // Killed in the middle of a line.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 2]).unwrap();
        let mut journal = Journal::open(&path, &head("a")).unwrap();
        assert_eq!(journal.ran.keys().collect::<Vec<_>>(), [&3]);
        journal.add(ran(5)).unwrap();
        assert_eq!(Journal::open(&path, &head("a")).unwrap().ran.len(), 2);
        assert!(Journal::open(&path, &head("b")).unwrap().ran.is_empty());
    }
}
