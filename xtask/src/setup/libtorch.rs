//! libtorch: the one the user has, or the one fetched into the per-user cache.
//!
//! The cache holds one folder a version and kind, which all clones share:
//! `libtorch/2.13.0-cpu/{torch/{include,lib}, nvidia/*/lib, installed.json}`. It appears
//! whole, by a rename, or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use hub::{Client, Promise, Wanted};
use serde::{Deserialize, Serialize};

use crate::archive::{Unpacked, intact, unpack};
use crate::places::{Places, lock, make_folder, sync_folder, write_whole};
use crate::registry::{Registry, python};
use crate::setup::wheels::pins;
use crate::workspace::output_of;
use crate::{Error, Result, progress};

/// The version that `tch` 0.26 is written for.
pub const VERSION: &str = "2.13.0";

/// Where the official archives lie.
const OFFICIAL: &str = "https://download.pytorch.org/libtorch";

/// The processors a libtorch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The CPU alone.
    Cpu,
    /// NVIDIA's GPUs too.
    Cuda,
}

/// Where a libtorch is fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// The wheels of the Python package index, pinned by hash.
    Registry,
    /// The official zip.
    Pytorch,
}

/// A libtorch in the per-user cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Managed {
    /// What it is for.
    pub kind: Kind,
    /// Where it comes from.
    pub from: From,
}

impl Managed {
    const ALL: [Self; 4] = [
        Self {
            kind: Kind::Cpu,
            from: From::Registry,
        },
        Self {
            kind: Kind::Cuda,
            from: From::Registry,
        },
        Self {
            kind: Kind::Cpu,
            from: From::Pytorch,
        },
        Self {
            kind: Kind::Cuda,
            from: From::Pytorch,
        },
    ];

    fn root(self, places: &Places) -> PathBuf {
        let kind = match self.kind {
            Kind::Cpu => "cpu",
            Kind::Cuda => "cuda",
        };
        let from = match self.from {
            From::Registry => "",
            From::Pytorch => "-zip",
        };
        places
            .cache
            .join("libtorch")
            .join(format!("{VERSION}-{kind}{from}"))
    }

    /// The folder that `LIBTORCH` names for it.
    #[must_use]
    pub fn libtorch(self, places: &Places) -> PathBuf {
        self.root(places).join("torch")
    }

    /// The one that `LIBTORCH` would name with `libtorch`.
    #[must_use]
    pub fn of(libtorch: &Path, places: &Places) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|managed| managed.libtorch(places) == libtorch)
    }
}

/// A libtorch as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The folder with `include` and `lib`.
    pub libtorch: PathBuf,
    /// Its version, where a file says it.
    pub version: Option<String>,
    /// Whether the CUDA libraries are in it.
    pub cuda: bool,
}

impl Found {
    /// Looks at `libtorch`.
    ///
    /// # Errors
    /// [`Error::Libtorch`] naming the file that is missing.
    pub fn at(libtorch: &Path) -> Result<Self> {
        let library = if cfg!(target_os = "macos") {
            "dylib"
        } else {
            "so"
        };
        let needed = [
            "include/torch/csrc/api/include/torch/torch.h".to_string(),
            format!("lib/libtorch.{library}"),
            format!("lib/libtorch_cpu.{library}"),
            format!("lib/libc10.{library}"),
        ];
        for file in needed {
            if !libtorch.join(&file).is_file() {
                return Err(Error::Libtorch {
                    place: libtorch.display().to_string(),
                    reason: format!("not a libtorch: it has no {file}"),
                });
            }
        }
        Ok(Self {
            libtorch: libtorch.to_path_buf(),
            version: version_of(libtorch),
            cuda: libtorch
                .join(format!("lib/libtorch_cuda.{library}"))
                .is_file(),
        })
    }

    /// Whether `tch` accepts the version. A libtorch that does not say its version is taken
    /// at the user's word, as `torch-sys` does.
    #[must_use]
    pub fn fits(&self) -> bool {
        let bypass = std::env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some();
        bypass
            || self
                .version
                .as_deref()
                .is_none_or(|version| release(version) == VERSION)
    }

    /// In words, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{}, {}",
            self.version.as_deref().map_or("version unknown", release),
            if self.cuda { "with CUDA" } else { "CPU" }
        )
    }
}

/// The version without what follows `+`.
fn release(version: &str) -> &str {
    version.split('+').next().unwrap_or(version)
}

fn version_of(libtorch: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(libtorch.join("build-version")) {
        return Some(text.trim().to_string());
    }
    let text = fs::read_to_string(libtorch.join("version.py")).ok()?;
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1).map(str::to_string)
}

/// The libtorch of the Python that is active.
///
/// # Errors
/// [`Error::Program`] where Python has no torch, [`Error::Libtorch`] where it has another
/// version or one without headers.
pub fn of_python() -> Result<Found> {
    let program = python();
    let code = "import os, torch; print(os.path.dirname(os.path.abspath(torch.__file__)))";
    let folder = output_of(&program, &["-c", code]).ok_or_else(|| Error::Program {
        program: program.clone(),
        reason: "LIBTORCH_USE_PYTORCH is set, but `import torch` fails; \
                 unset it, or install torch"
            .into(),
    })?;
    let found = Found::at(Path::new(&folder))?;
    if !found.fits() {
        return Err(Error::Libtorch {
            place: format!("LIBTORCH_USE_PYTORCH ({folder})"),
            reason: format!(
                "holds {}, and tch wants {VERSION}; unset it, or install torch=={VERSION}",
                found.version.as_deref().unwrap_or("an unknown version")
            ),
        });
    }
    Ok(found)
}

/// What an installation leaves beside it: what it is, and what must be there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    version: String,
    kind: Kind,
    from: From,
    /// Archive and its SHA-256.
    sources: Vec<Source>,
    /// The libraries; the headers are not listed.
    libraries: Vec<Unpacked>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    file: String,
    sha256: String,
}

const STAMP: &str = "installed.json";

/// Whether the managed libtorch is there and whole. One put there by hand, without a
/// stamp, counts when it looks right and says its version.
#[must_use]
pub fn installed(managed: Managed, places: &Places) -> Option<Found> {
    let root = managed.root(places);
    let found = Found::at(&managed.libtorch(places)).ok()?;
    if found.version.as_deref().map(release) != Some(VERSION) {
        return None;
    }
    match fs::read_to_string(root.join(STAMP)) {
        Ok(text) => {
            let stamp: Stamp = serde_json::from_str(&text).ok()?;
            (stamp.version == VERSION && intact(&root, &stamp.libraries)).then_some(found)
        }
        Err(_) => Some(found),
    }
}

/// Brings the managed libtorch into the cache, unless it is there.
///
/// # Errors
/// Whatever download and unpacking meet; nothing half is left.
pub fn install(managed: Managed, places: &Places, registry: &Registry) -> Result<Found> {
    if let Some(found) = installed(managed, places) {
        return Ok(found);
    }
    let shelf = places.cache.join("libtorch");
    let _lock = lock(&shelf.join(".lock"))?;
    if let Some(found) = installed(managed, places) {
        return Ok(found);
    }
    sweep(&shelf);
    let unpacked = tempfile::Builder::new()
        .prefix(UNPACKING)
        .tempdir_in(&shelf)
        .map_err(Error::io("create in", &shelf))?;
    let downloads = places.cache.join("downloads");
    make_folder(&downloads)?;
    let (sources, libraries) = match managed.from {
        From::Registry => from_wheels(managed.kind, registry, &downloads, unpacked.path())?,
        From::Pytorch => {
            let client = Client::default().with_progress(progress::observe);
            from_zip(managed.kind, OFFICIAL, &client, &downloads, unpacked.path())?
        }
    };
    let stamp = Stamp {
        version: VERSION.into(),
        kind: managed.kind,
        from: managed.from,
        sources,
        libraries,
    };
    let text = serde_json::to_string_pretty(&stamp).map_err(|e| Error::Parse {
        what: STAMP.into(),
        reason: e.to_string(),
    })?;
    write_whole(&unpacked.path().join(STAMP), text.as_bytes())?;
    sync_all(unpacked.path());
    let root = managed.root(places);
    if root.exists() {
        // What lies there is not whole; it goes the way the sweep clears.
        let aside = shelf.join(format!("{UNPACKING}old-{}", std::process::id()));
        fs::rename(&root, &aside).map_err(Error::io("move aside", &root))?;
    }
    let unpacked = unpacked.keep();
    fs::rename(&unpacked, &root).map_err(Error::io("rename to", &root))?;
    readable(&root)?;
    sync_folder(&shelf);
    sweep(&shelf);
    // The archives have served; they are larger than what came out of them.
    for source in &stamp.sources {
        let _ = fs::remove_file(downloads.join(&source.file));
    }
    installed(managed, places).ok_or_else(|| Error::Libtorch {
        place: root.display().to_string(),
        reason: "is not whole after it was unpacked".into(),
    })
}

const UNPACKING: &str = ".unpack-";

/// Removes what interrupted runs have left. Called with the lock held.
fn sweep(shelf: &Path) {
    let Ok(entries) = fs::read_dir(shelf) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNPACKING) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A temporary folder is its maker's alone; the installed one may be read by all.
fn readable(root: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))
            .map_err(Error::io("open up", root))?;
    }
    Ok(())
}

/// Makes ten thousand small files last, at once.
fn sync_all(folder: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(handle) = fs::File::open(folder) {
        let _ = rustix::fs::syncfs(&handle);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = folder;
}

type Brought = (Vec<Source>, Vec<Unpacked>);

fn from_wheels(kind: Kind, registry: &Registry, downloads: &Path, into: &Path) -> Result<Brought> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let cure = "set LIBTORCH to a libtorch 2.13.0 of your own";
    let platform = || format!("{os} on {arch}");
    let pins = pins(os, arch).ok_or_else(|| Error::Platform {
        platform: platform(),
        cure,
    })?;
    if kind == Kind::Cuda && pins.cuda.is_empty() {
        return Err(Error::Platform {
            platform: format!("CUDA, {}", platform()),
            cure,
        });
    }
    let more = if kind == Kind::Cuda { pins.cuda } else { &[] };
    let mut sources = Vec::new();
    let mut libraries = Vec::new();
    for wheel in pins.cpu.iter().chain(more) {
        let path = registry.fetch(wheel, downloads)?;
        let label = format!("unpacking {}", wheel.package);
        let files = unpack(&path, into, &label, |name| place(name, kind))?;
        libraries.extend(files.into_iter().filter(|file| !is_header(&file.path)));
        sources.push(Source {
            file: wheel.file.into(),
            sha256: wheel.sha256.into(),
        });
    }
    if kind == Kind::Cpu && os == "linux" {
        // The wheel's own libtorch.so wants the CUDA libraries; this one is read by the
        // linker alone, and sends it on to the CPU's.
        write_whole(
            &into.join("torch/lib/libtorch.so"),
            b"INPUT(libtorch_cpu.so)\n",
        )?;
    }
    Ok((sources, libraries))
}

fn is_header(path: &Path) -> bool {
    path.starts_with("torch/include")
}

/// Where an entry of a wheel goes, or `None` for what is not needed.
fn place(name: &str, kind: Kind) -> Option<String> {
    let keep = if let Some(library) = name.strip_prefix("torch/lib/") {
        let python = ["python", "libshm", "global_deps"];
        let cuda = ["cuda", "nvshmem", "nvrtc", "libtorch.so"];
        !library.contains('/')
            && !python.iter().any(|part| library.contains(part))
            && (kind == Kind::Cuda || !cuda.iter().any(|part| library.contains(part)))
    } else if let Some(rest) = name.strip_prefix("nvidia/") {
        let mut parts = rest.split('/');
        let (_, folder, library) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        let needed = kind == Kind::Cuda
            || library.starts_with("libcudart.so")
            || library.starts_with("libcupti.so");
        folder == Some("lib") && parts.next().is_none() && library.contains(".so") && needed
    } else {
        name.starts_with("torch/include/") || name == "torch/version.py"
    };
    keep.then(|| name.to_string())
}

/// The official zip's name for this machine, below [`OFFICIAL`].
fn official(kind: Kind, os: &str, arch: &str) -> Option<String> {
    match (os, arch, kind) {
        ("linux", "x86_64", Kind::Cpu) => {
            Some(format!("cpu/libtorch-shared-with-deps-{VERSION}%2Bcpu.zip"))
        }
        ("linux", "x86_64", Kind::Cuda) => Some(format!(
            "cu130/libtorch-shared-with-deps-{VERSION}%2Bcu130.zip"
        )),
        ("macos", "aarch64", Kind::Cpu) => Some(format!("cpu/libtorch-macos-arm64-{VERSION}.zip")),
        _ => None,
    }
}

/// The official zip. No hash of it is published, so that nothing but the connection's own
/// protection and the zip's checksums vouch for it; its SHA-256 goes into the stamp.
fn from_zip(
    kind: Kind,
    base: &str,
    client: &Client,
    downloads: &Path,
    into: &Path,
) -> Result<Brought> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let name = official(kind, os, arch).ok_or_else(|| Error::Platform {
        platform: format!("{os} on {arch}, the official zip"),
        cure: "leave out --from pytorch, or set LIBTORCH to a libtorch 2.13.0 of your own",
    })?;
    let url = format!("{base}/{name}");
    let file = name.rsplit('/').next().unwrap_or(&name).to_string();
    let path = downloads.join(&file);
    let wanted = Wanted {
        url: &url,
        promise: Promise::Nothing,
        bytes: None,
        authorization: None,
        label: &format!("libtorch {VERSION}"),
    };
    let sha256 = client.file(&wanted, &path)?;
    eprintln!("sha256 {sha256} (none is published to compare with)");
    let files = unpack(&path, into, "unpacking libtorch", |name| {
        let rest = name.strip_prefix("libtorch/")?;
        let keep = rest == "build-version"
            || rest == "build-hash"
            || rest.starts_with("include/")
            || rest.starts_with("lib/");
        keep.then(|| format!("torch/{rest}"))
    })?;
    let libraries = files
        .into_iter()
        .filter(|file| !is_header(&file.path))
        .collect();
    Ok((vec![Source { file, sha256 }], libraries))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn of_the_wheels_the_cpu_takes_what_it_loads_and_no_more() {
        let taken = [
            "torch/include/ATen/ATen.h",
            "torch/version.py",
            "torch/lib/libtorch_cpu.so",
            "torch/lib/libc10.so",
            "torch/lib/libgomp.so.1",
            "torch/lib/libarm_compute.so",
            "nvidia/cu13/lib/libcudart.so.13",
            "nvidia/cu13/lib/libcupti.so.13",
        ];
        let cuda_only = [
            "torch/lib/libtorch.so",
            "torch/lib/libtorch_cuda.so",
            "torch/lib/libc10_cuda.so",
            "torch/lib/libcaffe2_nvrtc.so",
            "torch/lib/libtorch_nvshmem.so",
            "nvidia/cu13/lib/libnvperf_host.so",
            "nvidia/cudnn/lib/libcudnn.so.9",
        ];
        let never = [
            "torch/__init__.py",
            "torch/lib/libtorch_python.so",
            "torch/lib/libshm.so",
            "torch/lib/libshm/core.h",
            "torch/lib/libtorch_global_deps.so",
            "torch/bin/protoc",
            "nvidia/cu13/include/cuda.h",
            "nvidia/cu13/lib/libcudart_static.a",
            "nvidia/cu13/lib/deep/libx.so",
        ];
        for name in taken {
            assert_eq!(place(name, Kind::Cpu).as_deref(), Some(name));
            assert_eq!(place(name, Kind::Cuda).as_deref(), Some(name));
        }
        for name in cuda_only {
            assert_eq!(place(name, Kind::Cpu), None, "{name}");
            assert_eq!(place(name, Kind::Cuda).as_deref(), Some(name));
        }
        for name in never {
            assert_eq!(place(name, Kind::Cpu), None, "{name}");
            assert_eq!(place(name, Kind::Cuda), None, "{name}");
        }
    }

    #[test]
    fn the_version_is_read_from_either_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(version_of(folder.path()), None);
        fs::write(
            folder.path().join("version.py"),
            "x = 1\n__version__ = '2.13.0+cu130'\n",
        )
        .unwrap();
        assert_eq!(version_of(folder.path()).as_deref(), Some("2.13.0+cu130"));
        fs::write(folder.path().join("build-version"), "2.11.0+cpu\n").unwrap();
        assert_eq!(version_of(folder.path()).as_deref(), Some("2.11.0+cpu"));
    }

    /// A folder that looks like libtorch.
    pub(crate) fn look_alike(libtorch: &Path, version: &str) {
        let include = libtorch.join("include/torch/csrc/api/include/torch");
        fs::create_dir_all(&include).unwrap();
        fs::create_dir_all(libtorch.join("lib")).unwrap();
        fs::write(include.join("torch.h"), "").unwrap();
        for library in ["libtorch", "libtorch_cpu", "libc10"] {
            let suffix = if cfg!(target_os = "macos") {
                "dylib"
            } else {
                "so"
            };
            fs::write(libtorch.join(format!("lib/{library}.{suffix}")), "library").unwrap();
        }
        fs::write(libtorch.join("build-version"), version).unwrap();
    }

    #[test]
    fn a_managed_libtorch_counts_only_when_whole() {
        let home = tempfile::tempdir().unwrap();
        let places = Places {
            cache: home.path().join("c"),
            data: home.path().join("d"),
            home: home.path().into(),
        };
        let managed = Managed {
            kind: Kind::Cpu,
            from: From::Registry,
        };
        assert!(installed(managed, &places).is_none());
        let libtorch = managed.libtorch(&places);
        look_alike(&libtorch, VERSION);
        assert!(installed(managed, &places).is_some(), "put there by hand");
        let stamp = Stamp {
            version: VERSION.into(),
            kind: Kind::Cpu,
            from: From::Registry,
            sources: vec![],
            libraries: vec![Unpacked {
                path: "torch/build-version".into(),
                bytes: 6,
            }],
        };
        let path = managed.root(&places).join(STAMP);
        fs::write(&path, serde_json::to_string(&stamp).unwrap()).unwrap();
        assert!(installed(managed, &places).is_some());
        fs::write(libtorch.join("build-version"), "2.13.0 ").unwrap();
        assert!(installed(managed, &places).is_none(), "a size differs");
        fs::write(libtorch.join("build-version"), "2.11.0").unwrap();
        assert!(installed(managed, &places).is_none(), "another version");
        assert_eq!(Managed::of(&libtorch, &places), Some(managed));
        assert_eq!(Managed::of(Path::new("/usr"), &places), None);
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn the_official_zip_lands_in_the_same_layout() {
        use std::io::{BufRead as _, BufReader, Write as _};
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in [
            "libtorch/build-version",
            "libtorch/lib/libc10.so",
            "libtorch/share/x",
        ] {
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(b"2.13.0+cpu").unwrap();
        }
        let body = zip.finish().unwrap().into_inner();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut request)
                .unwrap();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .unwrap();
            stream.write_all(&body).unwrap();
            request
        });
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("out");
        let client = Client::new(hub::Patience {
            attempts: 1,
            pause: Duration::ZERO,
            silence: Duration::from_secs(5),
        });
        let (sources, files) = from_zip(Kind::Cpu, &base, &client, folder.path(), &into).unwrap();
        assert_eq!(
            server.join().unwrap().trim(),
            "GET /cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip HTTP/1.1"
        );
        assert_eq!(sources.len(), 1);
        assert_eq!(files.len(), 2);
        assert_eq!(
            version_of(&into.join("torch")).as_deref(),
            Some("2.13.0+cpu")
        );
        assert!(!into.join("torch/share").exists());
    }
}
