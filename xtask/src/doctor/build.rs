//! Checks of the toolchain, of libtorch and of the built trainer.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::Check;
use crate::places::Places;
use crate::setup::libtorch::{Libtorch, VERSION, of_python};
use crate::setup::system::{Dependency, Manager};
use crate::setup::{libtorch_variable, linking};
use crate::workspace::{self, output_of};
use crate::{Error, Result};

const SETUP: &str = "cargo xtask setup";

pub(super) fn rust() -> Check {
    let name = "rust";
    let Some(version) = output_of("rustc", &["--version"]) else {
        return Check::fail(name, "no rustc on the PATH", "install Rust from rustup.rs");
    };
    let version = version.trim_start_matches("rustc ");
    let least = env!("CARGO_PKG_RUST_VERSION");
    let check = if is_at_least(version, least) {
        Check::ok(name, version)
    } else {
        Check::fail(name, version, format!("rustup install {least}"))
    };
    check.data(json!({ "version": version }))
}

/// Whether `version`, such as "1.95.0 (hash date)", is `least` or later.
fn is_at_least(version: &str, least: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        text.split(|c: char| !c.is_ascii_digit())
            .map_while(|part| part.parse().ok())
            .take(3)
            .collect()
    };
    numbers(version) >= numbers(least)
}

pub(super) fn dependency(dependency: Dependency) -> Check {
    let name = dependency.name();
    match dependency.probe() {
        Ok(found) => {
            let text = match dependency {
                Dependency::Ffmpeg => found.replace("lib", ""),
                _ => found.clone(),
            };
            Check::ok(name, text).data(json!({ "found": found }))
        }
        Err(reason) => {
            let command = Manager::of_machine().command(&[dependency]);
            Check::fail(name, reason, format!("{SETUP}; or {command}"))
        }
    }
}

/// The libtorch that a build would use.
pub(super) fn active_libtorch(root: &Path) -> Result<Libtorch> {
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return of_python();
    }
    let written = || linking::read(root).map(|written| written.libtorch);
    match libtorch_variable().or_else(written) {
        Some(folder) => Libtorch::at(&folder),
        None => Err(Error::machine("none", "not set up")),
    }
}

pub(super) fn libtorch(places: &Places, libtorch: &Result<Libtorch>) -> Check {
    let name = "libtorch";
    let found = match libtorch {
        Ok(found) => found,
        Err(e) => return Check::fail(name, e.to_string(), SETUP).data(json!({ "path": null })),
    };
    let text = format!("{}, {}", found.describe(), places.short(&found.folder));
    let check = if !found.is_compatible() {
        let text = format!("{text}; tch requires {VERSION}");
        Check::fail(name, text, format!("unset LIBTORCH and run {SETUP}"))
    } else if found.version.is_none() {
        let fix = format!("make sure that it is {VERSION}: no file in it states the version");
        Check::warn(name, text, fix)
    } else {
        Check::ok(name, text)
    };
    check.data(json!({
        "path": found.folder, "version": found.version,
        "wanted": VERSION, "cuda": found.cuda,
    }))
}

pub(super) fn link_flags(root: &Path, libtorch: &Result<Libtorch>) -> Check {
    let name = "link flags";
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            return Check::warn(
                name,
                format!("{variable} replaces the workspace's flags"),
                format!("unset {variable}, or add -C link-arg=-Wl,-rpath,LIBTORCH/lib to it"),
            );
        }
    }
    let Some(written) = linking::read(root) else {
        let text = "no .cargo/libtorch.toml: binaries would not start";
        return Check::fail(name, text, SETUP);
    };
    if let Ok(found) = libtorch {
        if written.libtorch != found.folder {
            return Check::warn(name, "written for a libtorch that is not in use", SETUP);
        }
        let linker_exists = written.linker.as_ref().map(|linker| linker.is_file());
        if linker_exists != found.cuda.then_some(true) {
            return Check::warn(name, "do not match libtorch's CUDA libraries", SETUP);
        }
    }
    Check::ok(name, ".cargo/libtorch.toml")
}

/// Whether the last built trainer finds its shared libraries.
pub(super) fn binary(root: &Path, places: &Places) -> Check {
    let name = "binary";
    let target = workspace::target(root);
    let newest = ["release", "debug"]
        .into_iter()
        .map(|profile| target.join(profile).join("trainer"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max();
    let Some((_, path)) = newest else {
        return Check::ok(name, "not built yet").data(json!({ "built": false }));
    };
    let short = path
        .strip_prefix(root)
        .map_or_else(|_| places.short(&path), |path| path.display().to_string());
    let Some(listing) = output_of("ldd", &[&path.to_string_lossy()]) else {
        return Check::ok(name, short).data(json!({ "built": true }));
    };
    let missing: Vec<&str> = listing
        .lines()
        .filter(|line| line.contains("not found"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let cuda = listing.contains("libtorch_cuda.so");
    let check = if missing.is_empty() {
        let linked = if cuda { "CUDA linked" } else { "CPU" };
        Check::ok(name, format!("{short} finds its libraries, {linked}"))
    } else {
        let text = format!("{short} does not find {}", missing.join(", "));
        Check::fail(name, text, format!("{SETUP}, then build again"))
    };
    check.data(json!({ "built": true, "path": path, "missing": missing, "cuda_linked": cuda }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_at_least("1.95.0 (abc 2026)", "1.95"));
        assert!(is_at_least("1.100.1", "1.95"));
        assert!(!is_at_least("1.9.0", "1.95"));
    }
}
