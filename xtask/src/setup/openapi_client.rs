//! The generator of clients from OpenAPI documents, for the test of the server's interface: in a Python
//! environment of its own.

use std::path::PathBuf;
use std::process::Command;

use super::system;
use crate::Result;
use crate::places::{Places, lock, make_folder};
use crate::workspace::{output, output_of};

/// The version that the test was written with.
const PACKAGE: &str = "openapi-python-client==0.29.1";

/// Installs it, if it is missing.
///
/// # Errors
/// There is no Python with `venv`, or the packages cannot be fetched; the test is then skipped.
pub(crate) fn ensure(places: &Places) -> Result<()> {
    if is_present(places) {
        return Ok(());
    }
    let folder = folder(places);
    make_folder(&folder)?;
    let _lock = lock(&folder.join(".lock"))?;
    if output_of("python3", &["-c", "import ensurepip, venv"]).is_none() {
        system::install_with_apt("python3-venv")?;
    }
    let environment = folder.join("environment");
    output(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    let pip = environment.join("bin/python");
    eprintln!("installing {PACKAGE} in {}", places.short(&environment));
    output(Command::new(pip).args(["-m", "pip", "install", "--quiet", PACKAGE]))?;
    Ok(())
}

/// Whether the test has it.
pub(crate) fn is_present(places: &Places) -> bool {
    output_of(program(places), &["--version"]).is_some()
}

/// The program; the test looks for it here.
fn program(places: &Places) -> PathBuf {
    folder(places).join("environment/bin/openapi-python-client")
}

fn folder(places: &Places) -> PathBuf {
    places.cache.join("openapi-client")
}
