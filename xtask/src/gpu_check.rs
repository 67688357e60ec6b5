//! `cargo xtask gpu-check`: a folder with the check of a GPU, for a machine that has neither Rust nor
//! FFmpeg nor a network. `docs/gpu.md` describes it.
//!
//! `tch` fits exactly one libtorch, so the check is built in a copy of the workspace with the `tch` of
//! the libtorch given.

use std::fs;
use std::path::{Path, PathBuf};

use crate::places::{Places, empty_folder, make_executable, make_folder};
use crate::progress::bytes;
use crate::setup::libtorch::{Libtorch, release};
use crate::setup::linking;
use crate::workspace::{self, cargo, output};
use crate::{Error, Result};

/// The versions of libtorch that the check was built with, and their `tch`.
const PAIRS: [(&str, &str); 2] = [("2.11.0", "0.24.0"), ("2.13.0", "0.26.0")];

/// The size limit of the folder in bytes.
const LARGEST: u64 = 64 << 20;

/// The program, and the files beside it in the folder.
const PROGRAM: &str = "gpu-check";
const SCRIPTS: [&str; 2] = ["run.sh", "peer.py"];

/// Options of the check.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The libtorch of the machine with the GPU: a folder with `include` and `lib`, such as the
    /// `torch` folder of a Python that has the same version
    #[arg(long, value_name = "DIR")]
    pub libtorch: PathBuf,

    /// With NCCL, for which CUDA's headers lie beside the libtorch or in CUDA_HOME
    #[arg(long)]
    pub nccl: bool,

    /// The folder to write [default: target/gpu-check/folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Builds the check against the libtorch and writes the folder.
///
/// # Errors
/// The libtorch is none or of an unknown version; the build fails; the folder is too large.
pub fn run(options: &Options) -> Result<()> {
    let root = workspace::root();
    let libtorch = fs::canonicalize(&options.libtorch)
        .map_err(Error::io("cannot read the libtorch at", &options.libtorch))?;
    let libtorch = Libtorch::at(&libtorch)?;
    let (version, tch) = pair(&libtorch)?;
    let work = workspace::target(&root).join("gpu-check");
    let copy = work.join(format!("workspace-{version}"));
    eprintln!("copying the workspace, with tch {tch}");
    copy_workspace(&root, &copy)?;
    set_tch(&copy, tch)?;
    // Shared by all versions: only what depends on libtorch is built for each.
    let target = work.join("target");
    eprintln!("building against libtorch {}", libtorch.describe());
    build(&root, &copy, &target, &libtorch, options.nccl)?;
    let program = target.join("release").join(PROGRAM);
    if libtorch.cuda {
        expect_cuda(&program)?;
    }
    let folder = match &options.out {
        Some(folder) => folder.clone(),
        None => work.join("folder"),
    };
    let size = write_folder(&program, &copy.join("tests/gpu-check"), &folder)?;
    eprintln!(
        "{}; on the machine with the GPU: run.sh cuda OUT; here: TORCH_LIB=DIR/lib run.sh cpu OUT",
        bytes(size)
    );
    workspace::print(&folder.display().to_string());
    Ok(())
}

/// The libtorch's version and the `tch` that fits it.
fn pair(libtorch: &Libtorch) -> Result<(&'static str, &'static str)> {
    let found = libtorch.version.as_deref().map(release);
    let known = PAIRS
        .into_iter()
        .find(|(version, _)| Some(*version) == found);
    known.ok_or_else(|| {
        let versions: Vec<&str> = PAIRS.iter().map(|(version, _)| *version).collect();
        let found = found.unwrap_or("unknown: neither build-version nor version.py states it");
        let reason = format!(
            "version {found}; the check is built for {}: give one of these, or add the pair of \
             libtorch and tch to xtask/src/gpu_check.rs",
            versions.join(" and ")
        );
        Error::machine(libtorch.folder.display(), reason)
    })
}

/// Copies the files that git tracks or would track.
pub(crate) fn copy_workspace(root: &Path, copy: &Path) -> Result<()> {
    empty_folder(copy)?;
    for file in workspace::files(root)? {
        let from = root.join(&file);
        // A removed file may still be tracked.
        if from.is_file() {
            let to = copy.join(&file);
            make_folder(to.parent().unwrap_or(copy))?;
            fs::copy(&from, &to).map_err(Error::io("cannot copy to", &to))?;
        }
    }
    Ok(())
}

/// Sets the version of `tch` and its `torch-sys` in the copy's manifest and lock file.
fn set_tch(copy: &Path, tch: &str) -> Result<()> {
    let path = copy.join("Cargo.toml");
    let manifest = fs::read_to_string(&path).map_err(Error::io("cannot read", &path))?;
    let changed = with_tch(&manifest, tch).ok_or_else(|| {
        Error::invalid(path.display(), "expected tch = \"=VERSION\", torch-sys too")
    })?;
    if changed != manifest {
        fs::write(&path, changed).map_err(Error::io("cannot write", &path))?;
        output(cargo(copy).args(["update", "--package", "tch", "--precise", tch]))?;
    }
    Ok(())
}

/// The manifest with another version of `tch` and of `torch-sys`, which has the same; `None` if it does
/// not require one exact version of each.
fn with_tch(manifest: &str, tch: &str) -> Option<String> {
    ["tch", "torch-sys"]
        .into_iter()
        .try_fold(manifest.to_owned(), |manifest, name| {
            let start = format!("\n{name} = \"=");
            let from = manifest.find(&start)? + start.len();
            let length = manifest.get(from..)?.find('"')?;
            let (before, after) = (manifest.get(..from)?, manifest.get(from + length..)?);
            Some(format!("{before}{tch}{after}"))
        })
}

fn build(root: &Path, copy: &Path, target: &Path, libtorch: &Libtorch, nccl: bool) -> Result<()> {
    let mut command = cargo(copy);
    command
        .args(["build", "--release", "--package", PROGRAM])
        .args(nccl.then_some("--features=nccl"))
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    // The workspace's own configuration applies to the copy too. It gives way to the variable, unless
    // it was told to override it.
    command.env("LIBTORCH", &libtorch.folder);
    let mut set = |key: &str, value: &Path| {
        let value = toml::Value::from(&*value.to_string_lossy());
        command.arg("--config").arg(format!("{key}={value}"));
    };
    if linking::read(root).is_some_and(|own| own.forced) {
        set("env.LIBTORCH.value", &libtorch.folder);
    }
    if libtorch.cuda {
        let linker = linking::write_linker(&Places::of_user()?)?;
        set("target.'cfg(target_os = \"linux\")'.linker", &linker);
    }
    let status = command.status().map_err(|e| Error::program(&command, e))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::program(&command, status)),
    }
}

/// No symbol of `libtorch_cuda` is referenced, so that a linker may drop it: no GPU is found then.
fn expect_cuda(program: &Path) -> Result<()> {
    let content = fs::read(program).map_err(Error::io("cannot read", program))?;
    let name = b"libtorch_cuda.so";
    if content.windows(name.len()).any(|part| part == name) {
        return Ok(());
    }
    let reason = "the linker has dropped libtorch_cuda; remove other linkers and flags from cargo's \
                  configuration";
    Err(Error::invalid(program.display(), reason))
}

/// Fills the folder and returns its size.
fn write_folder(program: &Path, scripts: &Path, folder: &Path) -> Result<u64> {
    empty_folder(folder)?;
    let files = SCRIPTS.map(|name| scripts.join(name));
    let mut size = 0;
    for from in std::iter::once(program).chain(files.iter().map(PathBuf::as_path)) {
        let to = folder.join(from.file_name().unwrap_or_default());
        size += fs::copy(from, &to).map_err(Error::io("cannot copy to", &to))?;
        make_executable(&to)?;
    }
    check_size(folder, size)?;
    Ok(size)
}

fn check_size(folder: &Path, size: u64) -> Result<()> {
    if size <= LARGEST {
        return Ok(());
    }
    let reason = format!(
        "{}, more than {} MiB: link libtorch as a shared library (unset LIBTORCH_STATIC), and \
         leave debug symbols out",
        bytes(size),
        LARGEST >> 20
    );
    Err(Error::invalid(folder.display(), reason))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn libtorch(version: Option<&str>) -> Libtorch {
        Libtorch {
            folder: "/torch".into(),
            version: version.map(str::to_owned),
            cuda: true,
        }
    }

    #[test]
    fn each_libtorch_has_its_tch() {
        assert_eq!(pair(&libtorch(Some("2.11.0+cu130"))).unwrap().1, "0.24.0");
        assert_eq!(pair(&libtorch(Some("2.13.0"))).unwrap().1, "0.26.0");
        for (version, part) in [(Some("2.9.1"), "version 2.9.1"), (None, "version unknown")] {
            let error = pair(&libtorch(version)).unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains("2.11.0 and 2.13.0"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_project_is_built_with_a_pair_of_the_table() {
        let manifest = fs::read_to_string(testkit::workspace_root().join("Cargo.toml")).unwrap();
        let known = PAIRS.map(|(_, tch)| with_tch(&manifest, tch).unwrap());
        assert!(known.contains(&manifest), "add the project's own pair");
        let other = with_tch(&manifest, "0.1.2").unwrap();
        assert!(other.contains("\ntch = \"=0.1.2\"\n"));
        assert!(other.contains("\ntorch-sys = \"=0.1.2\"\n"));
        assert_eq!(with_tch("tch = \"0.1\"", "0.1.2"), None);
    }

    #[test]
    fn the_folder_holds_the_program_and_its_scripts() {
        let place = tempfile::tempdir().unwrap();
        let (program, folder) = (place.path().join(PROGRAM), place.path().join("folder"));
        fs::write(&program, "x").unwrap();
        let scripts = testkit::workspace_root().join("tests/gpu-check");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("old"), "").unwrap();
        let size = write_folder(&program, &scripts, &folder).unwrap();
        assert!((2..LARGEST).contains(&size));
        let entries = fs::read_dir(&folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["gpu-check", "peer.py", "run.sh"]);
    }

    #[test]
    fn what_cannot_be_used_is_an_error_that_says_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        let missing = |path: &Path| {
            let options = Options {
                libtorch: path.into(),
                nccl: false,
                out: None,
            };
            run(&options).unwrap_err().to_string()
        };
        let error = missing(&place.path().join("none"));
        assert!(error.contains("cannot read the libtorch at"), "{error}");
        let error = missing(place.path());
        assert!(error.contains("not a libtorch"), "{error}");
        let error = check_size(place.path(), LARGEST + 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("64") && error.contains("LIBTORCH_STATIC"),
            "{error}"
        );
        assert!(check_size(place.path(), LARGEST).is_ok());
        let program = place.path().join(PROGRAM);
        fs::write(&program, "an ELF that needs libtorch_cpu.so").unwrap();
        let error = expect_cuda(&program).unwrap_err().to_string();
        assert!(error.contains("dropped libtorch_cuda"), "{error}");
        fs::write(&program, "an ELF that needs libtorch_cuda.so").unwrap();
        assert!(expect_cuda(&program).is_ok());
    }
}
