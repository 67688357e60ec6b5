//! `download-clip` from a local hub.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use disk::sha256;
use testkit::hub::{HubFile, answer};
use testkit::server::{Server, content};

#[test]
fn the_command_prints_the_folder() {
    let files = ["config.json", "model.safetensors"].map(|name| HubFile {
        name,
        body: content(1_000),
        hash: sha256(content(1_000)),
    });
    let server = Server::start(move |request, _| answer(request, &files));
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], endpoint: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            .env("HF_HOME", home.path())
            .env("HF_ENDPOINT", endpoint)
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_HUB_OFFLINE")
            .output()
            .unwrap()
    };
    let output = run(&["download-clip", "org/clip"], &server.base);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = String::from_utf8(output.stdout).unwrap();
    assert!(Path::new(folder.trim()).join("model.safetensors").is_file());

    let output = run(&["download-clip", "not an id"], &server.base);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("org/name"));
    let output = run(&["downlod-clip"], &server.base);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("download-clip"),
        "a hint"
    );
}
