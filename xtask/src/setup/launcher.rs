//! MPICH's `mpiexec`, for the test that starts ranks with it: as a launcher only.

use std::path::PathBuf;

use super::wheels::mpich;
use crate::archive::zip::unpack;
use crate::places::{Places, lock, make_executable, make_folder, move_to};
use crate::registry::Registry;
use crate::{Error, Result};

/// The program, and the one that it starts on each machine.
const PROGRAMS: [&str; 2] = ["hydra_pmi_proxy", "mpiexec"];

/// Installs it, if it is missing and there is one for this machine.
///
/// # Errors
/// It cannot be fetched or unpacked; the test is then skipped.
pub(crate) fn ensure(places: &Places, registry: &Registry) -> Result<()> {
    let Some(wheel) = mpich().filter(|_| !mpiexec(places).is_file()) else {
        return Ok(());
    };
    let shelf = places.cache.join("mpich");
    let _lock = lock(&shelf.join(".lock"))?;
    let downloads = places.cache.join("downloads");
    make_folder(&downloads)?;
    let archive = registry.fetch(&wheel, &downloads)?;
    let unpacked = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(&shelf)
        .map_err(Error::io("cannot create a folder in", &shelf))?;
    unpack(&archive, unpacked.path(), "unpacking mpich", |name| {
        let (_, program) = name.split_once(".data/data/bin/")?;
        PROGRAMS.contains(&program).then(|| program.to_owned())
    })?;
    make_folder(&shelf.join("bin"))?;
    for program in PROGRAMS {
        let from = unpacked.path().join(program);
        make_executable(&from)?;
        move_to(&from, &shelf.join("bin").join(program))?;
    }
    let _ = std::fs::remove_file(archive);
    Ok(())
}

/// Whether it is there.
pub(crate) fn is_present() -> bool {
    Places::of_user().is_ok_and(|places| mpiexec(&places).is_file())
}

/// The program; the test looks for it here.
fn mpiexec(places: &Places) -> PathBuf {
    places.cache.join("mpich/bin/mpiexec")
}
