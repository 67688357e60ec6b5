//! The system packages that the build depends on.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workspace::{output, output_of};
use crate::{Error, Result};

/// FFmpeg's libraries in pkg-config's names, with the versions of FFmpeg 5.1.
const FFMPEG: [(&str, &str); 4] = [
    ("libavformat", "59.27"),
    ("libavcodec", "59.37"),
    ("libavutil", "57.28"),
    ("libswscale", "6.7"),
];

/// A build dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependency {
    /// A C++ compiler, for `torch-sys`.
    Compiler,
    /// pkg-config, which finds FFmpeg.
    PkgConfig,
    /// libclang, which reads FFmpeg's headers.
    Libclang,
    /// FFmpeg's libraries and headers.
    Ffmpeg,
}

impl Dependency {
    /// All of them, in the order of the checks.
    pub(crate) const ALL: [Self; 4] = [
        Self::Compiler,
        Self::PkgConfig,
        Self::Libclang,
        Self::Ffmpeg,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compiler => "c++",
            Self::PkgConfig => "pkg-config",
            Self::Libclang => "libclang",
            Self::Ffmpeg => "ffmpeg libs",
        }
    }

    /// The version or path found, or the reason that it is missing.
    pub(crate) fn probe(self) -> std::result::Result<String, String> {
        match self {
            Self::Compiler => compiler().ok_or("no c++, g++ or clang++ found".into()),
            Self::PkgConfig => pkg_config().map(|(_, version)| version),
            Self::Libclang => libclang()
                .map(|path| path.display().to_string())
                .ok_or_else(|| "no libclang.so found".into()),
            Self::Ffmpeg => ffmpeg(),
        }
    }
}

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora.
    Dnf,
    /// Homebrew.
    Brew,
}

impl Manager {
    /// The manager of this machine.
    pub(crate) fn of_machine() -> Self {
        if cfg!(target_os = "macos") {
            Self::Brew
        } else if output_of("dnf", &["--version"]).is_some() {
            Self::Dnf
        } else {
            Self::Apt
        }
    }

    fn packages(self, dependencies: &[Dependency]) -> String {
        let packages = dependencies.iter().map(|dependency| {
            let [apt, dnf, brew] = match dependency {
                // On macOS the compiler is part of Apple's tools.
                Dependency::Compiler => ["g++", "gcc-c++", ""],
                Dependency::PkgConfig => ["pkg-config", "pkgconf-pkg-config", "pkgconf"],
                Dependency::Libclang => ["libclang-dev", "clang-devel", "llvm"],
                Dependency::Ffmpeg => [
                    "libavformat-dev libavcodec-dev libavutil-dev libswscale-dev",
                    "libavformat-free-devel libavcodec-free-devel libavutil-free-devel \
                     libswscale-free-devel",
                    "ffmpeg",
                ],
            };
            match self {
                Self::Apt => apt,
                Self::Dnf => dnf,
                Self::Brew => brew,
            }
        });
        let packages: Vec<&str> = packages.filter(|names| !names.is_empty()).collect();
        packages.join(" ")
    }

    /// The command that installs `dependencies`.
    pub(crate) fn command(self, dependencies: &[Dependency]) -> String {
        let packages = self.packages(dependencies);
        match self {
            Self::Apt => format!("sudo apt-get install -y {packages}"),
            Self::Dnf => format!("sudo dnf install -y {packages}"),
            Self::Brew if !dependencies.contains(&Dependency::Compiler) => {
                format!("brew install {packages}")
            }
            Self::Brew if packages.is_empty() => "xcode-select --install".into(),
            Self::Brew => format!("xcode-select --install; brew install {packages}"),
        }
    }
}

/// A missing dependency and the reason.
type Missing = (Dependency, String);

/// Installs the missing dependencies, if apt can be run without a password.
///
/// # Errors
/// Some are missing; the error has the commands that install them.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let Some(sudo) = privileged_apt() else {
        return Err(cannot_install(&missing, ""));
    };
    eprintln!(
        "installing system packages with apt: {}",
        describe(&missing)
    );
    let dependencies: Vec<Dependency> = missing.iter().map(|(one, _)| *one).collect();
    if install(sudo, &Manager::Apt.packages(&dependencies)).is_err() {
        return Err(cannot_install(&missing, " (apt-get failed)"));
    }
    match self::missing().as_slice() {
        [] => Ok(()),
        missing => Err(cannot_install(
            missing,
            " (not found after the installation)",
        )),
    }
}

fn missing() -> Vec<Missing> {
    let probe = |dependency: Dependency| Some((dependency, dependency.probe().err()?));
    Dependency::ALL.into_iter().filter_map(probe).collect()
}

fn describe(missing: &[Missing]) -> String {
    let describe = |(dependency, reason): &Missing| format!("{} ({reason})", dependency.name());
    let all: Vec<String> = missing.iter().map(describe).collect();
    all.join(", ")
}

fn cannot_install(missing: &[Missing], note: &str) -> Error {
    let dependencies: Vec<Dependency> = missing.iter().map(|(one, _)| *one).collect();
    let mut fix = format!(
        "{}{note}\ninstall them, then run this again:",
        describe(missing)
    );
    for (system, manager) in [
        ("Debian, Ubuntu", Manager::Apt),
        ("Fedora", Manager::Dnf),
        ("macOS", Manager::Brew),
    ] {
        let command = manager.command(&dependencies);
        // Writing to a string cannot fail.
        let _ = write!(fix, "\n  {system:<14}  {command}");
    }
    Error::machine("missing system packages", fix)
}

/// The prefix that runs `apt-get` as root without a password.
fn privileged_apt() -> Option<&'static str> {
    output_of("apt-get", &["--version"])?;
    if rustix::process::geteuid().is_root() {
        return Some("");
    }
    output_of("sudo", &["-n", "true"]).map(|_| "sudo -n ")
}

/// Installs packages, if apt can be run without a password.
///
/// # Errors
/// It cannot, or fails.
pub(super) fn install_with_apt(packages: &str) -> Result<()> {
    let command = format!("sudo apt-get install -y {packages}");
    let sudo = privileged_apt().ok_or_else(|| Error::machine(packages, &command))?;
    eprintln!("installing system packages with apt: {packages}");
    install(sudo, packages)
}

fn install(sudo: &str, packages: &str) -> Result<()> {
    let apt = |arguments: &str| {
        let line = format!("{sudo}env DEBIAN_FRONTEND=noninteractive apt-get {arguments}");
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdout(std::io::stderr());
        output(command.stderr(Stdio::inherit()))
    };
    let install = format!("install -y -q --no-install-recommends {packages}");
    // The first attempt fails if the package lists are absent or outdated.
    apt(&install).or_else(|_| {
        apt("update -q")?;
        apt(&install)
    })?;
    Ok(())
}

fn compiler() -> Option<String> {
    let named = std::env::var("CXX").ok();
    let programs = ["c++", "g++", "clang++"];
    let mut programs = named.as_deref().into_iter().chain(programs);
    let version = programs.find_map(|program| output_of(program, &["--version"]))?;
    version.lines().next().map(str::to_string)
}

/// The program and its version.
fn pkg_config() -> std::result::Result<(String, String), String> {
    let program = std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    match output_of(&program, &["--version"]) {
        Some(version) => Ok((program, version)),
        None => Err(format!("no {program} found")),
    }
}

fn ffmpeg() -> std::result::Result<String, String> {
    let (program, _) = pkg_config()?;
    let mut found = Vec::new();
    for (library, least) in FFMPEG {
        let version = output_of(&program, &["--modversion", library])
            .ok_or_else(|| format!("pkg-config does not find {library}"))?;
        if output_of(&program, &["--atleast-version", least, library]).is_none() {
            return Err(format!(
                "{library} is {version}, older than {least} of FFmpeg 5.1"
            ));
        }
        found.push(format!("{library} {version}"));
    }
    Ok(found.join(", "))
}

/// A libclang in one of the folders that the bindings generator searches.
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
        folders.extend(below(Path::new(top), 2));
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
    let mut files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    files
        .find(|file| is_libclang(&file.file_name().to_string_lossy()))
        .map(|file| file.path())
}

fn is_libclang(name: &str) -> bool {
    let stem = name == "libclang.so"
        || name == "libclang.dylib"
        || name.starts_with("libclang.so.")
        || (name.starts_with("libclang-") && name.contains(".so"));
    stem && !name.contains("cpp")
}

/// `folder` and the folders below it, down to `depth` levels.
fn below(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut all = vec![folder.to_path_buf()];
    if depth > 0 {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(below(&entry.path(), depth - 1));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_install_exactly_the_missing_packages() {
        use Dependency::{Compiler, Ffmpeg, Libclang, PkgConfig};
        for (manager, dependencies, command) in [
            (
                Manager::Apt,
                &Dependency::ALL[..],
                "sudo apt-get install -y g++ pkg-config libclang-dev \
                 libavformat-dev libavcodec-dev libavutil-dev libswscale-dev",
            ),
            (
                Manager::Apt,
                &[Libclang],
                "sudo apt-get install -y libclang-dev",
            ),
            (
                Manager::Dnf,
                &[Compiler, PkgConfig],
                "sudo dnf install -y gcc-c++ pkgconf-pkg-config",
            ),
            (Manager::Brew, &[Ffmpeg], "brew install ffmpeg"),
            (Manager::Brew, &[Compiler], "xcode-select --install"),
            (
                Manager::Brew,
                &Dependency::ALL,
                "xcode-select --install; brew install pkgconf llvm ffmpeg",
            ),
        ] {
            assert_eq!(manager.command(dependencies), command);
        }
    }

    #[test]
    fn the_error_names_the_missing_packages_and_three_commands() {
        let missing = [(Dependency::Libclang, "no libclang.so found".into())];
        let error = cannot_install(&missing, "");
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
    fn libclang_is_recognised_by_name() {
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
