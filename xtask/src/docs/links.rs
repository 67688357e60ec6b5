//! Links between pages, in Markdown and in the book.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::page::Page;
use crate::{Error, Result};

/// The links of `pages` that lead nowhere, as `path:line: fault`. Addresses on the web are checked
/// for their form alone.
pub(super) fn broken(root: &Path, pages: &[Page]) -> Vec<String> {
    let named: BTreeMap<&str, &Page> = pages.iter().map(|page| (&*page.path, page)).collect();
    let mut all = Vec::new();
    for page in pages {
        for link in &page.links {
            if let Some(fault) = fault(root, &named, page, &link.target) {
                let place = format!("{}:{}", page.path, link.line);
                all.push(format!("{place}: link to '{}': {fault}", link.target));
            }
        }
    }
    all
}

fn fault(
    root: &Path,
    pages: &BTreeMap<&str, &Page>,
    page: &Page,
    target: &str,
) -> Option<&'static str> {
    if let Some((scheme, rest)) = target.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_host = !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_alphanumeric() || ".-:".contains(c));
        let is_address = is_host && !rest.contains(char::is_whitespace);
        return (!["http", "https"].contains(&scheme) || !is_address).then_some("not an address");
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let resolved = match path {
        "" => page.path.clone(),
        _ => match page.resolve(path) {
            Some(resolved) => resolved,
            None => return Some("it leads out of the project"),
        },
    };
    if !root.join(&resolved).exists() {
        return Some("no such file");
    }
    if anchor.is_empty() {
        return None;
    }
    match pages.get(&*resolved) {
        Some(page) if page.anchors.iter().any(|one| one == anchor) => None,
        _ => Some("no such heading"),
    }
}

/// The local links of the built book that lead nowhere. The API's own links are checked by rustdoc.
pub(super) fn broken_in(book: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    html_files(book, &mut files)?;
    let mut pages = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(Error::io("cannot read", &file))?;
        pages.insert(file, text);
    }
    let mut all = Vec::new();
    for (file, text) in &pages {
        let targets: BTreeSet<&str> = values(text, "href").chain(values(text, "src")).collect();
        for target in targets {
            if target.contains(':') || target.starts_with("//") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = match path {
                "" => file.clone(),
                _ => file.with_file_name("").join(path),
            };
            let to = fs::canonicalize(&to).unwrap_or(to);
            let lacks_anchor = |text: &String| values(text, "id").all(|id| id != anchor);
            if !to.exists() || !anchor.is_empty() && pages.get(&to).is_some_and(lacks_anchor) {
                all.push(format!("{}: broken link to '{target}'", file.display()));
            }
        }
    }
    Ok(all)
}

/// The HTML files below `folder`, without the API's.
fn html_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_html = path
            .extension()
            .is_some_and(|extension| extension == "html");
        if path.is_dir() && !path.ends_with(super::book::API) {
            html_files(&path, files)?;
        } else if is_html {
            files.push(fs::canonicalize(&path).map_err(Error::io("cannot read", &path))?);
        }
    }
    Ok(())
}

/// The values of an attribute in the HTML that mdBook writes.
fn values<'a>(html: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {attribute}=\"");
    html.match_indices(&start)
        .filter_map(move |(at, start)| html.get(at + start.len()..)?.split('"').next())
        .collect::<Vec<_>>()
        .into_iter()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        for file in ["docs/a.md", "docs/b.md", "file"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let text = "# One\n[1](b.md) [2](b.md#two) [3](../file) [4](#one) <http://127.0.0.1:80/>\n\
                    [5](c.md) [6](b.md#one) [7](../file#x) [8](#two) [9](../../x) [10](ftp://a.b) \
                    [11](https://)";
        let pages = [
            Page::parse("docs/a.md", text.into()),
            Page::parse("docs/b.md", "## Two".into()),
        ];
        let found = broken(folder.path(), &pages);
        let places: Vec<&str> = found
            .iter()
            .filter_map(|line| line.split('\'').nth(1))
            .collect();
        let expected = [
            "c.md",
            "b.md#one",
            "../file#x",
            "#two",
            "../../x",
            "ftp://a.b",
            "https://",
        ];
        assert_eq!(places, expected);
        assert!(found[0].starts_with("docs/a.md:3: "), "{found:?}");
    }
}
