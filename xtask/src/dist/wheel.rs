//! `cargo xtask wheel`: the Python package with the programs and FFmpeg inside, which uses the libtorch of
//! the installed torch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::elf::Glibc;
use super::tree::{ENGINE, Tree};
use super::{ffmpeg, libraries, libtorch_of};
use crate::places::{copy_tree, empty_folder, make_folder};
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
    Ok(())
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
    let stage = work.join("wheel");
    empty_folder(&stage)?;
    copy_tree(&root.join(SOURCE), &stage)?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&root.join(licence), &stage.join(licence))?;
    }
    let tree = Tree::new(stage.join(NATIVE))?;
    tree.add_programs(&programs.join("trainer-front"), &programs.join("trainer"))?;
    let [own, torch @ ..] = &libraries(&libtorch, &ffmpeg)[..] else {
        return Err(Error::invalid("the folders of libraries", "none"));
    };
    let glibc = tree.add_libraries_beside(std::slice::from_ref(own), torch)?;
    tree.add_data(&root, &ffmpeg)?;
    super::add_notices(&root, &tree, &ffmpeg)?;
    find_torch(&tree, options.development)?;
    let wheel = pack(&root, &stage, glibc, options.out.as_ref().unwrap_or(&work))?;
    Ok((wheel, glibc))
}

/// The programs that the wheel is made with, and where they are from.
fn expect_programs() -> Result<()> {
    if output_of("patchelf", &["--version"]).is_none() {
        return Err(Error::machine("patchelf", "run apt-get install patchelf"));
    }
    let pip = ["-c", "import pip, setuptools.command.bdist_wheel"];
    match output_of(python(), &pip) {
        Some(_) => Ok(()),
        None => Err(Error::machine(
            python(),
            "run `python3 -m pip install --upgrade pip setuptools`, in an environment of your own",
        )),
    }
}

/// Makes the engine look for libtorch beside the package. It needs `libtorch.so`, too, which loads CUDA's
/// part where the installed torch has one.
fn find_torch(tree: &Tree, development: bool) -> Result<()> {
    let engine = tree.folder.join(ENGINE);
    if development {
        output(Command::new("strip").arg(&engine))?;
    }
    let mut patch = Command::new("patchelf");
    patch.args(["--force-rpath", "--set-rpath", SEARCH]);
    output(patch.args(["--add-needed", "libtorch.so"]).arg(&engine)).map(drop)
}

/// The wheel of the folder `stage`, with every file of the time of the commit, in `out`.
fn pack(root: &Path, stage: &Path, glibc: Glibc, out: &Path) -> Result<PathBuf> {
    let platform = format!("manylinux_{}_x86_64", glibc.to_string().replace('.', "_"));
    let made = stage.join("dist");
    let mut pip = Command::new(python());
    pip.args(["-m", "pip", "wheel", "--no-deps", "--no-build-isolation"])
        .arg(format!("--config-settings=--build-option=--plat-name={platform}"))
        .arg("--wheel-dir")
        .arg(&made)
        .arg(".")
        .current_dir(stage)
        .env("SOURCE_DATE_EPOCH", super::time_of_commit(root)?.to_string());
    output(&mut pip)?;
    let entries = fs::read_dir(&made).map_err(Error::io("cannot list", &made))?;
    let wheel = entries.flatten().map(|entry| entry.path()).next();
    let wheel = wheel.ok_or_else(|| Error::program(&pip, "it has made no wheel"))?;
    make_folder(out)?;
    let to = out.join(wheel.file_name().unwrap_or_default());
    copy(&wheel, &to)?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .map_err(Error::io("cannot copy", from))
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
