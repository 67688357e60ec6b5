//! Installs libtorch into the per-user cache.
//!
//! The cache has one folder per version and kind, shared by all clones:
//! `libtorch/2.13.0-cpu/{torch/{include,lib}, nvidia/*/lib, installed.json}`. A folder is
//! completed under a temporary name and then renamed.

use std::fs;
use std::path::Path;

use hub::{Client, Promise, Wanted};
use serde::{Deserialize, Serialize};

use super::libtorch::{Kind, Libtorch, Managed, Source, VERSION, release};
use super::wheels::pins;
use crate::archive::zip::{Unpacked, is_intact, unpack};
use crate::places::{Places, lock, make_executable, make_folder, sync_folder, write_whole};
use crate::registry::Registry;
use crate::{Error, Result, progress};

/// The address of the official archives.
const OFFICIAL: &str = "https://download.pytorch.org/libtorch";

/// The record of an installation.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    version: String,
    #[serde(flatten)]
    managed: Managed,
    /// The archives it was unpacked from.
    sources: Vec<Archive>,
    /// The unpacked files, without the headers.
    libraries: Vec<Unpacked>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    file: String,
    sha256: String,
}

const STAMP: &str = "installed.json";

/// The managed libtorch, if it is complete. One without a record, put there by hand, only needs
/// the expected files and version.
pub(super) fn installed(managed: Managed, places: &Places) -> Option<Libtorch> {
    let root = managed.root(places);
    let found = Libtorch::at(&managed.libtorch(places)).ok()?;
    if found.version.as_deref().map(release) != Some(VERSION) {
        return None;
    }
    if let Ok(text) = fs::read_to_string(root.join(STAMP)) {
        let stamp: Stamp = serde_json::from_str(&text).ok()?;
        // Earlier set-ups left the headers of CUDA out.
        let wheels = (managed.kind, managed.source) == (Kind::Cuda, Source::Registry);
        let lacks_headers = wheels && !root.join("nvidia/nccl/include/nccl.h").is_file();
        if stamp.version != VERSION || lacks_headers || !is_intact(&root, &stamp.libraries) {
            return None;
        }
    }
    Some(found)
}

/// Installs the managed libtorch, unless another process does so first.
///
/// # Errors
/// A download or unpacking fails; nothing incomplete is left.
pub(super) fn install(managed: Managed, places: &Places, registry: &Registry) -> Result<Libtorch> {
    let shelf = places.cache.join("libtorch");
    let _lock = lock(&shelf.join(".lock"))?;
    if let Some(found) = installed(managed, places) {
        return Ok(found);
    }
    remove_leftovers(&shelf);
    let unpacked = tempfile::Builder::new()
        .prefix(UNPACKING)
        .tempdir_in(&shelf)
        .map_err(Error::io("cannot create a folder in", &shelf))?;
    let downloads = places.cache.join("downloads");
    make_folder(&downloads)?;
    let (sources, mut files) = match managed.source {
        Source::Registry => from_wheels(managed.kind, registry, &downloads, unpacked.path())?,
        Source::Pytorch => {
            let client = Client::default().with_progress(progress::observe);
            from_zip(managed.kind, OFFICIAL, &client, &downloads, unpacked.path())?
        }
    };
    files.retain(|file| {
        !file
            .path
            .components()
            .any(|part| part.as_os_str() == "include")
    });
    let stamp = Stamp {
        version: VERSION.into(),
        managed,
        sources,
        libraries: files,
    };
    let text = serde_json::to_string_pretty(&stamp).map_err(|e| Error::invalid(STAMP, e))?;
    write_whole(&unpacked.path().join(STAMP), text.as_bytes())?;
    sync_all(unpacked.path());
    let root = managed.root(places);
    if root.exists() {
        // It is incomplete; under this name it is removed with the leftovers.
        let aside = shelf.join(format!("{UNPACKING}old-{}", std::process::id()));
        fs::rename(&root, &aside).map_err(Error::io("cannot rename", &root))?;
    }
    let unpacked = unpacked.keep();
    fs::rename(&unpacked, &root).map_err(Error::io("cannot rename to", &root))?;
    // A temporary folder is readable by its owner only.
    make_executable(&root)?;
    sync_folder(&shelf);
    remove_leftovers(&shelf);
    // The archives are larger than the unpacked files.
    for source in &stamp.sources {
        let _ = fs::remove_file(downloads.join(&source.file));
    }
    installed(managed, places)
        .ok_or_else(|| Error::machine(root.display(), "incomplete after the installation"))
}

const UNPACKING: &str = ".unpack-";

/// Removes the temporary folders of interrupted runs. The caller holds the lock.
fn remove_leftovers(shelf: &Path) {
    let Ok(entries) = fs::read_dir(shelf) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNPACKING) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Syncs all files at once: there are ten thousand small ones.
fn sync_all(folder: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(handle) = fs::File::open(folder) {
        let _ = rustix::fs::syncfs(&handle);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = folder;
}

/// The archives fetched and the files unpacked from them.
type Unpacking = (Vec<Archive>, Vec<Unpacked>);

fn unsupported(kind: Kind, fix: &str) -> Error {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let libtorch = match kind {
        Kind::Cpu => "libtorch",
        Kind::Cuda => "libtorch with CUDA",
    };
    let reason = format!("not available; {fix}set LIBTORCH to a libtorch {VERSION}");
    Error::machine(format!("{libtorch} for {os} on {arch}"), reason)
}

fn from_wheels(
    kind: Kind,
    registry: &Registry,
    downloads: &Path,
    into: &Path,
) -> Result<Unpacking> {
    let pins = pins(std::env::consts::OS, std::env::consts::ARCH)?;
    let wheels = match pins {
        Some(pins) if kind == Kind::Cpu => pins.cpu,
        Some(pins) if !pins.cuda.is_empty() => [pins.cpu, pins.cuda].concat(),
        _ => return Err(unsupported(kind, "")),
    };
    let mut files = Vec::new();
    for wheel in &wheels {
        let path = registry.fetch(wheel, downloads)?;
        let label = format!("unpacking {}", wheel.package());
        let select = |name: &str| is_needed(name, kind).then(|| name.to_string());
        files.extend(unpack(&path, into, &label, select)?);
    }
    if kind == Kind::Cpu && cfg!(target_os = "linux") {
        // The wheel's libtorch.so needs the CUDA libraries. This linker script takes its place.
        let script = b"INPUT(libtorch_cpu.so)\n";
        write_whole(&into.join("torch/lib/libtorch.so"), script)?;
    }
    let sources = wheels.into_iter().map(|wheel| Archive {
        file: wheel.file,
        sha256: wheel.sha256,
    });
    Ok((sources.collect(), files))
}

/// Whether an entry of a wheel is needed.
fn is_needed(name: &str, kind: Kind) -> bool {
    if let Some(library) = name.strip_prefix("torch/lib/") {
        let python = ["python", "libshm", "global_deps"];
        let cuda = ["cuda", "nvshmem", "nvrtc", "libtorch.so"];
        !library.contains('/')
            && !python.iter().any(|part| library.contains(part))
            && (kind == Kind::Cuda || !cuda.iter().any(|part| library.contains(part)))
    } else if let Some(rest) = name.strip_prefix("nvidia/") {
        let mut parts = rest.split('/');
        let (_, folder, library) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        if folder == Some("include") {
            // The feature `nccl` is compiled with them.
            return kind == Kind::Cuda;
        }
        let needed = kind == Kind::Cuda
            || library.starts_with("libcudart.so")
            || library.starts_with("libcupti.so");
        folder == Some("lib") && parts.next().is_none() && library.contains(".so") && needed
    } else {
        name.starts_with("torch/include/") || name == "torch/version.py"
    }
}

/// The path of the official zip for a platform, relative to [`OFFICIAL`].
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

/// Fetches the official zip. No hash of it is published; its own SHA-256 is recorded.
fn from_zip(
    kind: Kind,
    base: &str,
    client: &Client,
    downloads: &Path,
    into: &Path,
) -> Result<Unpacking> {
    let name = official(kind, std::env::consts::OS, std::env::consts::ARCH)
        .ok_or_else(|| unsupported(kind, "omit --from pytorch, or "))?;
    let file = name.rsplit('/').next().unwrap_or(&name).to_string();
    let path = downloads.join(&file);
    let wanted = Wanted {
        url: &format!("{base}/{name}"),
        promise: Promise::Nothing,
        bytes: None,
        authorization: None,
        label: &format!("libtorch {VERSION}"),
    };
    let sha256 = client.file(&wanted, &path)?;
    eprintln!("sha256 {sha256} (not verified: none is published)");
    let files = unpack(&path, into, "unpacking libtorch", |name| {
        let rest = name.strip_prefix("libtorch/")?;
        let keep = ["build-version", "build-hash"].contains(&rest)
            || rest.starts_with("include/")
            || rest.starts_with("lib/");
        keep.then(|| format!("torch/{rest}"))
    })?;
    Ok((vec![Archive { file, sha256 }], files))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::setup::libtorch::tests::create_libtorch;

    #[test]
    fn only_needed_entries_are_unpacked() {
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
            "nvidia/cu13/include/cuda.h",
            "nvidia/cu13/include/cccl/cuda/std/version",
        ];
        let never = [
            "torch/__init__.py",
            "torch/lib/libtorch_python.so",
            "torch/lib/libshm.so",
            "torch/lib/libshm/core.h",
            "torch/lib/libtorch_global_deps.so",
            "torch/bin/protoc",
            "nvidia/cu13/lib/libcudart_static.a",
            "nvidia/cu13/lib/deep/libx.so",
        ];
        for (names, cpu, cuda) in [
            (&taken[..], true, true),
            (&cuda_only, false, true),
            (&never, false, false),
        ] {
            for name in names {
                assert_eq!(is_needed(name, Kind::Cpu), cpu, "{name}");
                assert_eq!(is_needed(name, Kind::Cuda), cuda, "{name}");
            }
        }
    }

    #[test]
    fn only_a_complete_installation_counts() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::inside(home.path());
        let managed = Managed::CPU;
        assert!(installed(managed, &places).is_none());
        let libtorch = managed.libtorch(&places);
        create_libtorch(&libtorch, VERSION);
        assert!(installed(managed, &places).is_some(), "put there by hand");
        let stamp = Stamp {
            version: VERSION.into(),
            managed,
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
        assert_eq!(Managed::at(&libtorch, &places), Some(managed));
        assert_eq!(Managed::at(Path::new("/usr"), &places), None);
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn the_official_zip_is_unpacked_to_the_same_layout() {
        use std::io::Write as _;
        use testkit::server::{Reply, Server};
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in ["build-version", "lib/libc10.so", "share/x"] {
            let options = zip::write::SimpleFileOptions::default();
            zip.start_file(format!("libtorch/{name}"), options).unwrap();
            zip.write_all(b"2.13.0+cpu").unwrap();
        }
        let body = zip.finish().unwrap().into_inner();
        let server = Server::start(move |request, _| Reply::ranged(request, &body));
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("out");
        let (base, client) = (&server.base, Client::default());
        let (sources, files) = from_zip(Kind::Cpu, base, &client, folder.path(), &into).unwrap();
        let expected = "/cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip";
        assert_eq!(server.requests()[0].path, expected);
        assert_eq!(sources.len(), 1);
        assert_eq!(files.len(), 2);
        let version = crate::setup::libtorch::version_of(&into.join("torch"));
        assert_eq!(version.as_deref(), Some("2.13.0+cpu"));
        assert!(!into.join("torch/share").exists());
    }
}
