//! The workspace, and programs run from it.

use std::convert::Infallible;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::setup::linking;
use crate::{Error, Result};

/// The root folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    // Set by `cargo run`. A binary started directly knows only the folder it was built in.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().unwrap_or(&manifest).to_path_buf()
}

/// Cargo's target folder.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The files that git tracks or would track, relative to the workspace; removed ones may be among them.
///
/// # Errors
/// Git fails.
pub(crate) fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = output(git.current_dir(root))?;
    Ok(listed.split_terminator('\0').map(str::to_owned).collect())
}

/// The reference data, on a machine that has them.
pub(crate) fn shared(root: &Path) -> PathBuf {
    std::env::var_os("SIF_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from)
}

/// `cargo` in `root`, without the variables that the outer cargo set, so that it reuses the
/// results of a plain `cargo build`.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).stdin(Stdio::null());
    forget_cargo(&mut command);
    if let Some(written) = linking::read(root)
        && std::env::var_os("LIBTORCH").is_some_and(|value| Path::new(&value) == written.libtorch)
    {
        command.env_remove("LIBTORCH");
    }
    command
}

/// Removes the variables that the outer cargo set.
pub(crate) fn forget_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"].contains(&text.as_ref())
        {
            command.env_remove(&name);
        }
    }
}

/// Prints a result to stdout. A closed pipe is not an error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Runs `command` and returns its stdout.
///
/// # Errors
/// [`Error::Program`] with its exit status and the last lines of its stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::program(command, e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
    let last = lines.get(lines.len().saturating_sub(4)..);
    Err(match last.unwrap_or_default().join("; ").as_str() {
        "" => Error::program(command, output.status),
        reason => Error::program(command, format!("{}: {reason}", output.status)),
    })
}

/// The trimmed stdout of `program`, if it exists and succeeds.
pub(crate) fn output_of(
    program: impl AsRef<std::ffi::OsStr>,
    arguments: &[&str],
) -> Option<String> {
    let output = output(Command::new(program).args(arguments)).ok()?;
    Some(output.trim().to_string())
}

/// Replaces this process with `command`, so that Ctrl-C and the exit status are its own.
///
/// # Errors
/// [`Error::Program`] if it cannot be started.
pub(crate) fn exec(command: &mut Command) -> Result<Infallible> {
    let error = command.exec();
    Err(Error::program(command, error))
}
