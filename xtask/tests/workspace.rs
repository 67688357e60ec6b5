//! The workspace itself: its dependencies and the doctor's report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

use serde_json::Value;
use xtask::{layering, workspace};

#[test]
fn the_dependencies_between_crates_are_allowed() {
    let metadata = layering::metadata(&workspace::root()).unwrap();
    let violations = layering::violations(&metadata);
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn xtask_needs_no_native_library() {
    let needs = layering::native_dependencies_of_xtask(&workspace::root()).unwrap();
    assert!(needs.is_empty(), "{needs:#?}");
}

#[test]
fn the_doctor_prints_json() {
    let home = tempfile::tempdir().unwrap();
    // An empty home, so that the result does not depend on the user.
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["doctor", "--json"])
        .env("XDG_CACHE_HOME", home.path().join("cache"))
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env("HF_HOME", home.path().join("hf"))
        .output()
        .unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["ok"].as_bool().unwrap(), output.status.success());
    let checks = object["checks"].as_array().unwrap();
    let of = |name: &str| {
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("no {name}"))
    };
    for name in [
        "rust",
        "c++",
        "pkg-config",
        "libclang",
        "ffmpeg libs",
        "decoders",
        "libtorch",
        "link flags",
        "binary",
        "cuda",
        "processor",
        "threads",
        "write access",
        "disk",
        "vocabulary",
        "weights",
    ] {
        let status = of(name)["status"].as_str().unwrap();
        assert!(["ok", "warn", "fail"].contains(&status), "{name}: {status}");
        assert_eq!(status != "ok", of(name).get("fix").is_some(), "{name}");
    }
    assert_eq!(of("vocabulary")["status"], "warn");
    assert_eq!(of("weights")["status"], "warn");
    assert!(of("threads")["data"]["usable"].as_u64().unwrap() >= 1);
}

#[test]
fn invalid_arguments_have_their_own_exit_status() {
    for arguments in [
        &["setup", "--cuda", "--cpu"][..],
        &["setup", "--from", "moon"],
        &[],
        &["x"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
