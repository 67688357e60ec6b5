//! What must not be committed: paths of the machine it was written on, and large files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::progress::bytes;
use crate::{Error, Result};

/// Larger files belong beside the repository, not in it.
const LARGEST: u64 = 4_000_000;

/// Folders whose children are people, as beginnings of absolute paths. Put together here
/// so that this file does not accuse itself.
const PRIVATE: [(&str, &str); 3] = [("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/")];

/// Names that documentation uses for no one in particular.
const ANYONE: [&str; 6] = ["me", "you", "user", "USER", "name", "alice"];

/// Every finding among the files that git tracks, as `path:line: what`.
///
/// # Errors
/// [`Error::Program`] where git cannot list the files.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for file in tracked(root)? {
        let path = root.join(&file);
        // A file removed but not yet committed so is no finding.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        if metadata.len() > LARGEST {
            all.push(format!(
                "{file}: {} is too large to commit",
                bytes(metadata.len())
            ));
            continue;
        }
        let content = fs::read(&path).map_err(Error::io("read", &path))?;
        if content.iter().take(8000).any(|byte| *byte == 0) {
            continue;
        }
        let text = String::from_utf8_lossy(&content);
        for (number, line) in text.lines().enumerate() {
            if let Some(found) = machine_path(line) {
                all.push(format!(
                    "{file}:{}: a path of one machine: {found}",
                    number + 1
                ));
            }
        }
    }
    Ok(all)
}

fn tracked(root: &Path) -> Result<Vec<String>> {
    let failed = |reason: String| Error::Program {
        program: "git ls-files".into(),
        reason,
    };
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_string(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect())
}

/// The first path in `line` that leads into someone's home.
fn machine_path(line: &str) -> Option<String> {
    for (head, tail) in PRIVATE {
        let prefix = format!("{head}{tail}");
        for (at, _) in line.match_indices(&prefix) {
            let before = line.get(..at)?.chars().next_back();
            // `src/home/x` and `https://host/home/x` are no absolute paths.
            if before.is_some_and(|c| c.is_alphanumeric() || "._-~/}$".contains(c)) {
                continue;
            }
            let rest = line.get(at + prefix.len()..)?;
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || "._-".contains(*c))
                .collect();
            let of_root = prefix.starts_with(PRIVATE[1].0);
            if !name.is_empty() && (of_root || !ANYONE.contains(&name.as_str())) {
                return Some(format!("{prefix}{name}"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn machine_paths_are_found_and_others_are_not() {
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
    fn a_tracked_file_is_named_with_its_line() {
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
