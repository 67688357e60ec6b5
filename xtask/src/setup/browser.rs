//! Chromium with its driver, and axe-core, for the tests of the server's page.

use std::path::PathBuf;

use hub::{Client, Promise, Wanted};

use super::system;
use crate::archive::tar::unpack;
use crate::places::{Places, lock, make_folder, move_to};
use crate::workspace::output_of;
use crate::{Error, Result, progress};

/// axe-core under MPL-2.0, as its authors publish it.
const AXE: &str = "https://registry.npmjs.org/axe-core/-/axe-core-4.14.1.tgz";
const SHA256: &str = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745";
const BYTES: u64 = 708_405;

/// Installs what is missing, if apt can be run without a password.
///
/// # Errors
/// Something is still missing; the tests that need it are then skipped.
pub(crate) fn ensure(places: &Places) -> Result<()> {
    if !has_browser() {
        system::install_with_apt("chromium chromium-driver")?;
    }
    match axe(places).is_file() {
        true => Ok(()),
        false => fetch_axe(places),
    }
}

/// Whether the tests have all that they need.
pub(crate) fn is_present() -> bool {
    has_browser() && Places::of_user().is_ok_and(|places| axe(&places).is_file())
}

fn has_browser() -> bool {
    ["chromium", "chromedriver"]
        .iter()
        .all(|program| output_of(program, &["--version"]).is_some())
}

/// The script; the tests look for it here.
fn axe(places: &Places) -> PathBuf {
    places.cache.join("axe-core/axe.min.js")
}

fn fetch_axe(places: &Places) -> Result<()> {
    let folder = places.cache.join("axe-core");
    let _lock = lock(&folder.join(".lock"))?;
    let downloads = places.cache.join("downloads");
    make_folder(&downloads)?;
    let archive = downloads.join("axe-core.tgz");
    let wanted = Wanted {
        url: AXE,
        promise: Promise::Sha256(SHA256.into()),
        bytes: Some(BYTES),
        authorization: None,
        label: "axe-core",
    };
    Client::default()
        .with_progress(progress::observe)
        .file(&wanted, &archive)?;
    let unpacked = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(&folder)
        .map_err(Error::io("cannot create a folder in", &folder))?;
    let into = unpacked.path().join("axe");
    unpack(&archive, std::slice::from_ref(&archive), &into)?;
    move_to(&into.join("package/axe.min.js"), &axe(places))?;
    let _ = std::fs::remove_file(&archive);
    Ok(())
}
