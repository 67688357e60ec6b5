//! The table at the end of a campaign.

use std::fmt::Write as _;

use crate::Block;
use crate::journal::{End, Journal};

/// The row of a block.
#[derive(Debug, Default)]
pub(crate) struct Row {
    number: u8,
    name: &'static str,
    cases: u64,
    done: u64,
    refused: u64,
    failures: Vec<(u64, String)>,
    seconds: f64,
}

impl Row {
    /// The row of `block`, whose cases took `seconds` of the clock.
    pub(crate) fn of(block: &Block, journal: &Journal, seconds: f64) -> Self {
        let mut row = Self {
            number: block.number,
            name: block.name,
            seconds,
            ..Self::default()
        };
        for ran in journal.ran.values() {
            row.cases += 1;
            match &ran.end {
                End::Done => row.done += 1,
                End::Refused => row.refused += 1,
                End::Failed(words) => row.failures.push((ran.case, words.clone())),
            }
        }
        row
    }

    /// Whether every case kept its promise.
    pub(crate) fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }
}

/// The rows, their sum, and how to replay each failure.
pub(crate) fn table(rows: &[Row], seed: u64) -> String {
    let mut text = String::new();
    let mut line = |cells: [&str; 7]| {
        let [number, name, cases, done, refused, failures, seconds] = cells;
        let _ = writeln!(
            text,
            "| {number:>2} | {name:<12} | {cases:>7} | {done:>7} | {refused:>7} | {failures:>8} | {seconds:>7} |"
        );
    };
    line([
        "", "block", "cases", "done", "refused", "failures", "seconds",
    ]);
    line(["--:", "---", "--:", "--:", "--:", "--:", "--:"]);
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let (cases, done, refused) = (sum(|r| r.cases), sum(|r| r.done), sum(|r| r.refused));
    let failed = rows.iter().map(|row| row.failures.len()).sum::<usize>();
    for row in rows {
        let count = |count: u64| count.to_string();
        line([
            &count(row.number.into()),
            row.name,
            &count(row.cases),
            &count(row.done),
            &count(row.refused),
            &row.failures.len().to_string(),
            &format!("{:.1}", row.seconds),
        ]);
    }
    line([
        "",
        "all",
        &cases.to_string(),
        &done.to_string(),
        &refused.to_string(),
        &failed.to_string(),
        &format!("{:.1}", rows.iter().map(|row| row.seconds).sum::<f64>()),
    ]);
    let _ = write!(text, "\nSeed {seed}.");
    for row in rows {
        for (case, words) in &row.failures {
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            let name = row.name;
            let _ = write!(
                text,
                "\n{name} {case}: {words}\n    cargo xtask torture {name} --seed {seed} --case {case}"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_at_most_80_columns_wide_and_says_how_to_replay() {
        let row = Row {
            number: 6,
            name: "parsers",
            cases: 1_000_000,
            done: 999_999,
            refused: 0,
            failures: vec![(17, "two\nlines".into())],
            seconds: 3600.04,
        };
        let text = table(&[row], 5);
        let (table, rest) = text.split_once("\n\n").unwrap();
        assert!(table.lines().all(|line| line.chars().count() <= 80));
        assert!(table.contains("|  6 | parsers      | 1000000 |"), "{table}");
        assert!(
            rest.contains(
                "parsers 17: two lines\n    cargo xtask torture parsers --seed 5 --case 17"
            )
        );
    }
}
