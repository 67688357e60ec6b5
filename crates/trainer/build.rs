//! Tells the binary which commit it was built from, which checkpoints and results say too, and for
//! which target.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A new commit on any branch changes this file.
    if let Some(head) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=TRAINER_REVISION={revision}");
    // A release holds no path of the machine it was built on.
    println!("cargo::rerun-if-env-changed=SEEING_IN_FLOWING_RELEASE");
    let source = match std::env::var_os("SEEING_IN_FLOWING_RELEASE") {
        Some(_) => String::new(),
        None => format!("{}/../..", env!("CARGO_MANIFEST_DIR")),
    };
    println!("cargo::rustc-env=TRAINER_SOURCE={source}");
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".into());
    println!("cargo::rustc-env=TRAINER_TARGET={target}");
}
