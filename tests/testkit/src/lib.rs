//! What the workspace's tests share: where reference data lies, generated parameters, archives, a
//! server.
//!
//! A fresh clone has no reference data; a test that wants it says on one line that it
//! was skipped, and passes.

pub mod formula;
pub mod hub;
pub mod rar;
pub mod server;

use std::path::{Path, PathBuf};

/// The root of the workspace this test runs in.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .unwrap_or(manifest)
        .to_path_buf()
}

/// The folder of reference data: `SIF_SHARED`, or `../shared` beside the workspace.
///
/// `None` where there is neither; then one line naming `test` has been printed.
#[must_use]
pub fn shared(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SIF_SHARED")
        .map_or_else(|| workspace_root().join("../shared"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {test}: no reference data (set SIF_SHARED)");
    None
}
