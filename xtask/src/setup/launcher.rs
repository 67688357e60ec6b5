//! MPICH's `mpiexec`, for the test that starts ranks with it: as a launcher only.

use std::path::PathBuf;

use super::tools::install;
use super::wheels::mpich;
use crate::Result;
use crate::places::Places;
use crate::registry::Registry;

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
    let folder = places.cache.join("mpich/bin");
    install(&wheel, "data/bin/", &PROGRAMS, &folder, places, registry)
}

/// Whether it is there.
pub(crate) fn is_present() -> bool {
    Places::of_user().is_ok_and(|places| mpiexec(&places).is_file())
}

/// The program; the test looks for it here.
fn mpiexec(places: &Places) -> PathBuf {
    places.cache.join("mpich/bin/mpiexec")
}
