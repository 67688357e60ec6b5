//! `cargo xtask demo`: set-up where needed, the product built, its built-in experiment run.

use std::ffi::OsString;
use std::process::Command;

use crate::{Error, Result, setup, workspace};

/// What is passed on.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Passed on to `trainer demo`, behind `--`
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// Sets the machine up where something is missing, builds the product in release mode and
/// runs `trainer demo`. Answers with that command's exit status.
///
/// # Errors
/// From the set-up, or where cargo cannot be started.
pub fn run(options: &Options) -> Result<u8> {
    setup::ensure()?;
    hand_over(&mut command(options))
}

fn command(options: &Options) -> Command {
    let mut command = workspace::cargo(&workspace::root());
    command
        .args(["run", "--release", "--package", "trainer", "--", "demo"])
        .args(&options.arguments);
    command
}

/// Becomes the command, so that Ctrl-C asks it, and not us before it, to end.
#[cfg(unix)]
fn hand_over(command: &mut Command) -> Result<u8> {
    use std::os::unix::process::CommandExt as _;
    Err(failed(&command.exec()))
}

#[cfg(not(unix))]
fn hand_over(command: &mut Command) -> Result<u8> {
    let status = command.status().map_err(|error| failed(&error))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

fn failed(error: &std::io::Error) -> Error {
    Error::Program {
        program: "cargo run --release --package trainer".into(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_products_own_demo_runs_with_the_users_arguments() {
        let command = command(&Options {
            arguments: vec!["--seeds".into(), "2".into()],
        });
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        assert_eq!(
            arguments.join(" "),
            "run --release --package trainer -- demo --seeds 2"
        );
        assert_eq!(command.get_current_dir(), Some(&*workspace::root()));
    }
}
