//! `cargo xtask wheel`: the Python package with the programs and FFmpeg inside, which uses the libtorch of
//! the installed torch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::elf::Glibc;
use super::tree::{ENGINE, Tree};
use super::{ffmpeg, libraries, libtorch_of};
use crate::places::{empty_folder, make_folder};
use crate::progress::bytes;
use crate::registry::python;
use crate::workspace::{self, cargo, output, output_of};
use crate::{Error, Result, setup};

/// The package without the programs.
const SOURCE: &str = "packaging/python";
/// The folder of the programs in it, laid out as a release.
const NATIVE: &str = "src/seeing_in_flowing/_native";
/// The engine's search path: the wheel's own libraries, and torch's, which is installed beside the package.
const SEARCH: &str = "$ORIGIN/../../lib/seeing-in-flowing:$ORIGIN/../../../../torch/lib";

/// Options of the wheel.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The folder for the wheel [default: target/dist]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// With the development build
    #[arg(long)]
    pub development: bool,
    /// Install it in an environment of its own, with torch, and run its tests and mypy there
    #[arg(long)]
    pub test: bool,
}

/// Builds the programs and writes the wheel.
///
/// # Errors
/// As for a release; Python's pip or patchelf is missing or fails.
pub fn run(options: &Options) -> Result<()> {
    let (path, glibc) = make(options)?;
    let size = fs::metadata(&path).map_err(Error::io("cannot read", &path))?;
    eprintln!(
        "{}, for glibc {glibc} or newer and torch {}",
        bytes(size.len()),
        setup::libtorch::VERSION
    );
    workspace::print(&path.display().to_string());
    match options.test {
        true => test(&path),
        false => Ok(()),
    }
}

/// Installs the `wheel` as a user does, and runs the package's tests and mypy.
fn test(wheel: &Path) -> Result<()> {
    let environment = wheel.with_file_name("wheel-environment");
    let venv = ["-m", "venv", "--clear"];
    output(Command::new(python()).args(venv).arg(&environment))?;
    let own = environment.join("bin/python");
    let mut pip = Command::new(&own);
    pip.args(["-m", "pip", "install", "--quiet", "pytest", "mypy"]);
    output(pip.arg(wheel))?;
    for module in ["mypy", "pytest"] {
        let mut check = Command::new(&own);
        check
            .args(["-m", module])
            .current_dir(workspace::root().join(SOURCE))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let status = check.status().map_err(|e| Error::program(&check, e))?;
        if !status.success() {
            return Err(Error::program(&check, status));
        }
    }
    fs::remove_dir_all(&environment).map_err(Error::io("cannot remove", &environment))
}

fn make(options: &Options) -> Result<(PathBuf, Glibc)> {
    super::expect_supported()?;
    expect_programs()?;
    setup::ensure()?;
    let root = workspace::root();
    let work = workspace::target(&root).join("dist");
    let libtorch = libtorch_of(&root)?;
    let ffmpeg = ffmpeg::ensure(&work)?;
    let programs = match options.development {
        true => {
            let mut build = cargo(&root);
            build.args(["build", "--package", "trainer", "--package", "cli"]);
            output(&mut build)?;
            workspace::target(&root).join("debug")
        }
        false => super::build(&root, &work.join("build"), &libtorch, &ffmpeg)?,
    };
    let stage = Tree::new(work.join("wheel"))?;
    let mut git = Command::new("git");
    let sources = output(git.args(["ls-files", "-z"]).current_dir(root.join(SOURCE)))?;
    for file in sources.split_terminator('\0') {
        stage.copy(&root.join(SOURCE).join(file), file)?;
    }
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        stage.copy(&root.join(licence), licence)?;
    }
    let tree = Tree::new(stage.folder.join(NATIVE))?;
    tree.add_programs(&programs.join("trainer-front"), &programs.join("trainer"))?;
    let folders = libraries(&libtorch, &ffmpeg);
    let (own, torch) = folders.split_at(1);
    let glibc = tree.add_libraries_beside(own, torch)?;
    tree.add_data(&root, &ffmpeg)?;
    super::add_notices(&root, &tree, &ffmpeg, false)?;
    find_torch(&tree, options.development)?;
    let out = options.out.as_ref().unwrap_or(&work);
    let wheel = pack(&root, &stage.folder, glibc, out)?;
    Ok((wheel, glibc))
}

/// The programs that the wheel is made with, and where they are from.
fn expect_programs() -> Result<()> {
    if output_of("patchelf", &["--version"]).is_none() {
        return Err(Error::machine("patchelf", "run apt-get install patchelf"));
    }
    match output_of(python(), &["-m", "pip", "--version"]) {
        Some(_) => Ok(()),
        None => Err(Error::machine("pip", "run apt-get install python3-pip")),
    }
}

/// Makes the engine look for libtorch beside the package. It needs `libtorch.so`, too, which loads CUDA's
/// part where the installed torch has one.
fn find_torch(tree: &Tree, development: bool) -> Result<()> {
    let engine = tree.folder.join(ENGINE);
    if development {
        output(Command::new("strip").arg(&engine))?;
    }
    // One after the other: patchelf 0.14 mixes them up in one call.
    for change in [
        &["--add-needed", "libtorch.so"][..],
        &["--force-rpath", "--set-rpath", SEARCH],
    ] {
        output(Command::new("patchelf").args(change).arg(&engine))?;
    }
    Ok(())
}

/// The wheel of the folder `stage`, with every file of the time of the commit, in `out`.
fn pack(root: &Path, stage: &Path, glibc: Glibc, out: &Path) -> Result<PathBuf> {
    let platform = format!("manylinux_{}_x86_64", glibc.to_string().replace('.', "_"));
    let made = stage.join("dist");
    empty_folder(&made)?;
    let mut pip = Command::new(python());
    pip.args(["-m", "pip", "wheel", "--quiet", "--no-deps"])
        .arg(format!(
            "--config-settings=--build-option=--plat-name={platform}"
        ))
        .arg("--wheel-dir")
        .arg(&made)
        .arg(".")
        .current_dir(stage)
        .env(
            "SOURCE_DATE_EPOCH",
            super::time_of_commit(root)?.to_string(),
        );
    output(&mut pip)?;
    let entries = fs::read_dir(&made).map_err(Error::io("cannot list", &made))?;
    let wheel = entries.flatten().map(|entry| entry.path()).next();
    let wheel = wheel.ok_or_else(|| Error::program(&pip, "it has made no wheel"))?;
    make_folder(out)?;
    let to = out.join(wheel.file_name().unwrap_or_default());
    fs::copy(&wheel, &to).map_err(Error::io("cannot copy", &wheel))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_package_states_this_version_and_that_of_libtorch() {
        let folder = testkit::workspace_root().join(SOURCE);
        let text = fs::read_to_string(folder.join("pyproject.toml")).unwrap();
        let project: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(
            project["project"]["version"].as_str(),
            Some(env!("CARGO_PKG_VERSION"))
        );
        let (minor, _) = setup::libtorch::VERSION.rsplit_once('.').unwrap();
        assert!(text.contains(&format!("\"torch=={minor}.*\"")));
        let launcher = folder.join("src/seeing_in_flowing/_program.py");
        let launcher = fs::read_to_string(launcher).unwrap();
        assert!(launcher.contains(&format!("TORCH = \"{minor}\"")));
    }
}
