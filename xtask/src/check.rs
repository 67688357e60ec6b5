//! `cargo xtask test`: the whole check, the cheapest first.
//!
//! Every step runs even when an earlier one has failed, so that one run tells all. The
//! last line of stdout is the total over the tests; a step that is no test and fails
//! counts as one failure.

use std::io::{IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::setup::linking;
use crate::workspace::{self, cargo, output_of};
use crate::{Result, hygiene, layering, needs, setup};

/// Tests counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and steps that failed without being tests.
    pub failed: u64,
    /// Tests that this machine cannot run, or that their authors left out.
    pub skipped: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// How a step ended.
#[derive(Debug, PartialEq)]
enum Outcome {
    Fine,
    Failed(String),
    Skipped(&'static str),
    Tests(Count, bool),
}

/// The project outside this workspace.
const OUTSIDE: &str = "tests/outside";

struct Step {
    name: &'static str,
    run: fn(&Path) -> Outcome,
}

const STEPS: [Step; 9] = [
    Step {
        name: "fmt",
        run: fmt,
    },
    Step {
        name: "layering",
        run: layers,
    },
    Step {
        name: "hygiene",
        run: clean,
    },
    Step {
        name: "licences",
        run: deny,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "tests",
        run: tests,
    },
    Step {
        name: "doc tests",
        run: doc_tests,
    },
    Step {
        name: "outside",
        run: outside,
    },
    Step {
        name: "rustdoc",
        run: rustdoc,
    },
];

/// Runs the whole check; says whether all is well.
///
/// # Errors
/// Only from the set-up that comes first.
pub fn run() -> Result<bool> {
    setup::ensure()?;
    let root = workspace::root();
    let started = Instant::now();
    let mut total = Count::default();
    let mut lines = Vec::new();
    for step in STEPS {
        eprintln!("\n== {}", step.name);
        let began = Instant::now();
        let outcome = (step.run)(&root);
        let line = summary(step.name, &outcome, began.elapsed());
        eprintln!("{line}");
        lines.push(line);
        total += counted(&outcome);
    }
    eprintln!();
    workspace::print(&lines.join("\n"));
    for group in left_out(&root) {
        workspace::print(&format!("skipped    {group}"));
    }
    workspace::print(&format!("total      {}", seconds(started.elapsed())));
    workspace::print(&total.to_string());
    Ok(total.failed == 0)
}

/// What a step adds to the total.
fn counted(outcome: &Outcome) -> Count {
    match outcome {
        Outcome::Fine | Outcome::Skipped(_) => Count::default(),
        Outcome::Failed(_) => Count {
            failed: 1,
            ..Count::default()
        },
        // A runner that fails without a failed test did not get to run them.
        Outcome::Tests(count, fine) => {
            let unseen = u64::from(!fine && count.failed == 0);
            Count {
                failed: count.failed + unseen,
                ..*count
            }
        }
    }
}

fn summary(name: &str, outcome: &Outcome, time: Duration) -> String {
    let time = seconds(time);
    match outcome {
        Outcome::Fine => format!("{name:<10} {time:>8}  ok"),
        Outcome::Failed(why) => format!("{name:<10} {time:>8}  FAILED: {why}"),
        Outcome::Skipped(why) => format!("{name:<10} {time:>8}  skipped: {why}"),
        Outcome::Tests(count, true) => format!("{name:<10} {time:>8}  ok: {count}"),
        Outcome::Tests(count, false) => format!("{name:<10} {time:>8}  FAILED: {count}"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn fmt(root: &Path) -> Outcome {
    let inside = plain(
        cargo(root).args(["fmt", "--all", "--", "--check"]),
        "run `cargo fmt --all`",
    );
    match inside {
        Outcome::Fine => plain(
            cargo(&root.join(OUTSIDE)).args(["fmt", "--", "--check"]),
            "run `cargo fmt` in tests/outside",
        ),
        other => other,
    }
}

fn layers(root: &Path) -> Outcome {
    let found = layering::metadata(root).and_then(|metadata| {
        let mut all = layering::violations(&metadata);
        all.extend(layering::native_needs_of_xtask(root)?);
        Ok(all)
    });
    listed(found, "edges that must not be")
}

fn clean(root: &Path) -> Outcome {
    if !root.join(".git").exists() {
        return Outcome::Skipped("not a git checkout");
    }
    listed(hygiene::findings(root), "findings")
}

fn listed(found: Result<Vec<String>>, what: &str) -> Outcome {
    match found {
        Ok(all) if all.is_empty() => Outcome::Fine,
        Ok(all) => {
            for line in &all {
                eprintln!("{line}");
            }
            Outcome::Failed(format!("{} {what}", all.len()))
        }
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

fn deny(root: &Path) -> Outcome {
    if output_of("cargo-deny", &["--version"]).is_none() {
        return Outcome::Skipped("cargo-deny is not installed");
    }
    // It reads the crates of all systems, of which a build has fetched this one's alone.
    let fetched = plain(cargo(root).args(["fetch", "--locked", "--quiet"]), "");
    if !matches!(fetched, Outcome::Fine) {
        return Outcome::Skipped("the crates of other systems could not be fetched");
    }
    plain(
        cargo(root).args(["deny", "--offline", "check", "licenses", "bans", "sources"]),
        "see deny.toml",
    )
}

fn clippy(root: &Path) -> Outcome {
    plain(
        cargo(root).args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
        "warnings are errors",
    )
}

fn tests(root: &Path) -> Outcome {
    let color = if colored() { "always" } else { "never" };
    let unmet = needs::unmet(root);
    let nextest = output_of("cargo-nextest", &["--version"]).is_some();
    let mut command = cargo(root);
    if nextest {
        command.args([
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--no-tests=pass",
            "--run-ignored=all",
            "--filterset",
        ]);
        command.args([&needs::filter(&unmet), "--color", color]);
    } else {
        command.args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
        ]);
        command.args(["--color", color, "--", "--include-ignored"]);
        for need in unmet {
            command.args(["--skip", &need.path()]);
        }
    }
    let parse = if nextest {
        parse_nextest
    } else {
        parse_libtest
    };
    counting(&mut command, parse)
}

/// The tests that this machine cannot run, by their need.
fn left_out(root: &Path) -> Vec<String> {
    let unmet = needs::unmet(root);
    let mut command = cargo(root);
    command.args(["test", "--workspace", "--lib", "--bins", "--tests"]);
    command.args(["--quiet", "--", "--list"]);
    command.args(unmet.iter().map(|need| need.path()));
    let listed = if unmet.is_empty() {
        Vec::new()
    } else {
        command
            .output()
            .map_or_else(|_| Vec::new(), |made| made.stdout)
    };
    let listed = String::from_utf8_lossy(&listed);
    let groups = unmet.iter().filter_map(|need| need.skipped(&listed));
    groups.collect()
}

fn doc_tests(root: &Path) -> Outcome {
    counting(
        cargo(root).args(["test", "--workspace", "--doc", "--no-fail-fast"]),
        parse_libtest,
    )
}

/// Builds and runs a project that uses the crates from outside: called from a folder below
/// which there is no configuration of ours, and told of libtorch as the crates' READMEs say.
fn outside(root: &Path) -> Outcome {
    let elsewhere = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(e) => return Outcome::Failed(e.to_string()),
    };
    let libtorch = match linking::read(root) {
        Some(written) => written.libtorch,
        None => return Outcome::Failed("run `cargo xtask setup`".into()),
    };
    let mut search = vec![libtorch.join("lib")];
    let variable = match std::env::consts::OS {
        "macos" => "DYLD_LIBRARY_PATH",
        _ => "LD_LIBRARY_PATH",
    };
    search.extend(
        std::env::var_os(variable)
            .iter()
            .flat_map(std::env::split_paths),
    );
    let search = match std::env::join_paths(search) {
        Ok(search) => search,
        Err(e) => return Outcome::Failed(e.to_string()),
    };
    plain(
        cargo(elsewhere.path())
            .args(["run", "--locked", "--manifest-path"])
            .arg(root.join(OUTSIDE).join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", workspace::target(root).join("outside"))
            .env("LIBTORCH", libtorch)
            .env(variable, search),
        "see tests/outside",
    )
}

fn rustdoc(root: &Path) -> Outcome {
    let flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    plain(
        cargo(root)
            .args(["doc", "--workspace", "--no-deps"])
            // Nothing is linked here, so that the search path may be left out.
            .env("RUSTDOCFLAGS", format!("{flags} -D warnings")),
        "warnings are errors",
    )
}

fn colored() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn plain(command: &mut Command, cure: &str) -> Outcome {
    match command.stdout(Stdio::from(std::io::stderr())).status() {
        Ok(status) if status.success() => Outcome::Fine,
        Ok(_) => Outcome::Failed(cure.into()),
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

fn counting(command: &mut Command, parse: fn(&str) -> Count) -> Outcome {
    match watched(command) {
        Ok((text, fine)) => Outcome::Tests(parse(&text), fine),
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

/// Runs `command` with its output on our stderr, and keeps a copy.
fn watched(command: &mut Command) -> std::io::Result<(String, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take();
    let err = child.stderr.take();
    let other = std::thread::spawn(move || err.map(copied).unwrap_or_default());
    let mut bytes = out.map(copied).unwrap_or_default();
    bytes.extend(other.join().unwrap_or_default());
    let fine = child.wait()?.success();
    Ok((String::from_utf8_lossy(&bytes).into_owned(), fine))
}

fn copied(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let some = buffer.get(..count).unwrap_or_default();
        let _ = std::io::stderr().write_all(some);
        all.extend_from_slice(some);
    }
    all
}

/// nextest's `Summary [   1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`.
fn parse_nextest(text: &str) -> Count {
    let text = without_color(text);
    let Some(line) = text
        .lines()
        .rfind(|line| line.trim_start().starts_with("Summary ["))
    else {
        return Count::default();
    };
    let results = line.split_once("run:").map_or("", |(_, results)| results);
    let number = |word: &str| -> u64 {
        let mut before = "";
        let mut sum = 0;
        for part in results
            .split([' ', ',', '(', ')'])
            .filter(|part| !part.is_empty())
        {
            if part == word {
                sum += before.parse().unwrap_or(0);
            }
            before = part;
        }
        sum
    };
    // "2 timed out", "1 exec failed"
    let odd = if results.contains("exec failed") {
        1
    } else {
        0
    };
    Count {
        passed: number("passed"),
        failed: number("failed").max(odd) + number("timed"),
        skipped: number("skipped"),
    }
}

/// The test harness's `test result: ok. 3 passed; 0 failed; 1 ignored; …`, one a binary.
fn parse_libtest(text: &str) -> Count {
    let text = without_color(text);
    let mut total = Count::default();
    for line in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("test result:"))
    {
        for part in line.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(word)) = (words.next(), words.next()) else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match word {
                "passed" => total.passed += number,
                "failed" => total.failed += number,
                // Filtered out are the tests of needs that are not met.
                "ignored" | "filtered" => total.skipped += number,
                _ => {}
            }
        }
    }
    total
}

fn without_color(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = escape
            .split_once(|c: char| c.is_ascii_alphabetic())
            .map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn count(passed: u64, failed: u64, skipped: u64) -> Count {
        Count {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn nextest_is_read() {
        for (line, expected) in [
            (
                "     Summary [   0.003s] 3 tests run: 3 passed, 0 skipped",
                count(3, 0, 0),
            ),
            (
                "     Summary [  30.1s] 12/14 tests run: 9 passed (1 slow, 1 flaky), 2 failed, \
                 1 timed out, 5 skipped",
                count(9, 3, 5),
            ),
            (
                "     Summary [   0.001s] 0 tests run: 0 passed, 4 skipped",
                count(0, 0, 4),
            ),
            ("error: could not compile", count(0, 0, 0)),
        ] {
            assert_eq!(parse_nextest(line), expected, "{line}");
            let colored = line.replace("Summary", "\u{1b}[32;1mSummary\u{1b}[0m");
            assert_eq!(parse_nextest(&colored), expected, "{colored:?}");
        }
    }

    #[test]
    fn the_harness_is_read_and_summed() {
        let text = "test a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; \
            finished in 0.01s\n\ntest result: \u{1b}[31mFAILED\u{1b}[0m. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(parse_libtest(text), count(4, 2, 3));
    }

    #[test]
    fn a_step_that_fails_is_never_lost_in_the_total() {
        assert_eq!(counted(&Outcome::Fine), count(0, 0, 0));
        assert_eq!(counted(&Outcome::Failed("x".into())), count(0, 1, 0));
        assert_eq!(
            counted(&Outcome::Tests(count(3, 0, 1), true)),
            count(3, 0, 1)
        );
        assert_eq!(
            counted(&Outcome::Tests(count(3, 2, 0), false)),
            count(3, 2, 0)
        );
        // The tests did not build.
        assert_eq!(
            counted(&Outcome::Tests(count(0, 0, 0), false)),
            count(0, 1, 0)
        );
    }

    #[test]
    fn the_total_is_one_plain_line() {
        assert_eq!(count(1, 2, 3).to_string(), "1 passed, 2 failed, 3 skipped");
    }
}
