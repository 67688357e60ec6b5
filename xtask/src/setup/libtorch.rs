//! A libtorch: of the user, of Python, or in the per-user cache.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::places::Places;
use crate::registry::python;
use crate::workspace::output_of;
use crate::{Error, Result};

/// The version that `tch` 0.26 requires.
pub(crate) const VERSION: &str = "2.13.0";

/// The devices that a libtorch supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The CPU only.
    Cpu,
    /// The CPU and NVIDIA GPUs.
    Cuda,
}

/// The source of a libtorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The wheels of the Python package index, pinned by hash.
    Registry,
    /// PyTorch's official zip.
    Pytorch,
}

/// A libtorch in the per-user cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Managed {
    pub(super) kind: Kind,
    #[serde(rename = "from")]
    pub(super) source: Source,
}

impl Managed {
    pub(super) const CPU: Self = Self {
        kind: Kind::Cpu,
        source: Source::Registry,
    };

    /// The folder of the installation.
    pub(super) fn root(self, places: &Places) -> PathBuf {
        let kind = match self.kind {
            Kind::Cpu => "cpu",
            Kind::Cuda => "cuda",
        };
        let source = match self.source {
            Source::Registry => "",
            Source::Pytorch => "-zip",
        };
        let name = format!("{VERSION}-{kind}{source}");
        places.cache.join("libtorch").join(name)
    }

    /// The value of `LIBTORCH` for it.
    pub(super) fn libtorch(self, places: &Places) -> PathBuf {
        self.root(places).join("torch")
    }

    /// The managed libtorch at the folder `libtorch`.
    pub(super) fn at(libtorch: &Path, places: &Places) -> Option<Self> {
        let sources = [Source::Registry, Source::Pytorch];
        let all = sources
            .into_iter()
            .flat_map(|source| [Kind::Cpu, Kind::Cuda].map(|kind| Self { kind, source }));
        let mut all = all.filter(|managed| managed.libtorch(places) == libtorch);
        all.next()
    }
}

/// A libtorch on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Libtorch {
    /// The folder with `include` and `lib`.
    pub(crate) folder: PathBuf,
    /// Its version, if a file states it.
    pub(crate) version: Option<String>,
    /// Whether it includes the CUDA libraries.
    pub(crate) cuda: bool,
}

impl Libtorch {
    /// Examines `folder`.
    ///
    /// # Errors
    /// [`Error::Machine`] with the first missing file.
    pub(crate) fn at(folder: &Path) -> Result<Self> {
        let header = "include/torch/csrc/api/include/torch/torch.h".to_string();
        let libraries = ["torch", "torch_cpu", "c10"].map(library);
        for file in std::iter::once(header).chain(libraries) {
            if !folder.join(&file).is_file() {
                let reason = format!("not a libtorch: {file} is missing");
                return Err(Error::machine(folder.display(), reason));
            }
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            version: version_of(folder),
            cuda: folder.join(library("torch_cuda")).is_file(),
        })
    }

    /// Whether `tch` accepts the version. As in `torch-sys`, an unknown version is accepted.
    pub(crate) fn is_compatible(&self) -> bool {
        let bypass = std::env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some();
        bypass
            || self
                .version
                .as_deref()
                .is_none_or(|version| release(version) == VERSION)
    }

    /// Version and kind, for messages.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{}, {}",
            self.version.as_deref().map_or("version unknown", release),
            if self.cuda { "with CUDA" } else { "CPU" }
        )
    }
}

/// A library's path in a libtorch.
fn library(name: &str) -> String {
    let extension = std::env::consts::DLL_EXTENSION;
    format!("lib/lib{name}.{extension}")
}

/// The version without its local part, such as `+cpu`.
pub(crate) fn release(version: &str) -> &str {
    version.split('+').next().unwrap_or(version)
}

pub(super) fn version_of(libtorch: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(libtorch.join("build-version")) {
        return Some(text.trim().to_string());
    }
    let text = fs::read_to_string(libtorch.join("version.py")).ok()?;
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1).map(str::to_string)
}

/// The libtorch of the active Python.
///
/// # Errors
/// Python has no torch, or one of another version or without headers.
pub(crate) fn of_python() -> Result<Libtorch> {
    let code = "import os, torch; print(os.path.dirname(os.path.abspath(torch.__file__)))";
    let folder = output_of(python(), &["-c", code]).ok_or_else(|| {
        let reason = format!("is set, but `{} -c 'import torch'` fails", python());
        Error::machine(
            "LIBTORCH_USE_PYTORCH",
            format!("{reason}; unset it, or install torch=={VERSION}"),
        )
    })?;
    let found = Libtorch::at(Path::new(&folder))?;
    if !found.is_compatible() {
        return Err(Error::machine(
            format!("LIBTORCH_USE_PYTORCH ({folder})"),
            format!(
                "has {}, but tch requires {VERSION}; unset it, or install torch=={VERSION}",
                found.describe()
            ),
        ));
    }
    Ok(found)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Creates the files by which a libtorch is recognised.
    pub(in crate::setup) fn create_libtorch(folder: &Path, version: &str) {
        let header = "include/torch/csrc/api/include/torch/torch.h".to_string();
        let libraries = ["torch", "torch_cpu", "c10"].map(library);
        for file in std::iter::once(header).chain(libraries) {
            disk::write(&folder.join(file), b"").unwrap();
        }
        fs::write(folder.join("build-version"), version).unwrap();
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
}
