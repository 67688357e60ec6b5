//! `.cargo/libtorch.toml`: where libtorch lies, and how every binary finds it at run time.
//!
//! Link flags of `torch-sys` do not reach the final binaries, so the search path is given
//! once, in cargo's own configuration, for every binary, test, bench and doc test.

use std::path::{Path, PathBuf};

use crate::places::write_whole;
use crate::{Error, Result};

/// A function that only `libtorch_cuda.so` defines. Asking the linker for it by name keeps
/// the library, which nothing else refers to, in the list of those a binary loads; a
/// binary that links no torch at all is not changed by it.
const CUDA_SYMBOL: &str = "_ZN2at4cuda9warp_sizeEv";

/// What is written for cargo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linking {
    /// The folder that holds libtorch's `include` and `lib`.
    pub libtorch: PathBuf,
    /// Whether CUDA is to be linked.
    pub cuda: bool,
    /// Whether it overrides an unfit `LIBTORCH` of the environment.
    pub forced: bool,
}

/// The file's path in the workspace at `root`.
#[must_use]
pub fn path(root: &Path) -> PathBuf {
    root.join(".cargo/libtorch.toml")
}

/// What the workspace at `root` is set up for, if it is.
#[must_use]
pub fn read(root: &Path) -> Option<Linking> {
    let text = std::fs::read_to_string(path(root)).ok()?;
    let table: toml::Table = text.parse().ok()?;
    let entry = table.get("env")?.get("LIBTORCH")?;
    let (value, forced) = match entry {
        toml::Value::String(value) => (value.as_str(), false),
        entry => (
            entry.get("value")?.as_str()?,
            entry
                .get("force")
                .and_then(toml::Value::as_bool)
                .unwrap_or(false),
        ),
    };
    Some(Linking {
        libtorch: value.into(),
        cuda: text.contains(CUDA_SYMBOL),
        forced,
    })
}

/// Writes the file. Says whether anything changed: an unchanged file keeps cargo from
/// building everything anew.
///
/// # Errors
/// [`Error::Io`] with the path, [`Error::Libtorch`] for a folder whose name cargo's
/// configuration or the linker's option cannot carry.
pub fn write(root: &Path, linking: &Linking) -> Result<bool> {
    write_whole(
        &path(root),
        content(linking, std::env::consts::OS)?.as_bytes(),
    )
}

fn content(linking: &Linking, os: &str) -> Result<String> {
    let unfit = |reason: &str| Error::Libtorch {
        place: linking.libtorch.display().to_string(),
        reason: reason.into(),
    };
    let folder = linking
        .libtorch
        .to_str()
        .ok_or_else(|| unfit("the path is not UTF-8"))?;
    // The compiler driver splits `-Wl,` options at commas.
    if folder.contains(',') {
        return Err(unfit(
            "the path holds a comma, which linkers split at; use another folder",
        ));
    }
    let mut flags = vec![format!("link-arg=-Wl,-rpath,{folder}/lib")];
    if linking.cuda {
        flags.push(format!("link-arg=-Wl,-u,{CUDA_SYMBOL}"));
    }
    let flags = toml::Value::Array(
        flags
            .into_iter()
            .flat_map(|flag| [toml::Value::from("-C"), toml::Value::from(flag)])
            .collect(),
    );
    let value = toml::Value::from(folder);
    let env = if linking.forced {
        format!("{{ value = {value}, force = true }}")
    } else {
        value.to_string()
    };
    let os = if os == "macos" { "macos" } else { "linux" };
    Ok(format!(
        "# Written by `cargo xtask setup`; not committed. Delete it to be set up afresh.\n\
         [env]\n\
         LIBTORCH = {env}\n\
         \n\
         [target.'cfg(target_os = \"{os}\")']\n\
         rustflags = {flags}\n\
         \n\
         # Doc tests are linked by rustdoc, which reads its flags from here only.\n\
         [build]\n\
         rustdocflags = {flags}\n"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn linking(libtorch: &str) -> Linking {
        Linking {
            libtorch: libtorch.into(),
            cuda: false,
            forced: false,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()), None);
        for libtorch in ["/a/torch", "/with space/torch", "/quote\"back\\slash/torch"] {
            for cuda in [false, true] {
                for forced in [false, true] {
                    let linking = Linking {
                        cuda,
                        forced,
                        ..linking(libtorch)
                    };
                    write(root.path(), &linking).unwrap();
                    assert_eq!(read(root.path()), Some(linking));
                }
            }
        }
    }

    #[test]
    fn writing_again_touches_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert!(write(root.path(), &linking("/a")).unwrap());
        let before = std::fs::metadata(path(root.path()))
            .unwrap()
            .modified()
            .unwrap();
        assert!(!write(root.path(), &linking("/a")).unwrap());
        let after = std::fs::metadata(path(root.path()))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(before, after);
        assert!(write(root.path(), &linking("/b")).unwrap());
    }

    #[test]
    fn the_flags_reach_binaries_and_doc_tests() {
        let table: toml::Table = content(&linking("/a/torch"), "linux")
            .unwrap()
            .parse()
            .unwrap();
        let flags = toml::Value::from(vec!["-C", "link-arg=-Wl,-rpath,/a/torch/lib"]);
        assert_eq!(
            table["target"]["cfg(target_os = \"linux\")"]["rustflags"],
            flags
        );
        assert_eq!(table["build"]["rustdocflags"], flags);
        assert!(
            content(&linking("/a"), "macos")
                .unwrap()
                .contains("\"macos\"")
        );
    }

    #[test]
    fn a_comma_is_refused() {
        assert!(content(&linking("/a,b"), "linux").is_err());
    }
}
