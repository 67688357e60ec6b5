//! Unpacking archives of other people: into a folder of their own, looked at before
//! anything gets its final name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::MultiGzDecoder;

use super::Workplace;
use crate::places::{make_folder, sync_folder};
use crate::{Error, Result};

/// Programs that unpack `.rar`, the most faithful first; some builds of 7-Zip do not.
const PROGRAMS: [&str; 6] = ["unrar", "bsdtar", "unar", "7z", "7zz", "7za"];

/// Unpacks a `.rar` into `into`, which is made anew.
///
/// # Errors
/// No program for it is there (the error says how to get one), the archive is damaged, or
/// it holds links or names that leave the folder; then nothing of it is left.
pub(super) fn rar(place: &Workplace, archive: &Path, into: &Path) -> Result<()> {
    let (name, program) = find(&place.programs)?;
    fresh(into)?;
    let outcome = rar_with(name, &program, archive, into);
    if outcome.is_err() {
        let _ = fs::remove_dir_all(into);
    }
    outcome
}

fn rar_with(name: &str, program: &Path, archive: &Path, into: &Path) -> Result<()> {
    let run = |arguments: &[&OsStr]| -> Result<String> {
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io("start", program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let last = said.get(said.len().saturating_sub(3)..).unwrap_or_default();
        Err(Error::Archive {
            path: archive.into(),
            reason: format!("{name} failed ({}): {}", output.status, last.join("; ")),
        })
    };
    let text = OsStr::new;
    let archive_name = archive.as_os_str();
    // What is inside is looked at before anything is written.
    let names: Vec<String> = match name {
        "unrar" => lines(
            &run(&[text("lb"), text("-p-"), text("--"), archive_name])?,
            0,
            "",
        ),
        "bsdtar" => lines(&run(&[text("-tf"), archive_name])?, 0, ""),
        "unar" => {
            let lsar = program.with_file_name("lsar");
            let output = Command::new(&lsar)
                .arg(archive)
                .stdin(Stdio::null())
                .output()
                .map_err(Error::io("start", &lsar))?;
            // The first line names the archive.
            lines(&String::from_utf8_lossy(&output.stdout), 1, "")
        }
        _ => {
            let list = run(&[text("l"), text("-slt"), text("-ba"), archive_name])?;
            lines(&list, 0, "Path = ")
        }
    };
    if names.is_empty() {
        return Err(Error::Archive {
            path: archive.into(),
            reason: "holds nothing".into(),
        });
    }
    for entry in &names {
        if !stays_inside(Path::new(entry.trim_end_matches('/'))) {
            return Err(leaves(archive, entry));
        }
    }
    match name {
        "unrar" => {
            let mut folder = into.as_os_str().to_owned();
            folder.push("/");
            run(&[
                text("x"),
                text("-o+"),
                text("-idq"),
                text("-p-"),
                text("--"),
                archive_name,
                &folder,
            ])?;
        }
        "bsdtar" => {
            run(&[text("-xf"), archive_name, text("-C"), into.as_os_str()])?;
        }
        "unar" => {
            let flags = [
                text("-quiet"),
                text("-no-directory"),
                text("-output-directory"),
            ];
            run(&[flags[0], flags[1], flags[2], into.as_os_str(), archive_name])?;
        }
        _ => {
            let mut folder = OsStr::new("-o").to_owned();
            folder.push(into);
            run(&[text("x"), text("-y"), text("-bd"), &folder, archive_name])?;
        }
    }
    only_files(archive, into)
}

/// The pieces `<archive>-00`, `-01` and so on of an archive that was cut.
pub(super) fn pieces(archive: &Path) -> Vec<PathBuf> {
    let piece = |number: u32| {
        let mut name = archive.as_os_str().to_owned();
        name.push(format!("-{number:02}"));
        PathBuf::from(name)
    };
    (0..)
        .map(piece)
        .take_while(|piece| piece.is_file())
        .collect()
}

/// Unpacks the regular files of a tar, compressed by gzip or not, into `into`, which is made
/// anew. Its content is that of `files` one after the other.
///
/// # Errors
/// The archive is damaged or cut short, or holds links, devices, names that leave the
/// folder or come twice; then nothing of it is left.
pub(super) fn tar(archive: &Path, files: &[PathBuf], into: &Path) -> Result<Vec<PathBuf>> {
    fresh(into)?;
    let outcome = tar_entries(archive, files, into);
    if outcome.is_err() {
        let _ = fs::remove_dir_all(into);
    }
    outcome
}

fn tar_entries(archive: &Path, files: &[PathBuf], into: &Path) -> Result<Vec<PathBuf>> {
    let broken = |reason: String| Error::Archive {
        path: archive.into(),
        reason,
    };
    let mut whole: Box<dyn Read> = Box::new(std::io::empty());
    for file in files {
        whole = Box::new(whole.chain(File::open(file).map_err(Error::io("open", file))?));
    }
    let mut reader = BufReader::with_capacity(1 << 20, whole);
    let start = reader
        .fill_buf()
        .map_err(|error| broken(error.to_string()))?;
    let reader: Box<dyn Read> = match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(reader)),
        _ => Box::new(reader),
    };
    let mut tar = tar::Archive::new(reader);
    let mut files = Vec::new();
    for entry in tar.entries().map_err(|error| broken(error.to_string()))? {
        let mut entry = entry.map_err(|error| broken(error.to_string()))?;
        let path = entry
            .path()
            .map_err(|error| broken(error.to_string()))?
            .into_owned();
        if !stays_inside(&path) {
            return Err(leaves(archive, &path.display().to_string()));
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() && !kind.is_contiguous() {
            return Err(broken(format!(
                "entry '{}' is a link or not a regular file; nothing was unpacked",
                path.display()
            )));
        }
        let path: PathBuf = path
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        let target = into.join(&path);
        if let Some(folder) = target.parent() {
            make_folder(folder)?;
        }
        let size = entry.size();
        let mut out = File::create_new(&target).map_err(Error::io("create", &target))?;
        let written = std::io::copy(&mut entry, &mut out)
            .map_err(|error| broken(format!("entry '{}': {error}", path.display())))?;
        if written != size {
            return Err(broken(format!(
                "entry '{}' says {size} bytes and holds {written}",
                path.display()
            )));
        }
        files.push(path);
    }
    if files.is_empty() {
        return Err(broken("holds no file".into()));
    }
    Ok(files)
}

/// The innermost folder below `folder` that `holds` says is still around what is looked
/// for, passing through folders that hold nothing but one folder.
pub(super) fn inner_folder(folder: &Path, holds: fn(&Path) -> bool) -> Result<PathBuf> {
    let mut inner = folder.to_path_buf();
    loop {
        let mut entries = fs::read_dir(&inner)
            .map_err(Error::io("list", &inner))?
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(Error::io("list", &inner))?;
        match (entries.pop(), entries.is_empty()) {
            (Some(only), true) if only.path().is_dir() && holds(&only.path()) => {
                inner = only.path();
            }
            _ => return Ok(inner),
        }
    }
}

/// Whether `folder` holds a folder, or an archive of one.
pub(super) fn holds_folders(folder: &Path) -> bool {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            let path = entry.path();
            path.is_dir() || path.extension().is_some_and(|extension| extension == "rar")
        })
}

/// Gives what was unpacked its final name.
pub(super) fn place_at(from: &Path, target: &Path) -> Result<()> {
    if let Some(folder) = target.parent() {
        make_folder(folder)?;
    }
    fs::rename(from, target).map_err(Error::io("rename to", target))?;
    if let Some(folder) = target.parent() {
        sync_folder(folder);
    }
    Ok(())
}

/// An empty folder at `path`, whatever was there.
pub(super) fn fresh(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", path)(error));
        }
        _ => {}
    }
    make_folder(path)
}

fn find(programs: &OsStr) -> Result<(&'static str, PathBuf)> {
    for name in PROGRAMS {
        for folder in std::env::split_paths(programs) {
            let program = folder.join(name);
            if program.is_file() {
                return Ok((name, program));
            }
        }
    }
    Err(Error::System {
        missing: format!(
            "a program that unpacks .rar, one of {}",
            PROGRAMS.join(", ")
        ),
        commands: "Debian, Ubuntu: sudo apt install libarchive-tools\n\
                   Fedora: sudo dnf install bsdtar\n\
                   macOS: it is there as bsdtar; else brew install libarchive"
            .into(),
    })
}

/// The lines after the first `skip` that start with `prefix`, without it.
fn lines(text: &str, skip: usize, prefix: &str) -> Vec<String> {
    text.lines()
        .skip(skip)
        .filter_map(|line| line.strip_prefix(prefix))
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

fn stays_inside(path: &Path) -> bool {
    let mut named = false;
    path.components().all(|part| match part {
        Component::Normal(name) => {
            named = true;
            !name.to_string_lossy().contains('\\')
        }
        Component::CurDir => true,
        _ => false,
    }) && (named || path == Path::new("."))
}

fn leaves(archive: &Path, entry: &str) -> Error {
    Error::Archive {
        path: archive.into(),
        reason: format!("entry '{entry}' leaves the folder; nothing was unpacked"),
    }
}

/// # Errors
/// Something below `folder` is neither a folder nor a file of its own.
fn only_files(archive: &Path, folder: &Path) -> Result<()> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
            if metadata.is_dir() {
                folders.push(path);
            } else if !metadata.is_file() || has_other_names(&metadata) {
                return Err(Error::Archive {
                    path: archive.into(),
                    reason: format!(
                        "entry '{}' is a link or not a regular file; nothing of it was kept",
                        path.file_name().unwrap_or_default().display()
                    ),
                });
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
fn has_other_names(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 1
}

#[cfg(not(unix))]
fn has_other_names(_: &fs::Metadata) -> bool {
    false
}
