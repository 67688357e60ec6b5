//! The FFmpeg of a release: a small one, of Debian's sources and the parts in `packaging/ffmpeg.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::places::{empty_folder, make_folder, write_whole};
use crate::workspace::{output, output_of};
use crate::{Error, Result};

const LIST: &str = include_str!("../../../packaging/ffmpeg.toml");

/// Debian's sources, for an apt that leaves the machine's own lists alone.
const DEBIAN: &str = "\
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security bookworm-security main
";

/// The programs that the build needs, and their packages.
const PROGRAMS: [(&str, &str); 6] = [
    ("dpkg-source", "dpkg-dev"),
    ("nasm", "nasm"),
    ("meson", "meson"),
    ("ninja", "ninja-build"),
    ("make", "make"),
    ("gcc", "gcc"),
];

/// FFmpeg's own files with its terms, of its source.
const TERMS: [(&str, &[&str]); 3] = [
    ("ffmpeg", &["LICENSE.md", "COPYING.LGPLv2.1"]),
    ("dav1d", &["COPYING"]),
    ("zlib", &["README"]),
];

#[derive(Debug, Deserialize)]
struct List {
    sources: BTreeMap<String, String>,
    /// Kinds of parts, such as `decoders`, with their names.
    parts: BTreeMap<String, Vec<String>>,
}

impl List {
    /// The source packages, as apt names them.
    fn packages(&self) -> Vec<String> {
        let packages = self.sources.iter();
        packages
            .map(|(name, version)| format!("{name}={version}"))
            .collect()
    }
}

/// A finished build: `include`, `lib`, `licences`, and `configure`.
#[derive(Debug)]
pub(super) struct Ffmpeg {
    pub(super) folder: PathBuf,
    /// The source packages and their versions.
    pub(super) sources: BTreeMap<String, String>,
}

/// FFmpeg's options.
fn configuration(list: &List) -> Vec<String> {
    let fixed = "--prefix=/ --disable-everything --disable-autodetect --disable-network \
                 --disable-protocols --disable-programs --disable-doc --disable-debug \
                 --disable-static --enable-shared --disable-avdevice --disable-avfilter \
                 --disable-postproc --disable-swresample --enable-zlib --enable-libdav1d \
                 --enable-parsers --extra-cflags=-I../prefix/include --extra-ldflags=-L../prefix/lib";
    let parts = list.parts.iter().map(|(kind, names)| {
        let kind = kind.trim_end_matches('s');
        format!("--enable-{kind}={}", names.join(","))
    });
    let fixed = fixed.split_whitespace().map(str::to_owned);
    fixed.chain(parts).collect()
}

/// The list, FFmpeg's options by it, and the record of a build with them.
fn plan() -> Result<(List, Vec<String>, String)> {
    let list: List =
        toml::from_str(LIST).map_err(|e| Error::invalid("packaging/ffmpeg.toml", e))?;
    let options = configuration(&list);
    let record = format!(
        "{}\n./configure {}\n",
        list.packages().join("\n"),
        options.join(" ")
    );
    Ok((list, options, record))
}

/// The build in `work`, if it is the list's.
pub(super) fn built(work: &Path) -> Result<Option<Ffmpeg>> {
    let (list, _, record) = plan()?;
    let folder = work.join("ffmpeg");
    let made = fs::read_to_string(folder.join("configure"));
    Ok(made.is_ok_and(|made| made == record).then_some(Ffmpeg {
        folder,
        sources: list.sources,
    }))
}

/// The build in `work`, made unless it is there. A change of the list makes it anew.
///
/// # Errors
/// A program is missing; Debian has other versions than the list; the build fails.
pub(super) fn ensure(work: &Path) -> Result<Ffmpeg> {
    if let Some(ffmpeg) = built(work)? {
        return Ok(ffmpeg);
    }
    let (list, options, record) = plan()?;
    expect_programs()?;
    let build = work.join("ffmpeg-build");
    eprintln!("fetching and building FFmpeg in {}", build.display());
    empty_folder(&build)?;
    fetch(&build, &list.packages())?;
    make(&build, &options)?;
    let ffmpeg = Ffmpeg {
        folder: work.join("ffmpeg"),
        sources: list.sources,
    };
    empty_folder(&ffmpeg.folder)?;
    copy(&build.join("out/include"), &ffmpeg.folder.join("include"))?;
    copy(&build.join("out/lib"), &ffmpeg.folder.join("lib"))?;
    for (name, files) in TERMS {
        let source = source(&build, name)?;
        let terms = ffmpeg.folder.join("licences").join(name);
        make_folder(&terms)?;
        for file in files.iter().copied().chain(["debian/copyright"]) {
            let to = terms.join(file.replace('/', "-"));
            fs::copy(source.join(file), &to).map_err(Error::io("cannot copy to", &to))?;
        }
    }
    write_whole(&ffmpeg.folder.join("configure"), record.as_bytes())?;
    Ok(ffmpeg)
}

fn expect_programs() -> Result<()> {
    let found = |program: &str| output_of("which", &[program]).is_some();
    let missing = PROGRAMS.iter().filter(|(program, _)| !found(program));
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    match packages.as_slice() {
        [] => Ok(()),
        some => Err(Error::machine(
            "building FFmpeg for a release",
            format!("run sudo apt-get install -y {}", some.join(" ")),
        )),
    }
}

/// Fetches and unpacks source packages, given as `name=version`. apt checks them against its
/// signed lists.
fn fetch(build: &Path, packages: &[String]) -> Result<()> {
    let apt = build.join("apt");
    for folder in ["lists/partial", "archives/partial"] {
        make_folder(&apt.join(folder))?;
    }
    let list = apt.join("sources.list");
    write_whole(&list, DEBIAN.as_bytes())?;
    let places = [
        ("Dir::Etc::sourcelist", list),
        ("Dir::Etc::sourceparts", "/dev/null".into()),
        ("Dir::State::lists", apt.join("lists")),
        ("Dir::Cache::archives", apt.join("archives")),
        ("Dir::Cache::pkgcache", "".into()),
        ("Dir::Cache::srcpkgcache", "".into()),
    ];
    let get = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .current_dir(build)
            .args(["-q", "-o", "APT::Sandbox::User="]);
        for (key, place) in &places {
            command.arg("-o").arg(format!("{key}={}", place.display()));
        }
        output(command.args(words))
    };
    get(&["update"])?;
    let mut words = vec!["source"];
    words.extend(packages.iter().map(String::as_str));
    get(&words).map(drop).map_err(|error| {
        Error::invalid(
            format!(
                "the sources of FFmpeg in packaging/ffmpeg.toml ({})",
                packages.join(", ")
            ),
            format!("{error}; if Debian has replaced a version, put the new one into the file"),
        )
    })
}

/// The folder that a source was unpacked into.
fn source(build: &Path, name: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(build).map_err(Error::io("cannot list", build))?;
    let start = format!("{name}-");
    let mut folders = entries.flatten().filter(|entry| {
        entry.path().is_dir() && entry.file_name().to_string_lossy().starts_with(&start)
    });
    let found = folders.next().map(|entry| entry.path());
    found.ok_or_else(|| Error::invalid(build.display(), format!("no sources of {name}")))
}

/// Builds zlib and dav1d as static libraries, then FFmpeg with them.
fn make(build: &Path, options: &[String]) -> Result<()> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = format!("-j{jobs}");
    let prefix = build.join("prefix");
    let zlib = source(build, "zlib")?;
    let mut configure = Command::new("./configure");
    configure.current_dir(&zlib).env("CFLAGS", "-O3 -fPIC");
    output(
        configure
            .arg("--static")
            .arg(format!("--prefix={}", prefix.display())),
    )?;
    output(
        Command::new("make")
            .current_dir(&zlib)
            .args([&jobs, "install"]),
    )?;

    let mut meson = Command::new("meson");
    meson.args(["setup", "dav1d"]).arg(source(build, "dav1d")?);
    meson.args(["--buildtype=release", "--default-library=static"]);
    meson.args([
        "--libdir=lib",
        "-Denable_tools=false",
        "-Denable_tests=false",
    ]);
    meson.arg(format!("--prefix={}", prefix.display()));
    output(meson.current_dir(build))?;
    output(
        Command::new("ninja")
            .current_dir(build)
            .args(["-C", "dav1d", "install"]),
    )?;

    let own = build.join("own");
    make_folder(&own)?;
    let relative = Path::new("..").join(source(build, "ffmpeg")?.file_name().unwrap_or_default());
    let mut configure = Command::new(relative.join("configure"));
    configure.current_dir(&own).args(options);
    output(configure.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")))?;
    output(Command::new("make").current_dir(&own).arg(&jobs))?;
    let mut install = Command::new("make");
    install
        .arg("install")
        .arg(format!("DESTDIR={}", build.join("out").display()));
    output(install.current_dir(&own)).map(drop)
}

/// Copies a folder with its links.
fn copy(from: &Path, to: &Path) -> Result<()> {
    output(Command::new("cp").arg("-a").args([from, to])).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_configuration_has_no_gpl_part_and_opens_nothing() {
        let options = configuration(&toml::from_str(LIST).unwrap());
        for off in [
            "everything",
            "network",
            "protocols",
            "avdevice",
            "autodetect",
        ] {
            assert!(options.contains(&format!("--disable-{off}")), "{off}");
        }
        for word in ["gpl", "nonfree", "version3", "protocol=", "indev"] {
            let enabled = |option: &String| option.starts_with("--enable") && option.contains(word);
            assert!(!options.iter().any(enabled), "{word}");
        }
        let has = |kind: &str, name: &str| {
            let prefix = format!("--enable-{kind}=");
            let names = options
                .iter()
                .find_map(|option| option.strip_prefix(&prefix));
            names.unwrap().split(',').any(|one| one == name)
        };
        assert!(has("decoder", "h264") && has("decoder", "libdav1d") && !has("decoder", "av1"));
        assert!(has("demuxer", "mov") && !has("demuxer", "hls") && !has("demuxer", "concat"));
    }
}
