//! `.cargo/libtorch.toml`: the location of libtorch, for cargo and for the built binaries.
//!
//! The link flags of `torch-sys` do not reach the final binaries, so cargo's configuration sets the
//! run-time search path of every binary, test, bench and doc test.

use std::path::{Path, PathBuf};

use crate::places::{Places, make_executable, write_whole};
use crate::{Error, Result};

/// The linker for a libtorch with CUDA. No symbol of `libtorch_cuda.so` is referenced, so linkers
/// with `--as-needed` drop it and CUDA is not found at run time. Flags in cargo's configuration
/// would keep it in every build script too; this script keeps it only where torch is linked.
const LINKER: &str = r#"#!/bin/sh
# Written by `cargo xtask setup`: cc that keeps libtorch_cuda.
for argument do
    shift
    case $argument in
        -ltorch_cuda) set -- "$@" -Wl,--no-as-needed "$argument" -Wl,--as-needed ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec cc "$@"
"#;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Linking {
    /// The folder with libtorch's `include` and `lib`.
    pub(crate) libtorch: PathBuf,
    /// The linker for CUDA; see [`write_linker`].
    pub(crate) linker: Option<PathBuf>,
    /// Whether it overrides the variable `LIBTORCH`.
    pub(crate) forced: bool,
}

fn path(root: &Path) -> PathBuf {
    root.join(".cargo/libtorch.toml")
}

/// Reads the file of the workspace at `root`.
pub(crate) fn read(root: &Path) -> Option<Linking> {
    let text = std::fs::read_to_string(path(root)).ok()?;
    let table: toml::Table = text.parse().ok()?;
    let entry = table.get("env")?.get("LIBTORCH")?;
    let libtorch = entry.get("value").unwrap_or(entry).as_str()?;
    let targets = table.get("target").and_then(toml::Value::as_table);
    let linker = targets
        .into_iter()
        .flat_map(|targets| targets.values())
        .find_map(|target| target.get("linker")?.as_str());
    let forced = entry.get("force").and_then(toml::Value::as_bool);
    Some(Linking {
        libtorch: libtorch.into(),
        linker: linker.map(PathBuf::from),
        forced: forced.unwrap_or(false),
    })
}

/// Writes the file, and returns whether it changed: an unchanged one saves a rebuild.
///
/// # Errors
/// The path of libtorch cannot be used in cargo's configuration or in linker options.
pub(crate) fn write(root: &Path, linking: &Linking) -> Result<bool> {
    let content = content(linking, std::env::consts::OS)?;
    write_whole(&path(root), content.as_bytes())
}

/// Writes the linker to the per-user cache and returns its path.
pub(crate) fn write_linker(places: &Places) -> Result<PathBuf> {
    let path = places.cache.join("libtorch/cc-cuda");
    write_whole(&path, LINKER.as_bytes())?;
    make_executable(&path)?;
    Ok(path)
}

fn content(linking: &Linking, os: &str) -> Result<String> {
    let utf8 = |path: &Path| match path.to_str() {
        Some(text) => Ok(toml::Value::from(text)),
        None => Err(Error::machine(
            path.display(),
            "the path is not valid UTF-8; use another folder",
        )),
    };
    let libtorch = utf8(&linking.libtorch)?;
    let folder = linking.libtorch.display();
    // The compiler driver splits `-Wl,` options at commas.
    if folder.to_string().contains(',') {
        let reason = "the path contains a comma, which linker options cannot; use another folder";
        return Err(Error::machine(folder, reason));
    }
    let flag = format!("link-arg=-Wl,-rpath,{folder}/lib");
    let flags = toml::Value::from(vec!["-C", &flag]);
    let linker = match &linking.linker {
        Some(path) => format!("linker = {}\n", utf8(path)?),
        None => String::new(),
    };
    let env = match linking.forced {
        true => format!("{{ value = {libtorch}, force = true }}"),
        false => libtorch.to_string(),
    };
    let os = if os == "macos" { "macos" } else { "linux" };
    Ok(format!(
        "# Written by `cargo xtask setup`; not committed. Delete it to start over.\n\
         [env]\n\
         LIBTORCH = {env}\n\
         \n\
         [target.'cfg(target_os = \"{os}\")']\n\
         rustflags = {flags}\n\
         {linker}\
         \n\
         # rustdoc links the doc tests and reads its flags only here.\n\
         [build]\n\
         rustdocflags = {flags}\n"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn linking(libtorch: &str) -> Linking {
        Linking {
            libtorch: libtorch.into(),
            linker: None,
            forced: false,
        }
    }

    #[test]
    fn the_file_is_read_back() {
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
    fn an_unchanged_file_is_not_written() {
        let root = tempfile::tempdir().unwrap();
        assert!(write(root.path(), &linking("/a")).unwrap());
        assert!(!write(root.path(), &linking("/a")).unwrap());
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

    /// Calls a compiler that prints its arguments.
    #[test]
    fn the_linker_keeps_cuda_and_passes_other_arguments_on() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::inside(home.path());
        let linker = write_linker(&places).unwrap();
        let cc = home.path().join("cc");
        std::fs::write(&cc, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
        make_executable(&cc).unwrap();
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
