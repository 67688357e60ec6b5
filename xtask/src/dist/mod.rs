//! `cargo xtask dist`: a release that stands on its own. `docs/release.md` describes it.

pub mod check;
mod crates;
mod elf;
mod ffmpeg;
mod notices;
mod pack;
mod root;
mod sbom;
mod tree;
pub mod wheel;

use std::path::{Path, PathBuf};
use std::process::Command;

use self::elf::{Glibc, Requirements};
use self::ffmpeg::Ffmpeg;
use self::root::Root;
use self::sbom::Part;
use self::tree::{DOCS, LIBRARIES, Tree};
use crate::places::{Places, make_folder};
use crate::progress::bytes;
use crate::setup::libtorch::Libtorch;
use crate::setup::linking;
use crate::workspace::{self, cargo, output};
use crate::{Error, Result, setup};

/// The target that releases are made for, and made on.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The packages of the two programs.
const PROGRAMS: [&str; 2] = ["trainer", "cli"];
/// The size limit of the archive in bytes.
const LARGEST: u64 = 250_000_000;

/// Options of a release.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The folder for the archive [default: target/dist]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A finished archive.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) glibc: Glibc,
    /// The folder that was packed.
    folder: PathBuf,
}

/// Builds the release and writes its archive.
///
/// # Errors
/// This machine is not of the supported target, or lacks something; the build fails; a program needs
/// a newer C library; the archive is too large.
pub fn run(options: &Options) -> Result<()> {
    let archive = make(options)?;
    eprintln!(
        "{}, for {TARGET} with glibc {} or newer",
        bytes(archive.size),
        archive.glibc
    );
    workspace::print(&archive.path.display().to_string());
    Ok(())
}

pub(crate) fn make(options: &Options) -> Result<Archive> {
    expect_supported()?;
    setup::ensure()?;
    let root = workspace::root();
    let work = workspace::target(&root).join("dist");
    let libtorch = libtorch_of(&root)?;
    let ffmpeg = ffmpeg::ensure(&work)?;
    let programs = build(&root, &work.join("build"), &ffmpeg)?;
    let name = format!(
        "seeing-in-flowing-{}-x86_64-linux",
        env!("CARGO_PKG_VERSION")
    );
    let tree = Tree::new(work.join(&name))?;
    tree.add_programs(&programs.join("trainer-front"), &programs.join("trainer"))?;
    let glibc = tree.add_libraries(&libraries(&libtorch, &ffmpeg))?;
    tree.add_data(&root, &ffmpeg)?;
    tree.add_command_line()?;
    tree.add_answers(None)?;
    add_notices(&root, &tree, &ffmpeg, true)?;
    tree.add_sums()?;
    let folder = options.out.as_ref().unwrap_or(&work);
    make_folder(folder)?;
    let path = folder.join(format!("{name}.tar.zst"));
    eprintln!("packing {}", path.display());
    pack::pack(&tree.folder, time_of_commit(&root)?, &path)?;
    let size = std::fs::metadata(&path)
        .map_err(Error::io("cannot read", &path))?
        .len();
    if size > LARGEST {
        let reason = format!("{}, more than {}", bytes(size), bytes(LARGEST));
        return Err(Error::invalid(path.display(), reason));
    }
    Ok(Archive {
        path,
        size,
        glibc,
        folder: tree.folder,
    })
}

/// Makes the folder of a release with the development build, and runs its programs in an empty root.
/// Returns the reason where this machine cannot.
///
/// # Errors
/// Something is missing in the folder, or a program fails.
pub(crate) fn try_development(root: &Path) -> Result<Option<&'static str>> {
    let work = workspace::target(root).join("dist");
    let (Ok(()), Some(ffmpeg)) = (expect_supported(), ffmpeg::built(&work)?) else {
        return Ok(Some(
            "no FFmpeg for releases here; `cargo xtask dist` builds it",
        ));
    };
    if !Root::is_possible() {
        return Ok(Some("this user may not make namespaces"));
    }
    let libtorch = libtorch_of(root)?;
    let mut build = cargo(root);
    build
        .arg("build")
        .args(PROGRAMS.iter().flat_map(|name| ["--package", *name]));
    output(&mut build)?;
    let programs = workspace::target(root).join("debug");
    let engine = programs.join("trainer");
    let needs = Requirements::of(&engine)?.map_or_else(Vec::new, |needs| needs.libraries);
    let is_ffmpeg = |name: &&String| name.starts_with("libav") || name.starts_with("libsw");
    if !needs
        .iter()
        .filter(is_ffmpeg)
        .all(|name| ffmpeg.folder.join("lib").join(name).exists())
    {
        return Ok(Some(
            "the workspace is linked with an FFmpeg of another version",
        ));
    }
    let tree = Tree::new(work.join("development"))?;
    tree.add_programs(&programs.join("trainer-front"), &engine)?;
    tree.add_libraries(&libraries(&libtorch, &ffmpeg))?;
    tree.add_data(root, &ffmpeg)?;
    tree.add_command_line()?;
    tree.add_answers(Some(&tree.folder.join(LIBRARIES)))?;
    tree.add_sums()?;
    Root::of_folder(&tree.folder)?.try_commands()?;
    std::fs::remove_dir_all(&tree.folder).map_err(Error::io("cannot remove", &tree.folder))?;
    Ok(None)
}

/// # Errors
/// Releases are not made here.
fn expect_supported() -> Result<()> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    match cfg!(target_env = "gnu") && (os, arch) == ("linux", "x86_64") {
        true => Ok(()),
        false => Err(Error::machine(
            format!("{os} on {arch}"),
            format!("releases are made on and for {TARGET} alone; build from source here"),
        )),
    }
}

/// The libtorch for the CPU that the workspace is linked with.
fn libtorch_of(root: &Path) -> Result<Libtorch> {
    let written =
        linking::read(root).ok_or_else(|| Error::machine("libtorch", "run cargo xtask setup"))?;
    let libtorch = Libtorch::at(&written.libtorch)?;
    match libtorch.cuda {
        false => Ok(libtorch),
        true => Err(Error::machine(
            libtorch.folder.display(),
            "a release is for the CPU, and this libtorch is for CUDA; run cargo xtask setup",
        )),
    }
}

/// The folders with the libraries of a release.
fn libraries(libtorch: &Libtorch, ffmpeg: &Ffmpeg) -> Vec<PathBuf> {
    let wheels = libtorch.folder.parent().unwrap_or(&libtorch.folder);
    vec![
        ffmpeg.folder.join("lib"),
        libtorch.folder.join("lib"),
        wheels.join("nvidia/cu13/lib"),
    ]
}

/// Builds both programs, without a path of this machine in them. Returns the folder they are in.
fn build(root: &Path, target: &Path, ffmpeg: &Ffmpeg) -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let own = [
        (Some(root), "/seeing-in-flowing"),
        (home.as_deref(), "/cargo"),
    ];
    let map = |flag: &str, from: Option<&Path>, to: &str| {
        from.map(|from| format!("{flag}={}={to}", from.display()))
    };
    let rust = own
        .iter()
        .filter_map(|(from, to)| map("--remap-path-prefix", *from, to));
    let mut flags: Vec<String> = rust.collect();
    // Ahead of LD_LIBRARY_PATH, which may lead to another libtorch.
    flags.push(
        "-Clink-arg=-Wl,--disable-new-dtags,-rpath,$ORIGIN/../../lib/seeing-in-flowing".into(),
    );
    let headers = Places::of_user()?.cache;
    let c = [(Some(&*headers), "/libtorch")].into_iter().chain(own);
    let c = c.filter_map(|(from, to)| map("-ffile-prefix-map", from, to));
    let c_flags = c.collect::<Vec<_>>().join(" ");
    let mut command = cargo(root);
    command.args(["build", "--release", "--locked"]);
    command.args(PROGRAMS.iter().flat_map(|name| ["--package", *name]));
    command
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CFLAGS", &c_flags)
        .env("CXXFLAGS", &c_flags)
        .env("FFMPEG_DIR", &ffmpeg.folder)
        .env("SEEING_IN_FLOWING_RELEASE", "1");
    let status = command.status().map_err(|e| Error::program(&command, e))?;
    match status.success() {
        true => Ok(target.join("release")),
        false => Err(Error::program(&command, status)),
    }
}

/// Adds licences and notices, and the bill of materials; of libtorch where it is inside.
fn add_notices(root: &Path, tree: &Tree, ffmpeg: &Ffmpeg, libtorch: bool) -> Result<()> {
    let licences = tree.folder.join(DOCS).join("licences");
    make_folder(&licences)?;
    let crates = crates::linked(root, &PROGRAMS, TARGET)?;
    notices::of_crates(&crates, &licences.join("crates.txt"))?;
    if libtorch {
        notices::of_libtorch(&licences)?;
    }
    notices::of_gcc(&licences.join("gcc"))?;
    let terms = ffmpeg.folder.join("licences");
    for file in pack::files(&terms)? {
        tree.copy(
            &terms.join(&file),
            &format!("{DOCS}/licences/{}", file.display()),
        )?;
    }
    let bill = sbom::cyclone_dx(env!("CARGO_PKG_VERSION"), &crates, &parts(ffmpeg, libtorch));
    let text = serde_json::to_string_pretty(&bill).map_err(|e| Error::invalid("the bill", e))?;
    tree.write(&format!("{DOCS}/sbom.cdx.json"), text + "\n")
}

/// The parts of a release that are not crates.
fn parts(ffmpeg: &Ffmpeg, libtorch: bool) -> Vec<Part> {
    let wheel = |name: &str, version: &str, licence| Part {
        name: name.into(),
        version: version.into(),
        licence,
        purl: format!("pkg:pypi/{name}@{version}"),
    };
    let pins = setup::wheels::pins("linux", "x86_64").ok().flatten();
    let pins = pins.filter(|_| libtorch);
    let wheels = pins.into_iter().flat_map(|pins| pins.cpu).map(|one| {
        let licence = match one.package().as_str() {
            "torch" => "BSD-3-Clause",
            _ => "LicenseRef-NVIDIA-CUDA-EULA",
        };
        wheel(&one.package(), one.version(), licence)
    });
    let debian = |name: &str, version: &str, licence| Part {
        name: name.into(),
        version: version.into(),
        licence,
        purl: format!("pkg:deb/debian/{name}@{version}"),
    };
    let sources = ffmpeg.sources.iter().map(|(name, version)| {
        let licence = match name.as_str() {
            "ffmpeg" => "LGPL-2.1-or-later",
            "dav1d" => "BSD-2-Clause",
            _ => "Zlib",
        };
        debian(name, version, licence)
    });
    let gcc = notices::GCC.iter().map(|package| {
        let mut ask = Command::new("dpkg-query");
        let version = output(ask.args(["-f", "${Version}", "-W", package])).unwrap_or_default();
        debian(package, &version, "GPL-3.0-or-later WITH GCC-exception-3.1")
    });
    wheels.chain(sources).chain(gcc).collect()
}

/// Seconds from 1970 to the commit that is built: the time of all files.
fn time_of_commit(root: &Path) -> Result<u64> {
    let mut git = Command::new("git");
    let text = output(git.args(["log", "-1", "--format=%ct"]).current_dir(root))?;
    text.trim()
        .parse()
        .map_err(|e| Error::invalid("the time of the commit", e))
}
