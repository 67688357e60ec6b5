//! Content that must not be committed: paths of one machine, and large files.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::progress::bytes;
use crate::workspace::output;
use crate::{Error, Result};

/// The size limit of committed files in bytes.
const LARGEST: u64 = 4_000_000;

/// Prefixes of paths in a home folder, split so that this file is not a finding itself.
const PRIVATE: [(&str, &str); 3] = [("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/")];

/// Users in examples of the documentation.
const EXAMPLES: [&str; 6] = ["me", "you", "user", "USER", "name", "alice"];

/// The findings in the files tracked by git, as `path:line: finding`.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut git = Command::new("git");
    let tracked = output(git.args(["ls-files", "-z"]).current_dir(root))?;
    for file in tracked.split_terminator('\0') {
        let path = root.join(file);
        // A removed file may still be tracked.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        if metadata.len() > LARGEST {
            let size = bytes(metadata.len());
            all.push(format!("{file}: {size} is too large to commit"));
            continue;
        }
        let content = fs::read(&path).map_err(Error::io("cannot read", &path))?;
        let is_binary = content.iter().take(8000).any(|byte| *byte == 0);
        if is_binary {
            continue;
        }
        for (index, line) in String::from_utf8_lossy(&content).lines().enumerate() {
            if let Some(found) = machine_path(line) {
                let number = index + 1;
                all.push(format!("{file}:{number}: a path of one machine: {found}"));
            }
        }
    }
    Ok(all)
}

/// The first path in `line` that is in a home folder.
fn machine_path(line: &str) -> Option<String> {
    for (head, tail) in PRIVATE {
        let prefix = format!("{head}{tail}");
        for (at, _) in line.match_indices(&prefix) {
            let before = line.get(..at)?.chars().next_back();
            // `src/home/x` and `https://host/home/x` are not absolute paths.
            if before.is_some_and(|c| c.is_alphanumeric() || "._-~/}$".contains(c)) {
                continue;
            }
            let rest = line.get(at + prefix.len()..)?;
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || "._-".contains(*c))
                .collect();
            let of_root = prefix.starts_with(PRIVATE[1].0);
            if !name.is_empty() && (of_root || !EXAMPLES.contains(&name.as_str())) {
                return Some(format!("{prefix}{name}"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_paths_of_a_machine_are_found() {
        let home = ["/ho", "me/"].concat();
        let root = ["/ro", "ot/"].concat();
        let users = ["/Us", "ers/"].concat();
        for line in [
            format!("path = \"{home}jane/x\""),
            format!("{root}.cache"),
            format!("see {users}jane"),
            format!("`{home}user`, and {home}jane"),
        ] {
            assert!(machine_path(&line).is_some(), "{line}");
        }
        for line in [
            format!("{home}user/clips and {home}me"),
            format!("src{home}jane"),
            format!("https://host{home}jane"),
            format!("{home}<user>"),
            format!("${{HOME}}{root}x"),
            "plain".to_string(),
        ] {
            assert_eq!(machine_path(&line), None, "{line}");
        }
    }

    #[test]
    fn a_finding_has_its_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let status = Command::new("git")
                .args(arguments)
                .current_dir(folder.path())
                .status();
            assert!(status.unwrap().success());
        };
        git(&["init", "-q"]);
        let bad = format!("fine\n{}{}jane/x\n", "/ho", "me/");
        fs::write(folder.path().join("tracked.md"), &bad).unwrap();
        fs::write(folder.path().join("untracked.md"), &bad).unwrap();
        fs::write(
            folder.path().join("binary.npy"),
            [b"\0", bad.as_bytes()].concat(),
        )
        .unwrap();
        git(&["add", "tracked.md", "binary.npy"]);
        let found = findings(folder.path()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("tracked.md:2: "), "{found:?}");
    }
}
