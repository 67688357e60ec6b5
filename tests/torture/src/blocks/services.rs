//! Ranks and the server: the faults and the hostile requests of their own tests, each a case.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::trace::Captured;
use crate::{Block, Cases, Context, Random, Verdict};

pub(super) const BLOCK: Block = Block {
    number: 10,
    name: "services",
    cases: 0,
    share: 0,
    seconds: 600,
    prepare,
};

/// The longest that a test may take.
const LIMIT: Duration = Duration::from_secs(1500);

/// The 48 faults of every rank at every moment, a quarter of an hour: `cargo xtask faults` has them.
const LONG: &str = "of_every_rank_at_every_moment";

struct Services {
    program: PathBuf,
    folder: PathBuf,
    tests: Vec<String>,
}

fn prepare(context: &Context) -> Result<Box<dyn Cases>> {
    let mut build = Command::new("cargo");
    build.args([
        "test",
        "--package",
        "trainer",
        "--test",
        "end_to_end",
        "--no-run",
    ]);
    build
        .args(["--message-format", "json"])
        .current_dir(&context.root);
    let built = Captured::of(&mut build)?.wait(LIMIT)?;
    ensure!(built.code == 0, "the tests do not build: {}", built.stderr);
    let messages = built.stdout.lines();
    let messages = messages.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages
        .filter(|message| message["target"]["name"] == "end_to_end")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("no program of tests was built")?;
    // Its package's folder, as cargo starts it.
    let folder = context.root.join("crates/trainer");
    let mut list = Command::new(&program);
    list.args(["--list", "--format", "terse"])
        .current_dir(&folder);
    let listed = Captured::of(&mut list)?.wait(LIMIT)?;
    let tests = listed
        .stdout
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    let wanted = |name: &&str| {
        (name.starts_with("faults::") || name.starts_with("serve::abuse::"))
            && !name.ends_with(LONG)
    };
    let tests: Vec<String> = tests.filter(wanted).map(str::to_owned).collect();
    ensure!(!tests.is_empty(), "no tests of ranks or of the server");
    Ok(Box::new(Services {
        program,
        folder,
        tests,
    }))
}

impl Cases for Services {
    fn all(&self) -> Option<u64> {
        Some(self.tests.len() as u64)
    }

    fn run(&self, index: u64, _: &mut Random, _: &Path) -> Result<Verdict, String> {
        let test = &self.tests[index as usize % self.tests.len()];
        let mut command = Command::new(&self.program);
        command.args(["--exact", test, "--include-ignored"]);
        command
            .current_dir(&self.folder)
            .env("OMP_NUM_THREADS", "1");
        let ended = Captured::of(&mut command).and_then(|running| running.wait(LIMIT));
        let ended = ended.map_err(|error| error.to_string())?;
        match ended.code {
            0 => Ok(Verdict::Done),
            code => {
                let said = ended.stdout + &ended.stderr;
                let words = said.lines().find(|line| line.contains("panicked"));
                Err(format!("{test}: status {code}: {}", words.unwrap_or(&said)))
            }
        }
    }
}
