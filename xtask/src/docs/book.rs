//! The book: the pages of `docs/SUMMARY.md`, one for each command, and the API.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::page::Page;
use crate::layering;
use crate::places::{Places, empty_folder, make_folder};
use crate::workspace::{self, cargo, output, output_of};
use crate::{Error, Result};

const SUMMARY: &str = "docs/SUMMARY.md";

/// The folder of the API in the book.
pub(super) const API: &str = "api";

/// Where the files that are not in the book can be read.
const REPOSITORY: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main");

/// The major version of mdBook, below 1.0.
const MDBOOK: &str = "0.5";

/// mdBook on the `PATH` or in the user's cache, where it is built at the first call.
pub(super) fn ensure_mdbook(places: &Places) -> Result<PathBuf> {
    let fits = |program: &Path| {
        let version = output_of(program, &["--version"]);
        version.is_some_and(|version| version.contains(&format!("v{MDBOOK}.")))
    };
    let folder = places.cache.join("mdbook");
    let candidates = [PathBuf::from("mdbook"), folder.join("bin/mdbook")];
    if let Some(found) = candidates.iter().find(|program| fits(program)) {
        return Ok(found.clone());
    }
    eprintln!("building mdBook, once");
    let version = format!("--version=^{MDBOOK}");
    let mut install = cargo(Path::new("/"));
    install.args([
        "install", "--locked", "--quiet", "mdbook", &version, "--force",
    ]);
    install.args(["--no-default-features", "--features=search", "--root"]);
    output(install.arg(&folder))?;
    Ok(folder.join("bin/mdbook"))
}

/// The pages in `docs` that the book does not have, as messages.
pub(super) fn missing(pages: &[Page]) -> Vec<String> {
    let chapters = chapters(pages);
    let in_docs = pages.iter().filter(|page| page.path.starts_with("docs/"));
    in_docs
        .filter(|page| page.path != SUMMARY && !chapters.contains_key(&*page.path))
        .map(|page| format!("{}: not in {SUMMARY}", page.path))
        .collect()
}

/// The pages of the book and their places in it.
fn chapters(pages: &[Page]) -> BTreeMap<String, String> {
    let summary = pages.iter().find(|page| page.path == SUMMARY);
    let links = summary.iter().flat_map(|page| &page.links);
    let paths = links.filter_map(|link| summary?.resolve(&link.target));
    paths.map(|path| (path.clone(), place(&path))).collect()
}

/// The place in the book of a file of the workspace.
fn place(path: &str) -> String {
    path.strip_prefix("docs/").unwrap_or(path).into()
}

/// Builds the book below the target folder and returns its folder.
pub(super) fn build(root: &Path, pages: &[Page], mdbook: &Path, trainer: &Path) -> Result<PathBuf> {
    let work = workspace::target(root).join("docs");
    let source = work.join("src");
    empty_folder(&work)?;
    make_folder(&source)?;
    for file in ["book.toml", "book.css"] {
        copy(&root.join("docs").join(file), &work.join(file))?;
    }
    let chapters = chapters(pages);
    let mut summary = String::new();
    for page in pages {
        if page.path == SUMMARY {
            summary = moved(root, page, SUMMARY, &chapters, &source)?;
        } else if let Some(place) = chapters.get(&page.path) {
            let text = moved(root, page, place, &chapters, &source)?;
            write(&source.join(place), &text)?;
        }
    }
    summary.push_str("\n# Commands\n\n");
    let this = std::env::current_exe().map_err(Error::io("cannot find", Path::new("xtask")))?;
    for (name, program) in [("trainer", trainer), ("cargo xtask", &*this)] {
        summary.push_str(&commands(name, program, &source)?);
    }
    summary.push_str("\n# Crates\n\n- [API](api.md)\n");
    write(&source.join("api.md"), &api(root)?)?;
    write(&source.join("SUMMARY.md"), &summary)?;
    output(Command::new(mdbook).arg("build").arg(&work))?;
    let book = work.join("book");
    let api = book.join(API);
    let doc = workspace::target(root).join("doc");
    output(Command::new("cp").arg("-r").args([&doc, &api]))?;
    Ok(book)
}

/// The text of a page at its place in the book: links to chapters and pictures lead to their places
/// there, all others to the repository. Pictures are copied to `source`.
fn moved(
    root: &Path,
    page: &Page,
    place_of_page: &str,
    chapters: &BTreeMap<String, String>,
    source: &Path,
) -> Result<String> {
    let mut text = page.text.clone();
    let up = "../".repeat(place(place_of_page).matches('/').count());
    for link in page.links.iter().rev() {
        let (path, anchor) = link
            .target
            .split_at(link.target.find('#').unwrap_or(link.target.len()));
        let resolved = match path {
            "" => None,
            _ if path.contains("://") => None,
            _ => page.resolve(path),
        };
        let Some(resolved) = resolved else {
            continue;
        };
        let is_picture = resolved.starts_with("docs/") && !resolved.ends_with(".md");
        let target = match chapters.get(&resolved) {
            Some(place) => format!("{up}{place}{anchor}"),
            None if is_picture => {
                copy(&root.join(&resolved), &source.join(place(&resolved)))?;
                format!("{up}{}", place(&resolved))
            }
            None => format!("{REPOSITORY}/{resolved}{anchor}"),
        };
        text.replace_range(link.range.clone(), &target);
    }
    Ok(text)
}

/// Writes a page for `program` and each of its commands, made of their help; their lines of the
/// summary.
fn commands(name: &str, program: &Path, source: &Path) -> Result<String> {
    let help = |command: &[&str]| output(Command::new(program).args(command).arg("--help"));
    let folder = format!("commands/{}", name.replace(' ', "-"));
    let all = help(&[])?;
    let mut lines = format!("- [{name}]({folder}/index.md)\n");
    let page = |title: &str, help: &str| format!("# {title}\n\n```help\n{help}```\n");
    write(&source.join(&folder).join("index.md"), &page(name, &all))?;
    for command in names(&all) {
        let title = format!("{name} {command}");
        write(
            &source.join(format!("{folder}/{command}.md")),
            &page(&title, &help(&[command])?),
        )?;
        lines.push_str(&format!("  - [{title}]({folder}/{command}.md)\n"));
    }
    Ok(lines)
}

/// The commands in clap's help.
fn names(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // Further lines of a description are indented more.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help")
}

/// The page that leads to the API of each crate.
fn api(root: &Path) -> Result<String> {
    let mut text =
        "# API\n\nThe crates of the workspace, as `cargo doc` describes them.\n\n".to_string();
    for (name, description) in layering::metadata(root)?.crates() {
        let folder = name.replace('-', "_");
        text.push_str(&format!(
            "- [{name}]({API}/{folder}/index.html): {description}\n"
        ));
    }
    Ok(text)
}

fn write(path: &Path, text: &str) -> Result<()> {
    make_folder(path.parent().unwrap_or(path))?;
    fs::write(path, text).map_err(Error::io("cannot write", path))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to.parent().unwrap_or(to))?;
    fs::copy(from, to).map_err(Error::io("cannot copy to", to))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_of_a_chapter_lead_to_the_book_or_to_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        fs::write(folder.path().join("docs/p.png"), "").unwrap();
        let pages = [
            Page::parse(SUMMARY, "- [A](a.md)\n- [B](../crates/b/README.md)\n".into()),
            Page::parse("docs/a.md", String::new()),
            Page::parse("docs/forgotten.md", String::new()),
            Page::parse(
                "crates/b/README.md",
                "[1](../../docs/a.md#x) ![2](../../docs/p.png) [3](src/lib.rs) [4](#y) <https://c.d>"
                    .into(),
            ),
        ];
        assert_eq!(
            missing(&pages),
            ["docs/forgotten.md: not in docs/SUMMARY.md"]
        );
        let chapters = chapters(&pages);
        let source = folder.path().join("src");
        let text = moved(
            folder.path(),
            &pages[3],
            "crates/b/README.md",
            &chapters,
            &source,
        );
        let expected = format!(
            "[1](../../a.md#x) ![2](../../p.png) [3]({REPOSITORY}/crates/b/src/lib.rs) [4](#y) \
             <https://c.d>"
        );
        assert_eq!(text.unwrap(), expected);
        assert!(source.join("p.png").is_file());
        let summary = moved(folder.path(), &pages[0], SUMMARY, &chapters, &source).unwrap();
        assert_eq!(summary, "- [A](a.md)\n- [B](crates/b/README.md)\n");
    }

    #[test]
    fn commands_are_read_from_the_help() {
        let help = "About\n\nCommands:\n  one    First,\n         continued\n  two-b  Second\n  \
                    help   Print\n\nOptions:\n  -h\n";
        assert_eq!(names(help).collect::<Vec<_>>(), ["one", "two-b"]);
    }
}
