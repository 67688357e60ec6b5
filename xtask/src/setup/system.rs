//! System packages: what is needed, whether it is there, and how it comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workspace::output_of;
use crate::{Error, Result};

/// FFmpeg's libraries as pkg-config names them, with the versions of FFmpeg 5.1.
pub const FFMPEG: [(&str, &str); 4] = [
    ("libavformat", "59.27"),
    ("libavcodec", "59.37"),
    ("libavutil", "57.28"),
    ("libswscale", "6.7"),
];

/// Something the build needs from the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// A C++ compiler, for `torch-sys`.
    Compiler,
    /// pkg-config, which finds FFmpeg.
    PkgConfig,
    /// libclang, which reads FFmpeg's headers.
    Libclang,
    /// FFmpeg's libraries and headers.
    Ffmpeg,
}

impl Need {
    /// All of them, in the order they are checked.
    pub const ALL: [Self; 4] = [
        Self::Compiler,
        Self::PkgConfig,
        Self::Libclang,
        Self::Ffmpeg,
    ];

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compiler => "C++ compiler",
            Self::PkgConfig => "pkg-config",
            Self::Libclang => "libclang",
            Self::Ffmpeg => "FFmpeg libraries",
        }
    }

    /// What is there to meet it, or why nothing is.
    ///
    /// # Errors
    /// The reason in words.
    pub fn probe(self) -> std::result::Result<String, String> {
        match self {
            Self::Compiler => compiler(),
            Self::PkgConfig => pkg_config(),
            Self::Libclang => libclang()
                .map(|path| path.display().to_string())
                .ok_or_else(|| "no libclang.so found".into()),
            Self::Ffmpeg => ffmpeg(),
        }
    }
}

/// A package manager whose commands are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora.
    Dnf,
    /// Homebrew.
    Brew,
}

impl Manager {
    fn packages(self, need: Need) -> &'static [&'static str] {
        match (self, need) {
            (Self::Apt, Need::Compiler) => &["g++"],
            (Self::Dnf, Need::Compiler) => &["gcc-c++"],
            // On macOS the compiler comes with Apple's tools, not from Homebrew.
            (Self::Brew, Need::Compiler) => &[],
            (Self::Apt, Need::PkgConfig) => &["pkg-config"],
            (Self::Dnf, Need::PkgConfig) => &["pkgconf-pkg-config"],
            (Self::Brew, Need::PkgConfig) => &["pkgconf"],
            (Self::Apt, Need::Libclang) => &["libclang-dev"],
            (Self::Dnf, Need::Libclang) => &["clang-devel"],
            (Self::Brew, Need::Libclang) => &["llvm"],
            (Self::Apt, Need::Ffmpeg) => &[
                "libavformat-dev",
                "libavcodec-dev",
                "libavutil-dev",
                "libswscale-dev",
            ],
            (Self::Dnf, Need::Ffmpeg) => &[
                "libavformat-free-devel",
                "libavcodec-free-devel",
                "libavutil-free-devel",
                "libswscale-free-devel",
            ],
            (Self::Brew, Need::Ffmpeg) => &["ffmpeg"],
        }
    }

    /// The command that brings `needs`, as one types it.
    #[must_use]
    pub fn command(self, needs: &[Need]) -> String {
        let packages: Vec<&str> = needs
            .iter()
            .flat_map(|need| self.packages(*need))
            .copied()
            .collect();
        let packages = packages.join(" ");
        match self {
            Self::Apt => format!("sudo apt-get install -y {packages}"),
            Self::Dnf => format!("sudo dnf install -y {packages}"),
            Self::Brew if !needs.contains(&Need::Compiler) => format!("brew install {packages}"),
            Self::Brew if packages.is_empty() => "xcode-select --install".into(),
            Self::Brew => format!("xcode-select --install; brew install {packages}"),
        }
    }
}

/// Checks what the build needs of the system, and installs it where that is allowed.
///
/// # Errors
/// [`Error::System`] with the commands for each package manager, where something is
/// missing and cannot be installed from here.
pub fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let needs: Vec<Need> = missing.iter().map(|(need, _)| *need).collect();
    let words: Vec<String> = missing
        .iter()
        .map(|(need, why)| format!("{} ({why})", need.name()))
        .collect();
    eprintln!("system packages missing: {}", words.join(", "));
    let Some(prefix) = privileged_apt() else {
        return Err(cannot(&words, &needs, ""));
    };
    eprintln!("installing through apt");
    if let Err(reason) = install(&prefix, &needs) {
        return Err(cannot(
            &words,
            &needs,
            &format!("apt-get failed: {reason}\n"),
        ));
    }
    let left = self::missing();
    if left.is_empty() {
        eprintln!("system packages: installed");
        return Ok(());
    }
    let needs: Vec<Need> = left.iter().map(|(need, _)| *need).collect();
    let words: Vec<String> = left
        .iter()
        .map(|(need, why)| format!("{} ({why})", need.name()))
        .collect();
    Err(cannot(&words, &needs, "installed, and still not found\n"))
}

/// What is missing, each with its reason.
#[must_use]
pub fn missing() -> Vec<(Need, String)> {
    Need::ALL
        .into_iter()
        .filter_map(|need| need.probe().err().map(|why| (need, why)))
        .collect()
}

/// The cure for missing packages, for every known package manager.
#[must_use]
pub fn commands(needs: &[Need]) -> String {
    format!(
        "install it, then run this again:\n  \
         Debian, Ubuntu  {}\n  Fedora          {}\n  macOS           {}",
        Manager::Apt.command(needs),
        Manager::Dnf.command(needs),
        Manager::Brew.command(needs)
    )
}

fn cannot(words: &[String], needs: &[Need], before: &str) -> Error {
    Error::System {
        missing: words.join(", "),
        commands: format!("{before}{}", commands(needs)),
    }
}

/// What goes before `apt-get` for it to run as root, where that needs no password.
fn privileged_apt() -> Option<Vec<String>> {
    if !cfg!(target_os = "linux") || output_of("apt-get", &["--version"]).is_none() {
        return None;
    }
    if rustix::process::geteuid().is_root() {
        return Some(Vec::new());
    }
    output_of("sudo", &["-n", "true"]).map(|_| vec!["sudo".into(), "-n".into()])
}

fn install(prefix: &[String], needs: &[Need]) -> std::result::Result<(), String> {
    let run = |arguments: &[&str]| {
        let mut line: Vec<&str> = prefix.iter().map(String::as_str).collect();
        line.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        line.extend(arguments);
        let (program, rest) = line.split_first().ok_or("nothing to run")?;
        let status = Command::new(program)
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::from(std::io::stderr()))
            .status()
            .map_err(|e| e.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(status.to_string())
        }
    };
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(needs.iter().flat_map(|need| Manager::Apt.packages(*need)));
    if !lists_present() {
        run(&["update", "-q"])?;
        return run(&arguments);
    }
    // Lists may be there and be stale: then the second attempt is the good one.
    run(&arguments).or_else(|_: String| {
        run(&["update", "-q"])?;
        run(&arguments)
    })
}

fn lists_present() -> bool {
    fs::read_dir("/var/lib/apt/lists").is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        })
    })
}

fn compiler() -> std::result::Result<String, String> {
    let named = std::env::var("CXX").ok();
    let programs = named
        .as_deref()
        .into_iter()
        .chain(["c++", "g++", "clang++"]);
    for program in programs {
        if let Some(version) = output_of(program, &["--version"]) {
            return Ok(version.lines().next().unwrap_or(program).to_string());
        }
    }
    Err("no c++, g++ or clang++ found".into())
}

fn pkg_config() -> std::result::Result<String, String> {
    let program = std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    output_of(&program, &["--version"]).ok_or_else(|| format!("no {program} found"))
}

fn ffmpeg() -> std::result::Result<String, String> {
    let program = std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    if output_of(&program, &["--version"]).is_none() {
        return Err(format!("no {program} to ask for them"));
    }
    let mut found = Vec::new();
    for (library, least) in FFMPEG {
        let version = output_of(&program, &["--modversion", library])
            .ok_or_else(|| format!("pkg-config knows no {library}"))?;
        if output_of(&program, &["--atleast-version", least, library]).is_none() {
            return Err(format!("{library} is {version}; FFmpeg 5.1 has {least}"));
        }
        found.push(format!("{library} {version}"));
    }
    Ok(found.join(", "))
}

/// A libclang where the bindings generator looks for it.
fn libclang() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(named) = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from) {
        if named.is_file() {
            return Some(named);
        }
        folders.push(named);
    }
    if let Some(folder) = output_of("llvm-config", &["--libdir"]) {
        folders.push(folder.into());
    }
    for top in ["/usr/lib64", "/usr/lib", "/usr/local/lib", "/usr/lib32"] {
        for level in below(Path::new(top), 2) {
            folders.push(level);
        }
    }
    folders.extend(
        [
            "/opt/homebrew/opt/llvm/lib",
            "/usr/local/opt/llvm/lib",
            "/Library/Developer/CommandLineTools/usr/lib",
            "/Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib",
        ]
        .map(PathBuf::from),
    );
    folders.iter().find_map(|folder| {
        fs::read_dir(folder)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| is_libclang(&name.to_string_lossy()))
            })
    })
}

fn is_libclang(name: &str) -> bool {
    let stem = name == "libclang.so"
        || name == "libclang.dylib"
        || name.starts_with("libclang.so.")
        || (name.starts_with("libclang-") && name.contains(".so"));
    stem && !name.contains("cpp")
}

/// `folder` and the folders below it, `depth` levels down.
fn below(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut all = vec![folder.to_path_buf()];
    if depth > 0 {
        let Ok(entries) = fs::read_dir(folder) else {
            return all;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(below(&entry.path(), depth - 1));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn commands_name_every_package_that_is_missing_and_no_other() {
        assert_eq!(
            Manager::Apt.command(&Need::ALL),
            "sudo apt-get install -y g++ pkg-config libclang-dev \
             libavformat-dev libavcodec-dev libavutil-dev libswscale-dev"
        );
        assert_eq!(
            Manager::Apt.command(&[Need::Libclang]),
            "sudo apt-get install -y libclang-dev"
        );
        assert_eq!(
            Manager::Dnf.command(&[Need::Compiler, Need::PkgConfig]),
            "sudo dnf install -y gcc-c++ pkgconf-pkg-config"
        );
        assert_eq!(
            Manager::Brew.command(&[Need::Ffmpeg]),
            "brew install ffmpeg"
        );
        assert_eq!(
            Manager::Brew.command(&[Need::Compiler]),
            "xcode-select --install"
        );
        assert_eq!(
            Manager::Brew.command(&Need::ALL),
            "xcode-select --install; brew install pkgconf llvm ffmpeg"
        );
    }

    #[test]
    fn the_refusal_names_what_is_missing_and_three_commands() {
        let error = cannot(
            &["libclang (no libclang.so found)".into()],
            &[Need::Libclang],
            "",
        );
        let text = error.to_string();
        for part in [
            "libclang (no",
            "apt-get install",
            "dnf install",
            "brew install",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn libclang_by_name() {
        for name in [
            "libclang.so",
            "libclang-14.so.1",
            "libclang.so.14",
            "libclang.dylib",
        ] {
            assert!(is_libclang(name), "{name}");
        }
        for name in [
            "libclang-cpp.so.14",
            "libclangAST.a",
            "libclang_rt.asan.so",
            "clang",
        ] {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
