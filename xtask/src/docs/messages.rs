//! The messages that `docs/errors.md` explains, compared with the source.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::page::Page;
use crate::workspace::output;
use crate::{Error, Result};

const PAGE: &str = "docs/errors.md";

/// Stands for a value in a message.
const VALUE: char = '…';

/// The quoted messages that the source does not contain, as `path:line: fault`.
pub(super) fn outdated(root: &Path, pages: &[Page]) -> Result<Vec<String>> {
    let Some(page) = pages.iter().find(|page| page.path == PAGE) else {
        return Ok(vec![format!("{PAGE} is missing")]);
    };
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "crates/*/src/*.rs", "xtask/src/*.rs"]);
    let mut source = String::new();
    for file in output(git.current_dir(root))?.split_terminator('\0') {
        let path = root.join(file);
        if path.is_file() {
            let text = fs::read_to_string(&path).map_err(Error::io("cannot read", &path))?;
            source.push_str(&joined(&text));
        }
    }
    let unknown = page
        .quotes
        .iter()
        .filter(|(_, quote)| !contains(&source, quote));
    let fault =
        |(line, quote): &(usize, String)| format!("{PAGE}:{line}: no source says '{quote}'");
    Ok(unknown.map(fault).collect())
}

/// Rust source with its string literals as they print: without continuations and escapes.
fn joined(source: &str) -> String {
    let mut lines = source.split("\\\n");
    let mut text: String = lines.next().unwrap_or_default().into();
    for line in lines {
        text.push_str(line.trim_start());
    }
    text.replace("\\\"", "\"")
        .replace("{{", "{")
        .replace("}}", "}")
}

/// Whether `source` has `message`, where each [`VALUE`] between words is a format argument.
fn contains(source: &str, message: &str) -> bool {
    let mut parts = message.trim_matches(VALUE).split(VALUE);
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let mut starts = source.match_indices(first);
    !first.is_empty() && starts.any(|(at, _)| follows(source.get(at + first.len()..), &rest))
}

/// Whether `text` goes on with each of `parts` after a format argument.
fn follows(text: Option<&str>, parts: &[&str]) -> bool {
    let mut text = text.unwrap_or_default();
    parts.iter().all(|part| {
        let after = text.strip_prefix('{').and_then(|text| text.split_once('}'));
        let rest = after.and_then(|(_, text)| text.strip_prefix(part));
        text = rest.unwrap_or_default();
        rest.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_by_its_words() {
        let source = joined(
            "#[error(\"{path:?}: frame {index} is \\\"late\\\", but \\\n    only {count} decode\")]",
        );
        for message in [
            "…: frame … is \"late\", but only … decode",
            "frame … is \"late\"",
            "only … decode",
        ] {
            assert!(contains(&source, message), "{message}");
        }
        for message in ["frame index is", "…: frame … was", "", "…", "decode only"] {
            assert!(!contains(&source, message), "{message}");
        }
    }
}
