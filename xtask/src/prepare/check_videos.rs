//! The check of all videos, which needs the decoder and so the product's own binary.

use std::ffi::OsString;
use std::process::Stdio;

use crate::{Error, Result, workspace};

/// What is passed on.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckOptions {
    /// Passed on to `trainer check-videos`: the data set, and its options
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "DATASET"
    )]
    pub arguments: Vec<OsString>,
}

/// Builds the product in release mode and runs its `check-videos`. Answers with that
/// command's exit status.
///
/// # Errors
/// Cargo cannot be started.
pub fn check_videos(options: &CheckOptions) -> Result<u8> {
    let root = workspace::root();
    let mut command = workspace::cargo(&root);
    command
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "trainer",
            "--",
            "check-videos",
        ])
        .args(&options.arguments)
        .stdin(Stdio::null());
    let status = command.status().map_err(|error| Error::Program {
        program: "cargo run --release --package trainer".into(),
        reason: error.to_string(),
    })?;
    // Ended by a signal, it has no status.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}
