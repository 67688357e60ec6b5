//! `cargo xtask release-check`: makes a release and tries it as its users would. Its tables are in
//! `docs/release.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::pack::files;
use super::root::Root;
use super::tree::{DATA, DOCS, ENGINE, FRONT, LIBRARIES};
use super::{Archive, TARGET, ffmpeg, wheel};
use crate::places::{empty_folder, write_between};
use crate::progress::bytes;
use crate::workspace::{self, cargo, output_of};
use crate::{Error, Result, supply_chain};

/// The page with the tables.
const PAGE: &str = "docs/release.md";

/// The longest time of an answer without the engine, in milliseconds.
const QUICK: f64 = 50.0;
/// Starts of which the median is taken.
const STARTS: usize = 21;

/// Options of the check.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only make the folder with the development build and try it, as `cargo xtask test` does
    #[arg(long)]
    pub development: bool,
}

/// Makes a release, checks it, and writes the tables.
///
/// # Errors
/// It cannot be made, or a check fails.
pub fn run(options: &Options) -> Result<()> {
    let root = workspace::root();
    if options.development {
        return match super::try_development(&root)? {
            None => Ok(()),
            Some(reason) => Err(Error::machine("the development build", reason)),
        };
    }
    let archive = super::make(&super::Options { out: None })?;
    let mut table = format!(
        "`{}`: {} packed, for {TARGET} with glibc {} or newer.\n\n",
        archive.path.file_name().unwrap_or_default().display(),
        bytes(archive.size),
        archive.glibc,
    );
    let terms = check_terms(&root, &archive)?;
    decode_with_its_ffmpeg(&root)?;
    let empty = Root::of_archive(&archive.path)?;
    empty.check_sums()?;
    empty.try_commands()?;
    empty.try_container(&root)?;
    table += &terms;
    wheel::run(&wheel::Options {
        out: None,
        development: false,
        test: true,
    })?;
    table += &sizes(&archive)?;
    table += &starts(&archive)?;
    write_between(&root.join(PAGE), "release-check", &table)?;
    workspace::print(&table);
    Ok(())
}

/// Checks advisories, and licences: of the crates by cargo-deny, of FFmpeg by its configuration, of the others by their
/// notices. What was checked.
fn check_terms(root: &Path, archive: &Archive) -> Result<String> {
    supply_chain::licences(root)?;
    let advisories = supply_chain::advisories(root)?;
    let avcodec = archive.folder.join(LIBRARIES).join("libavcodec.so.59");
    let content = fs::read(&avcodec).map_err(Error::io("cannot read", &avcodec))?;
    let says = |text: &str| {
        content
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    if !says("LGPL version 2.1 or later") || says("--enable-gpl") {
        return Err(Error::invalid(
            avcodec.display(),
            "not configured for the LGPL",
        ));
    }
    for file in [
        "torch/LICENSE",
        "torch/third_party/kineto/LICENSE",
        "ffmpeg/COPYING.LGPLv2.1",
        "dav1d/COPYING",
        "zlib/debian-copyright",
        "gcc/libstdc++6",
        "crates.txt",
    ] {
        let path = archive.folder.join(DOCS).join("licences").join(file);
        let size = fs::metadata(&path)
            .map_err(Error::io("no licence at", &path))?
            .len();
        if size < 500 {
            return Err(Error::invalid(path.display(), "shorter than a licence"));
        }
    }
    Ok(format!(
        "Licences: crates by cargo-deny; FFmpeg configured for LGPL 2.1 or later; notices of libtorch, CUDA's \
         run-time libraries, FFmpeg, dav1d, zlib and GCC are inside. \
         Advisories: {advisories}.\n\n"
    ))
}

/// Runs the tests of exact decoding, first with the system's FFmpeg, which makes the videos, then with
/// the release's, which has to decode the same frames.
fn decode_with_its_ffmpeg(root: &Path) -> Result<()> {
    let work = workspace::target(root).join("dist");
    let ffmpeg = ffmpeg::ensure(&work)?;
    let kept = work.join("videos");
    empty_folder(&kept)?;
    for libraries in [None, Some(ffmpeg.folder.join("lib"))] {
        let mut tests = cargo(root);
        let line = "test --package video --test decode -- --include-ignored";
        tests.args(line.split(' ')).env("SIF_KEPT_VIDEOS", &kept);
        if output_of("ffmpeg", &["-version"]).is_none() {
            eprintln!("note: without the program ffmpeg, its videos are left out");
            tests.args(["--skip", "needs_ffmpeg::"]);
        }
        if let Some(libraries) = libraries {
            tests.env("LD_LIBRARY_PATH", libraries);
        }
        let status = tests.status().map_err(|e| Error::program(&tests, e))?;
        if !status.success() {
            return Err(Error::program(&tests, status));
        }
    }
    Ok(())
}

/// The sizes of the parts, unpacked.
fn sizes(archive: &Archive) -> Result<String> {
    let mut rows = Vec::new();
    let mut all = 0;
    let parts = [
        ("front (`bin/trainer`)", FRONT),
        ("engine", ENGINE),
        ("FFmpeg", "lib/seeing-in-flowing/lib{av,sw}"),
        ("libtorch and its libraries", "lib/seeing-in-flowing"),
        ("vocabulary, demo, templates", DATA),
        ("everything else", ""),
    ];
    let mut sizes = vec![0; parts.len()];
    for file in files(&archive.folder)? {
        let path = archive.folder.join(&file);
        let size = fs::metadata(&path)
            .map_err(Error::io("cannot read", &path))?
            .len();
        let name = file.to_string_lossy();
        let is_ffmpeg = name.contains("/libav") || name.contains("/libsw");
        let at = parts
            .iter()
            .position(|(_, start)| match start.contains('{') {
                true => is_ffmpeg,
                false => name.starts_with(start),
            });
        if let Some(sum) = at.and_then(|at| sizes.get_mut(at)) {
            *sum += size;
        }
        all += size;
    }
    for ((name, _), size) in parts.iter().zip(sizes) {
        rows.push(format!("| {name} | {} |", bytes(size)));
    }
    rows.push(format!("| all, unpacked | {} |", bytes(all)));
    Ok(format!(
        "| part | size |\n|---|---:|\n{}\n\n",
        rows.join("\n")
    ))
}

/// Milliseconds of the start of several commands, as medians.
fn starts(archive: &Archive) -> Result<String> {
    let mut text = String::from("| command | median start |\n|---|---:|\n");
    let front = archive.folder.join(FRONT);
    let engine = archive.folder.join(ENGINE);
    for (program, name, words, quick) in [
        (&front, "trainer", "--help", true),
        (&front, "trainer", "predict --help", true),
        (&front, "trainer", "--version", true),
        (&front, "trainer", "predict", true),
        (&engine, "the engine itself", "--help", false),
    ] {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let mut command = Command::new(program);
            command
                .args(words.split(' '))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let started = Instant::now();
            command.status().map_err(|e| Error::program(&command, e))?;
            times.push(1e3 * started.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let median = times.get(STARTS / 2).copied().unwrap_or_default();
        if quick && median > QUICK {
            let reason = format!("{median:.0} ms, more than {QUICK:.0}");
            return Err(Error::invalid(format!("{name} {words}"), reason));
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{name} {words}` | {median:.1} ms |");
    }
    Ok(text)
}
