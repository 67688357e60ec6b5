//! `.cargo/libtorch.toml`: where libtorch lies, and how every binary finds it at run time.
//!
//! Link flags of `torch-sys` do not reach the final binaries, so the search path is given
//! once, in cargo's own configuration, for every binary, test, bench and doc test.

use std::path::{Path, PathBuf};

use crate::places::{Places, write_whole};
use crate::{Error, Result};

/// The linker called where there is CUDA. No code names `libtorch_cuda.so`, so that
/// linkers, told to keep only what is needed, leave it out and CUDA is then not found. Asked
/// for in cargo's flags it would be loaded by every build script too; this asks for it
/// where torch is linked and nowhere else.
const LINKER: &str = r#"#!/bin/sh
# Written by `cargo xtask setup`: cc, with CUDA's half of libtorch kept.
for argument do
    shift
    case $argument in
        -ltorch_cuda) set -- "$@" -Wl,--no-as-needed "$argument" -Wl,--as-needed ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec cc "$@"
"#;

/// What is written for cargo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linking {
    /// The folder that holds libtorch's `include` and `lib`.
    pub libtorch: PathBuf,
    /// The linker that keeps CUDA, where there is CUDA; see [`write_linker`].
    pub linker: Option<PathBuf>,
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
    let linker = table
        .get("target")
        .and_then(|target| {
            target
                .as_table()?
                .values()
                .find_map(|one| one.get("linker")?.as_str())
        })
        .map(PathBuf::from);
    Some(Linking {
        libtorch: value.into(),
        linker,
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

/// Writes the linker into the per-user cache, and gives its path.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_linker(places: &Places) -> Result<PathBuf> {
    let path = places.cache.join("libtorch/cc-cuda");
    write_whole(&path, LINKER.as_bytes())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, permissions)
            .map_err(Error::io("make executable", &path))?;
    }
    Ok(path)
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
    let flag = format!("link-arg=-Wl,-rpath,{folder}/lib");
    let flags = toml::Value::from(vec!["-C", &flag]);
    let linker = match &linking.linker {
        Some(path) => {
            let path = path
                .to_str()
                .ok_or_else(|| unfit("the linker's path is not UTF-8"))?;
            format!("linker = {}\n", toml::Value::from(path))
        }
        None => String::new(),
    };
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
         {linker}\
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
            linker: None,
            forced: false,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()), None);
        for libtorch in ["/a/torch", "/with space/torch", "/quote\"back\\slash/torch"] {
            for linker in [None, Some(PathBuf::from("/a b/cc"))] {
                for forced in [false, true] {
                    let linking = Linking {
                        linker: linker.clone(),
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

    /// A compiler that prints what it is called with, in the real one's place.
    #[cfg(unix)]
    #[test]
    fn the_linker_keeps_cuda_where_torch_is_linked_and_passes_the_rest_on() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let places = Places {
            cache: home.path().join("cache"),
            data: home.path().join("data"),
            home: home.path().into(),
        };
        let linker = write_linker(&places).unwrap();
        let cc = home.path().join("cc");
        std::fs::write(&cc, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
        std::fs::set_permissions(&cc, std::fs::Permissions::from_mode(0o755)).unwrap();
        let run = |arguments: &[&str]| {
            let path = format!("{}:/usr/bin:/bin", home.path().display());
            let output = std::process::Command::new(&linker)
                .args(arguments)
                .env("PATH", path)
                .output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            text.lines().map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            run(&["-o", "a b", "", "*", "-lc"]),
            ["-o", "a b", "", "*", "-lc"]
        );
        assert_eq!(
            run(&["x.o", "-ltorch_cuda", "-ltorch_cpu"]),
            [
                "x.o",
                "-Wl,--no-as-needed",
                "-ltorch_cuda",
                "-Wl,--as-needed",
                "-ltorch_cpu"
            ]
        );
    }

    #[test]
    fn a_comma_is_refused() {
        assert!(content(&linking("/a,b"), "linux").is_err());
    }
}
