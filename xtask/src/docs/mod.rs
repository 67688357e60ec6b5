//! `cargo xtask docs`: checks the documentation, builds it as a book and runs its shell blocks.

mod blocks;
mod book;
mod links;
mod messages;
mod page;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::places::Places;
use crate::workspace::{self, cargo, output};
use crate::{Error, Result, setup};
use page::Page;

/// Checks all pages, builds the book with the API, and runs the shell blocks; whether everything
/// held.
///
/// # Errors
/// The machine cannot be set up, or something cannot be built.
pub fn run() -> Result<bool> {
    setup::ensure()?;
    let root = workspace::root();
    let started = Instant::now();
    let after = || format!("{:6.1} s ", started.elapsed().as_secs_f64());
    let pages = pages(&root)?;
    let mut found = findings_in(&root, &pages)?;
    eprintln!("{} {} pages read", after(), pages.len());
    let mdbook = book::ensure_mdbook(&Places::of_user()?)?;
    for line in ["build -p trainer", "doc --workspace --no-deps --quiet"] {
        let status = cargo(&root).args(line.split(' ')).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(Error::invalid(format!("cargo {line}"), "failed"));
        }
        eprintln!("{} cargo {line}", after());
    }
    let trainer = workspace::target(&root).join("debug/trainer");
    let built = book::build(&root, &pages, &mdbook, &trainer)?;
    found.extend(links::broken_in(&built)?);
    eprintln!("{} book", after());
    found.extend(blocks::run(&root, &pages, &trainer)?);
    eprintln!("{} shell blocks", after());
    for line in blocks::not_run(&pages) {
        workspace::print(&line);
    }
    for line in &found {
        eprintln!("{line}");
    }
    workspace::print(&built.join("index.html").display().to_string());
    Ok(found.is_empty())
}

/// The faults of the pages that are found without building anything: links, anchors, quoted
/// messages, marks of shell blocks, pages that are missing in the book.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>> {
    findings_in(root, &pages(root)?)
}

fn findings_in(root: &Path, pages: &[Page]) -> Result<Vec<String>> {
    let mut all = links::broken(root, pages);
    all.extend(messages::outdated(root, pages)?);
    all.extend(blocks::unmarked(pages));
    all.extend(book::missing(pages));
    Ok(all)
}

/// The Markdown files that git tracks or would track.
fn pages(root: &Path) -> Result<Vec<Page>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others"]);
    git.args(["--exclude-standard", "*.md"]).current_dir(root);
    let mut pages = Vec::new();
    for file in output(&mut git)?.split_terminator('\0') {
        let path = root.join(file);
        // A removed file may still be tracked.
        if path.is_file() {
            let text = std::fs::read_to_string(&path).map_err(Error::io("cannot read", &path))?;
            pages.push(Page::parse(file, text));
        }
    }
    Ok(pages)
}
