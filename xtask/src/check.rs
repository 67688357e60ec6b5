//! `cargo xtask test`: all checks, the cheapest first.
//!
//! All steps run, even after a failure. The last line of stdout is the total over the tests; any
//! other step that fails counts as one failure.

use std::io::{IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use console::strip_ansi_codes;

use crate::setup::linking;
use crate::workspace::{self, cargo, output_of};
use crate::{Result, dist, docs, hygiene, layering, needs, setup, supply_chain, torture};

/// Numbers of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    /// Failed tests, and other failed steps.
    failed: u64,
    /// Tests that cannot run on this machine, and ignored ones.
    skipped: u64,
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

/// The result of a step.
#[derive(Debug, PartialEq)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
    /// Counted tests, and whether the runner succeeded.
    Tests(Count, bool),
}

/// A separate project that uses the crates of this workspace.
const OUTSIDE: &str = "tests/outside";

/// A step and its name.
type Step = (&'static str, fn(&Path) -> Outcome);

const STEPS: [Step; 13] = [
    ("fmt", fmt),
    ("layering", layering),
    ("hygiene", hygiene),
    ("licences", licences),
    ("unused", unused),
    ("pages", pages),
    ("clippy", clippy),
    ("tests", tests),
    ("doc tests", doc_tests),
    ("outside", outside),
    ("torture", torture),
    ("rustdoc", rustdoc),
    ("release", release),
];

/// Runs all steps and returns whether they succeeded.
///
/// # Errors
/// The set-up before them fails.
pub fn run() -> Result<bool> {
    setup::ensure_for_tests()?;
    let root = workspace::root();
    let started = Instant::now();
    let mut total = Count::default();
    let mut lines = Vec::new();
    for (name, step) in STEPS {
        eprintln!("\n== {name}");
        let step_started = Instant::now();
        let outcome = step(&root);
        let line = summary(name, &outcome, step_started.elapsed());
        eprintln!("{line}");
        lines.push(line);
        total += counted(&outcome);
    }
    eprintln!();
    workspace::print(&lines.join("\n"));
    for group in skipped_groups(&root) {
        workspace::print(&format!("skipped    {group}"));
    }
    workspace::print(&format!("total      {}", seconds(started.elapsed())));
    workspace::print(&total.to_string());
    Ok(total.failed == 0)
}

/// Runs the tests that kill, stop and cut off the ranks of a training; whether they passed.
///
/// # Errors
/// The machine cannot be set up.
pub fn faults() -> Result<bool> {
    setup::ensure()?;
    let root = workspace::root();
    let line = "test -p trainer --test end_to_end -- --ignored --nocapture --test-threads 1 \
                faults::needs_minutes::";
    let outcome = run_step(
        &mut cargo_line(&root, line),
        "a fault was not noticed, or not resumed from",
    );
    eprintln!("{}", summary("faults", &outcome, Duration::ZERO));
    Ok(matches!(outcome, Outcome::Passed))
}

/// The contribution of a step to the total.
fn counted(outcome: &Outcome) -> Count {
    let mut count = match outcome {
        Outcome::Passed | Outcome::Skipped(_) | Outcome::Failed(_) => Count::default(),
        Outcome::Tests(count, _) => *count,
    };
    // A runner that fails without a failed test, such as one that does not build, counts too.
    if matches!(outcome, Outcome::Failed(_) | Outcome::Tests(_, false)) {
        count.failed = count.failed.max(1);
    }
    count
}

fn summary(name: &str, outcome: &Outcome, time: Duration) -> String {
    let result = match outcome {
        Outcome::Passed => "ok".into(),
        Outcome::Failed(reason) => format!("FAILED: {reason}"),
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
        Outcome::Tests(count, true) => format!("ok: {count}"),
        Outcome::Tests(count, false) => format!("FAILED: {count}"),
    };
    format!("{name:<10} {:>8}  {result}", seconds(time))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// `cargo` in `root` with the words of a command line.
fn cargo_line(root: &Path, line: &str) -> Command {
    let mut command = cargo(root);
    command.args(line.split_whitespace());
    command
}

fn fmt(root: &Path) -> Outcome {
    let mut inside = cargo_line(root, "fmt --all -- --check");
    match run_step(&mut inside, "run `cargo fmt --all`") {
        Outcome::Passed => run_step(
            &mut cargo_line(&root.join(OUTSIDE), "fmt -- --check"),
            "run `cargo fmt` in tests/outside",
        ),
        other => other,
    }
}

fn layering(root: &Path) -> Outcome {
    let found = layering::metadata(root).and_then(|metadata| {
        let mut all = layering::violations(&metadata);
        all.extend(layering::native_dependencies_of_xtask(root)?);
        Ok(all)
    });
    report(found, "forbidden dependencies")
}

fn hygiene(root: &Path) -> Outcome {
    if !root.join(".git").exists() {
        return Outcome::Skipped("not a git checkout");
    }
    report(hygiene::findings(root), "findings")
}

/// Links, quoted messages and marks in the documentation.
fn pages(root: &Path) -> Outcome {
    if !root.join(".git").exists() {
        return Outcome::Skipped("not a git checkout");
    }
    report(docs::findings(root), "findings")
}

fn report(found: Result<Vec<String>>, what: &str) -> Outcome {
    match found {
        Ok(all) if all.is_empty() => Outcome::Passed,
        Ok(all) => {
            for line in &all {
                eprintln!("{line}");
            }
            Outcome::Failed(format!("{} {what}", all.len()))
        }
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

fn licences(root: &Path) -> Outcome {
    finding(supply_chain::licences(root))
}

fn unused(root: &Path) -> Outcome {
    finding(supply_chain::unused(root))
}

fn finding(checked: Result<()>) -> Outcome {
    match checked {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn clippy(root: &Path) -> Outcome {
    let mut clippy = cargo_line(root, "clippy --workspace --all-targets -- -D warnings");
    run_step(&mut clippy, "warnings are errors")
}

fn tests(root: &Path) -> Outcome {
    let color = match std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => "--color always",
        false => "--color never",
    };
    let unmet = needs::unmet(root);
    if output_of("cargo-nextest", &["--version"]).is_some() {
        let options = "--workspace --no-fail-fast --no-tests=pass --run-ignored=all";
        let mut command = cargo_line(root, &format!("nextest run {options} {color}"));
        command.args(["--filterset", &needs::filter(&unmet)]);
        return run_tests(&mut command, "Summary [");
    }
    let options = "--workspace --lib --bins --tests --no-fail-fast";
    let mut command = cargo_line(
        root,
        &format!("test {options} {color} -- --include-ignored"),
    );
    for need in unmet {
        command.args(["--skip", &need.path()]);
    }
    run_tests(&mut command, LIBTEST)
}

/// The tests that cannot run on this machine, grouped by their need.
fn skipped_groups(root: &Path) -> Vec<String> {
    let unmet = needs::unmet(root);
    if unmet.is_empty() {
        return Vec::new();
    }
    let line = "test --workspace --lib --bins --tests --quiet -- --list";
    let mut command = cargo_line(root, line);
    command.args(unmet.iter().map(|need| need.path()));
    let listed = workspace::output(&mut command).unwrap_or_default();
    let groups = unmet.iter().filter_map(|need| need.skipped(&listed));
    groups.collect()
}

fn doc_tests(root: &Path) -> Outcome {
    let mut command = cargo_line(root, "test --workspace --doc --no-fail-fast");
    run_tests(&mut command, LIBTEST)
}

/// Builds and runs a project that uses the crates. It runs in a folder without our cargo
/// configuration, and gets libtorch as described in the README files of the crates.
fn outside(root: &Path) -> Outcome {
    let elsewhere = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(e) => return Outcome::Failed(e.to_string()),
    };
    let Some(written) = linking::read(root) else {
        return Outcome::Failed("run `cargo xtask setup`".into());
    };
    let variable = match std::env::consts::OS {
        "macos" => "DYLD_LIBRARY_PATH",
        _ => "LD_LIBRARY_PATH",
    };
    let mut search = written.libtorch.join("lib").into_os_string();
    if let Some(inherited) = std::env::var_os(variable) {
        search.push(":");
        search.push(inherited);
    }
    run_step(
        cargo_line(elsewhere.path(), "run --locked --manifest-path")
            .arg(root.join(OUTSIDE).join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", workspace::target(root).join("outside"))
            .env("LIBTORCH", written.libtorch)
            .env(variable, search),
        "see tests/outside",
    )
}

/// The share of the campaign: at most two minutes.
fn torture(root: &Path) -> Outcome {
    let options = torture::Options {
        share: true,
        seed: 1,
        ..torture::Options::default()
    };
    match torture::prepared(&options, root) {
        Ok(mut command) => run_step(&mut command, "a promise was broken; see its table"),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn rustdoc(root: &Path) -> Outcome {
    let flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    let mut command = cargo_line(root, "doc --workspace --no-deps");
    // This replaces the run-time search path of libtorch, which is not needed without linking.
    command.env("RUSTDOCFLAGS", format!("{flags} -D warnings"));
    run_step(&mut command, "warnings are errors")
}

/// The folder of a release with the development build, in an empty root.
fn release(root: &Path) -> Outcome {
    match dist::try_development(root) {
        Ok(None) => Outcome::Passed,
        Ok(Some(reason)) => Outcome::Skipped(reason),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Runs `command`; `fix` describes a failure.
fn run_step(command: &mut Command, fix: &str) -> Outcome {
    match command.stdout(std::io::stderr()).status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(_) => Outcome::Failed(fix.into()),
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

/// Runs `command` and counts the tests in the lines of its output that start with `prefix`.
fn run_tests(command: &mut Command, prefix: &str) -> Outcome {
    // As many tests run at once as there are processors: one thread each is enough.
    if std::env::var_os("OMP_NUM_THREADS").is_none() {
        command.env("OMP_NUM_THREADS", "1");
    }
    match run_and_copy(command) {
        Ok((text, succeeded)) => Outcome::Tests(count_tests(&text, prefix), succeeded),
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

/// Runs `command` with its output copied to our stderr. Returns the output and whether it
/// succeeded.
fn run_and_copy(command: &mut Command) -> std::io::Result<(String, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take();
    let err = child.stderr.take();
    let other = std::thread::spawn(move || err.map(copy).unwrap_or_default());
    let mut bytes = out.map(copy).unwrap_or_default();
    bytes.extend(other.join().unwrap_or_default());
    let succeeded = child.wait()?.success();
    Ok((String::from_utf8_lossy(&bytes).into_owned(), succeeded))
}

fn copy(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let some = buffer.get(..count).unwrap_or_default();
        let _ = std::io::stderr().write_all(some);
        all.extend_from_slice(some);
    }
    all
}

/// The start of the summary of a test binary.
const LIBTEST: &str = "test result:";

/// Sums the numbers in the summaries of nextest or of the test harness:
/// `Summary [ 1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`,
/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out`.
fn count_tests(text: &str, prefix: &str) -> Count {
    let text = strip_ansi_codes(text);
    let lines = text.lines().map(str::trim_start);
    let mut total = Count::default();
    for line in lines.filter(|line| line.starts_with(prefix)) {
        let words = line.split(|c: char| !c.is_alphanumeric());
        let mut number: Option<u64> = None;
        for word in words.filter(|word| !word.is_empty()) {
            match (word, number) {
                ("passed", Some(count)) => total.passed += count,
                // "2 failed, 1 timed out, 1 exec failed"
                ("failed" | "timed" | "exec", Some(count)) => total.failed += count,
                // Tests whose need is not met are filtered out.
                ("skipped" | "ignored" | "filtered", Some(count)) => total.skipped += count,
                _ => {}
            }
            number = word.parse().ok();
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, failed: u64, skipped: u64) -> Count {
        Count {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn the_summary_of_nextest_is_counted() {
        for (line, expected) in [
            (
                "     Summary [   0.003s] 3 tests run: 3 passed, 0 skipped",
                count(3, 0, 0),
            ),
            (
                "     Summary [  30.1s] 12/14 tests run: 9 passed (1 slow, 1 flaky), 2 failed, \
                 1 timed out, 1 exec failed, 5 skipped",
                count(9, 4, 5),
            ),
            (
                "     Summary [   0.001s] 0 tests run: 0 passed, 4 skipped",
                count(0, 0, 4),
            ),
            ("error: could not compile", count(0, 0, 0)),
        ] {
            assert_eq!(count_tests(line, "Summary ["), expected, "{line}");
            let colored = line.replace("Summary", "\u{1b}[32;1mSummary\u{1b}[0m");
            assert_eq!(count_tests(&colored, "Summary ["), expected, "{colored:?}");
        }
    }

    #[test]
    fn the_summaries_of_the_harness_are_added() {
        let text = "test a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; \
            finished in 0.01s\n\ntest result: \u{1b}[31mFAILED\u{1b}[0m. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(count_tests(text, LIBTEST), count(4, 2, 3));
    }

    #[test]
    fn every_failed_step_is_in_the_total() {
        for (outcome, expected) in [
            (Outcome::Passed, count(0, 0, 0)),
            (Outcome::Failed("x".into()), count(0, 1, 0)),
            (Outcome::Tests(count(3, 0, 1), true), count(3, 0, 1)),
            (Outcome::Tests(count(3, 2, 0), false), count(3, 2, 0)),
            // The tests did not build.
            (Outcome::Tests(count(0, 0, 0), false), count(0, 1, 0)),
        ] {
            assert_eq!(counted(&outcome), expected, "{outcome:?}");
        }
        assert_eq!(count(1, 2, 3).to_string(), "1 passed, 2 failed, 3 skipped");
    }
}
