//! `.rar` files, unpacked by a program of the system.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{check_inside, refused, staged};
use crate::workspace::{output, output_of};
use crate::{Error, Result};

/// Programs that unpack `.rar`, the most faithful first.
const PROGRAMS: [&str; 6] = ["unrar", "bsdtar", "unar", "7z", "7zz", "7za"];

/// The programs in the folders of `search_path`, in the form of `PATH`, that unpack `.rar`.
pub(crate) fn programs(search_path: &OsStr) -> impl Iterator<Item = (&'static str, PathBuf)> {
    let find = |name| {
        let mut files = std::env::split_paths(search_path).map(|folder| folder.join(name));
        Some((name, files.find(|file| file.is_file())?))
    };
    // Some builds of 7-Zip do not read the format, Debian's among them.
    let reads_rar = |(name, program): &(&str, PathBuf)| {
        !name.starts_with("7z")
            || output_of(program, &["i"]).is_some_and(|formats| formats.contains(" Rar "))
    };
    PROGRAMS.into_iter().filter_map(find).filter(reads_rar)
}

/// Unpacks `archive` into the emptied folder `into`, with a program of `search_path`.
///
/// # Errors
/// No program is found, or the archive is damaged or contains links or paths outside the folder.
pub(crate) fn unpack(search_path: &OsStr, archive: &Path, into: &Path) -> Result<()> {
    let (name, program) = programs(search_path).next().ok_or_else(|| {
        let what = format!("no program for .rar: one of {}", PROGRAMS.join(", "));
        let fix = "install one, then run this again:\n  \
                   Debian, Ubuntu  sudo apt install libarchive-tools\n  \
                   Fedora          sudo dnf install bsdtar\n  \
                   macOS           bsdtar is preinstalled; else brew install libarchive";
        Error::machine(what, fix)
    })?;
    staged(into, || {
        let entries = entries(name, &program, archive)?;
        if entries.is_empty() {
            return Err(Error::invalid(archive.display(), "contains no file"));
        }
        for entry in &entries {
            check_inside(archive, entry)?;
        }
        let mut command = Command::new(&program);
        match name {
            "unrar" => command
                .args(["x", "-o+", "-idq", "-p-", "--"])
                .arg(archive)
                .arg(into.join("")),
            "bsdtar" => command.arg("-xf").arg(archive).arg("-C").arg(into),
            "unar" => command
                .args(["-quiet", "-no-directory", "-output-directory"])
                .args([into, archive]),
            _ => {
                let mut folder = OsString::from("-o");
                folder.push(into);
                command.args(["x", "-y", "-bd"]).arg(folder).arg(archive)
            }
        };
        run(&mut command, archive)?;
        check_files(archive, into)
    })
}

/// The paths in the archive.
fn entries(name: &str, program: &Path, archive: &Path) -> Result<Vec<String>> {
    let mut command = Command::new(program);
    let mut prefix = "";
    let mut skip = 0;
    match name {
        "unrar" => command.args(["lb", "-p-", "--"]),
        "bsdtar" => command.arg("-tf"),
        "unar" => {
            command = Command::new(program.with_file_name("lsar"));
            // The first line is the archive's name.
            skip = 1;
            &mut command
        }
        _ => {
            prefix = "Path = ";
            command.args(["l", "-slt", "-ba"])
        }
    }
    .arg(archive);
    let listing = run(&mut command, archive)?;
    let lines = listing.lines().skip(skip);
    let entries = lines.filter_map(|line| line.strip_prefix(prefix));
    let entries = entries.filter(|entry| !entry.trim().is_empty());
    Ok(entries.map(str::to_owned).collect())
}

fn run(command: &mut Command, archive: &Path) -> Result<String> {
    output(command).map_err(|e| Error::invalid(archive.display(), format!("unpacking failed: {e}")))
}

/// # Errors
/// Something below `folder` is a link or a special file.
fn check_files(archive: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("cannot list", folder))? {
        let path = entry.map_err(Error::io("cannot list", folder))?.path();
        let metadata = fs::symlink_metadata(&path).map_err(Error::io("cannot read", &path))?;
        if metadata.is_dir() {
            check_files(archive, &path)?;
        } else if !metadata.is_file() || metadata.nlink() > 1 {
            let entry = path.file_name().unwrap_or_default().display();
            let fault = "is a link or not a regular file";
            return Err(refused(archive, entry, fault));
        }
    }
    Ok(())
}
