//! `cargo xtask torture --edits`: the campaign is itself tested. Each edit in `tests/torture/edits` takes
//! one sync, check, limit or rename away, and has to turn a block red.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use hub::sha256_of;
use serde::{Deserialize, Serialize};

use super::{Options, Settings};
use crate::places::{make_folder, write_between, write_whole};
use crate::workspace::{self, cargo, output};
use crate::{Error, Result, setup};

/// Where the patches are.
const EDITS: &str = "tests/torture/edits";
const SEED: u64 = 1;

/// A patch, with the lines before it: `promise: …` and `blocks: NAME=CASES …`.
struct Edit {
    name: String,
    path: PathBuf,
    promise: String,
    /// The blocks that may find it, the likeliest first, with as many cases.
    blocks: Vec<(String, u64)>,
}

/// The result of an edit, a line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tried {
    name: String,
    /// The commit, and the hash of the patch.
    of: String,
    /// The block that found it.
    found: Option<String>,
    /// Its first failure, or why there was none.
    words: String,
    seconds: u64,
}

/// Tries the edits of these names, or all; whether each was found.
///
/// # Errors
/// A patch is unknown, malformed, or does not apply.
pub(super) fn run(names: &[String], write: bool) -> Result<bool> {
    setup::ensure()?;
    let root = workspace::root();
    let place = workspace::target(&root).join("torture/edits");
    let copy = place.join("workspace");
    let journal = place.join("results.jsonl");
    let commit = output(
        Command::new("git")
            .args(["rev-parse", "HEAD"])
            .current_dir(&root),
    )?;
    let mut tried = read(&journal);
    let mut rows = Vec::new();
    for edit in edits(&root, names)? {
        let of = format!("{} {}", commit.trim(), sha256_of(&edit.path)?);
        let done = tried
            .iter()
            .rfind(|one| one.name == edit.name && one.of == of);
        let one = match done {
            Some(one) => one.clone(),
            None => {
                refresh(&root, &copy)?;
                let began = Instant::now();
                let (found, words) = try_one(&edit, &copy, &place)?;
                let one = Tried {
                    name: edit.name.clone(),
                    of,
                    found,
                    words,
                    seconds: began.elapsed().as_secs(),
                };
                tried.push(one.clone());
                let lines: Vec<_> = tried.iter().flat_map(serde_json::to_string).collect();
                write_whole(&journal, (lines.join("\n") + "\n").as_bytes())?;
                one
            }
        };
        let found = one.found.as_deref().unwrap_or("NOT FOUND");
        eprintln!("{}: {found}: {}", one.name, one.words);
        rows.push((edit, one));
    }
    let table = table(&rows);
    workspace::print(&table);
    if write {
        write_between(&root.join(super::PAGE), "edits", &table)?;
    }
    Ok(rows.iter().all(|(_, one)| one.found.is_some()))
}

fn read(journal: &Path) -> Vec<Tried> {
    let text = fs::read_to_string(journal).unwrap_or_default();
    text.lines().flat_map(serde_json::from_str).collect()
}

fn edits(root: &Path, names: &[String]) -> Result<Vec<Edit>> {
    let folder = root.join(EDITS);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io("cannot list", &folder))? {
        paths.push(entry.map_err(Error::io("cannot list", &folder))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "patch"));
    paths.sort();
    let all = paths.into_iter().map(edit).collect::<Result<Vec<_>>>()?;
    if let Some(unknown) = names
        .iter()
        .find(|name| all.iter().all(|edit| edit.name != **name))
    {
        return Err(Error::invalid(unknown, "no such edit"));
    }
    let is_named = |edit: &Edit| names.is_empty() || names.contains(&edit.name);
    Ok(all.into_iter().filter(is_named).collect())
}

fn edit(path: PathBuf) -> Result<Edit> {
    let text = fs::read_to_string(&path).map_err(Error::io("cannot read", &path))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
            .ok_or_else(|| Error::invalid(path.display(), format!("lacks a line {name}")))
    };
    let block = |word: &str| {
        let (name, cases) = word.split_once('=')?;
        Some((name.to_owned(), cases.parse().ok()?))
    };
    let blocks: Option<Vec<_>> = field("blocks:")?.split_whitespace().map(block).collect();
    Ok(Edit {
        name: path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        promise: field("promise:")?.to_owned(),
        blocks: blocks
            .ok_or_else(|| Error::invalid(path.display(), "expected blocks: NAME=CASES"))?,
        path,
    })
}

/// Makes `copy` the same as the workspace; files that are the same keep their times, so that only what
/// an edit touches is built again.
fn refresh(root: &Path, copy: &Path) -> Result<()> {
    let mut files = workspace::files(root)?;
    // Not in git: where libtorch is.
    files.push(".cargo/libtorch.toml".into());
    for file in files {
        let from = root.join(&file);
        if from.is_file() {
            let content = fs::read(&from).map_err(Error::io("cannot read", &from))?;
            let to = copy.join(&file);
            make_folder(to.parent().unwrap_or(copy))?;
            write_whole(&to, &content)?;
        }
    }
    Ok(())
}

/// The block that finds the edit, and its words.
fn try_one(edit: &Edit, copy: &Path, place: &Path) -> Result<(Option<String>, String)> {
    let mut apply = Command::new("git");
    // The copy is inside a checkout, but not a part of it.
    apply
        .env("GIT_CEILING_DIRECTORIES", place)
        .current_dir(copy);
    output(apply.arg("apply").arg(&edit.path))?;
    let target = place.join("target");
    let mut build = cargo(copy);
    build.env("CARGO_TARGET_DIR", &target);
    build.args([
        "build",
        "--package",
        "trainer",
        "--package",
        "torture",
        "--package",
        "xtask",
    ]);
    let built = build.stdout(Stdio::null()).status();
    if !built
        .map_err(|error| Error::program(&build, error))?
        .success()
    {
        return Ok((None, "does not build".into()));
    }
    let programs = target.join("debug");
    for (block, cases) in &edit.blocks {
        let options = Options {
            blocks: vec![block.clone()],
            cases: Some(*cases),
            seed: SEED,
            ..Options::default()
        };
        let settings = Settings {
            options: &options,
            root: copy,
            trainer: programs.join("trainer"),
            xtask: programs.join("xtask"),
            folder: place.join("journals").join(&edit.name),
            first: true,
        };
        let settings =
            serde_json::to_string(&settings).map_err(|e| Error::invalid("settings", e))?;
        let _ = fs::remove_dir_all(place.join("journals").join(&edit.name));
        let mut command = Command::new(programs.join("torture"));
        let ran = command
            .arg(settings)
            .current_dir(copy)
            .stderr(Stdio::piped())
            .output();
        let ran = ran.map_err(|error| Error::program(&command, error))?;
        if !ran.status.success() {
            let said =
                [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            return Ok((Some(block.clone()), first_failure(&said.concat(), block)));
        }
    }
    Ok((None, "every block kept its promise".into()))
}

/// The first line with a failure.
fn first_failure(said: &str, block: &str) -> String {
    let start = format!("{block} ");
    let is_failure = |line: &&str| {
        let case = line
            .strip_prefix(&start)
            .and_then(|rest| rest.split_once(": "));
        case.is_some_and(|(case, _)| case.parse::<u64>().is_ok()) || line.starts_with("error: ")
    };
    let line = said.lines().find(is_failure).unwrap_or_default();
    line.chars().take(200).collect()
}

fn table(rows: &[(Edit, Tried)]) -> String {
    let mut lines = vec![
        "| edit | promise | found by |".to_owned(),
        "| --- | --- | --- |".to_owned(),
    ];
    for (edit, one) in rows {
        let found = one.found.as_deref().unwrap_or("**nothing**");
        lines.push(format!("| {} | {} | {found} |", edit.name, edit.promise));
    }
    let found = rows.iter().filter(|(_, one)| one.found.is_some()).count();
    lines.push(format!("\n{found} of {} edits found.", rows.len()));
    lines.join("\n")
}
