//! What the workspace's tests share: where reference data lies, generated parameters, archives, a
//! server, turns of benchmarks.
//!
//! Golden data is part of every clone. Reference data is not: a test that needs it lives in a
//! module `needs_shared`, is ignored with the reason, and is run by `cargo xtask test` where
//! the data is.

pub mod formula;
pub mod hub;
pub mod rar;
pub mod server;
pub mod turns;

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

/// A committed file that another implementation computed.
#[must_use]
pub fn golden(file: &str) -> PathBuf {
    workspace_root().join("tests/golden").join(file)
}

/// The folder of reference data: `SIF_SHARED`, or `../shared` beside the workspace.
///
/// # Panics
/// Where there is neither.
#[must_use]
pub fn shared() -> PathBuf {
    let folder = std::env::var_os("SIF_SHARED")
        .map_or_else(|| workspace_root().join("../shared"), PathBuf::from);
    let place = folder.display();
    assert!(
        folder.is_dir(),
        "no reference data at {place}: set SIF_SHARED"
    );
    folder
}
