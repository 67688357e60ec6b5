//! Shell blocks of the pages: `sh` runs, `sh no-run: reason` does not.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::page::{Block, Page};
use crate::places::make_folder;
use crate::{Error, Result, gpu_check};

/// A program that a block leaves in the background ends with it, also after a failure.
const END_JOBS: &str = "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT";

/// The mark of a block.
#[derive(Debug, PartialEq)]
enum Mark<'a> {
    Run,
    No(&'a str),
    Unclear,
}

impl Block {
    /// `None` for a block that is not a shell's.
    fn mark(&self) -> Option<Mark<'_>> {
        let rest = self.info.strip_prefix("sh")?;
        match rest.trim().strip_prefix("no-run:").map(str::trim) {
            _ if rest.trim().is_empty() => Some(Mark::Run),
            Some(reason) if !reason.is_empty() && rest.starts_with(' ') => Some(Mark::No(reason)),
            _ if rest.starts_with(char::is_alphanumeric) => None,
            _ => Some(Mark::Unclear),
        }
    }
}

/// Blocks of a shell whose mark is not understood, as `path:line: fault`.
pub(super) fn unmarked(pages: &[Page]) -> Vec<String> {
    let unclear = marked(pages).filter(|(.., mark)| *mark == Mark::Unclear);
    let fault = "expected `sh`, or `sh no-run: reason`";
    unclear
        .map(|(page, block, _)| format!("{}:{}: {fault}", page.path, block.line))
        .collect()
}

/// The blocks that are not run, with the reason.
pub(super) fn not_run(pages: &[Page]) -> Vec<String> {
    let reason = |(page, block, mark): (&Page, &Block, Mark<'_>)| match mark {
        Mark::No(reason) => Some(format!("not run: {}:{}: {reason}", page.path, block.line)),
        _ => None,
    };
    marked(pages).filter_map(reason).collect()
}

fn marked(pages: &[Page]) -> impl Iterator<Item = (&Page, &Block, Mark<'_>)> {
    pages.iter().flat_map(|page| {
        let of_shell = move |block| Some((page, block, Block::mark(block)?));
        page.blocks.iter().filter_map(of_shell)
    })
}

/// Runs the blocks with `trainer` on the path and returns the failures. The blocks of a page run in
/// turn in a copy of the workspace of their own, as a user without any files and without the hub.
pub(super) fn run(root: &Path, pages: &[Page], trainer: &Path) -> Result<Vec<String>> {
    let scratch = tempfile::tempdir().map_err(Error::io(
        "cannot create a folder in",
        &std::env::temp_dir(),
    ))?;
    let mut path = trainer.parent().unwrap_or(trainer).as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut failures = Vec::new();
    for page in pages {
        let runs = |block: &&Block| block.mark() == Some(Mark::Run);
        let copy = scratch.path().join(page.path.replace('/', "-"));
        for (index, block) in page.blocks.iter().filter(runs).enumerate() {
            if index == 0 {
                gpu_check::copy_workspace(root, &copy)?;
            }
            let home = copy.join("home");
            make_folder(&home)?;
            let started = Instant::now();
            let place = format!("{}:{}", page.path, block.line);
            let mut shell = Command::new("bash");
            shell
                .args(["-euo", "pipefail", "-c"])
                .arg(format!("{END_JOBS}\n{}", block.text))
                .current_dir(&copy)
                .env("PATH", &path)
                .env("HOME", &home)
                .env("HF_HUB_OFFLINE", "1")
                .stdin(Stdio::null());
            for variable in ["XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME", "HF_HUB_CACHE"] {
                shell.env_remove(variable);
            }
            let output = shell.output().map_err(|e| Error::program(&shell, e))?;
            eprintln!("         {place}: {:.1} s", started.elapsed().as_secs_f64());
            if !output.status.success() {
                let streams = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&streams);
                failures.push(format!("{place}: {}\n{}{said}", output.status, block.text));
            }
        }
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_block_runs_unless_a_reason_is_given() {
        let text = "```sh\na\n```\n```sh no-run: a cluster\nb\n```\n```sh no-run:\nc\n```\n\
                    ```sh,x\nd\n```\n```shader\ne\n```\n";
        let pages = [Page::parse("a.md", text.into())];
        let marks: Vec<Mark<'_>> = marked(&pages).map(|(.., mark)| mark).collect();
        let expected = [
            Mark::Run,
            Mark::No("a cluster"),
            Mark::Unclear,
            Mark::Unclear,
        ];
        assert_eq!(marks, expected);
        assert_eq!(not_run(&pages), ["not run: a.md:4: a cluster"]);
        assert_eq!(unmarked(&pages).len(), 2);
    }

    #[test]
    fn a_failure_tells_its_place_and_output() {
        let folder = tempfile::tempdir().unwrap();
        let git = Command::new("git")
            .args(["init", "-q"])
            .current_dir(folder.path())
            .status();
        assert!(git.unwrap().success());
        let text =
            "```sh\necho one > kept\n```\n```sh\nsleep 60 &\ncat kept; false; echo two\n```\n";
        let pages = [Page::parse("a.md", text.into())];
        let started = Instant::now();
        let failures = run(folder.path(), &pages, Path::new("/trainer")).unwrap();
        assert!(started.elapsed() < std::time::Duration::from_secs(30));
        assert_eq!(failures.len(), 1);
        assert!(
            failures[0].starts_with("a.md:4: exit status: 1"),
            "{failures:?}"
        );
        assert!(
            failures[0].contains("one") && !failures[0].ends_with("two\n"),
            "{failures:?}"
        );
        assert!(!folder.path().join("kept").exists());
    }
}
