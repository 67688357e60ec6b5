//! `cargo xtask demo`: sets up the machine if necessary and runs `trainer demo`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::process::Command;

use crate::{Result, setup, workspace};

/// Options of the demo.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Arguments for `trainer demo`, after `--`
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// Sets up the machine if necessary, builds the trainer in release mode and becomes
/// `trainer demo`.
///
/// # Errors
/// The set-up fails or cargo cannot be started.
pub fn run(options: &Options) -> Result<Infallible> {
    setup::ensure()?;
    workspace::exec(&mut command(options))
}

fn command(options: &Options) -> Command {
    let mut command = workspace::cargo(&workspace::root());
    command
        .args(["run", "--release", "--package", "trainer", "--", "demo"])
        .args(&options.arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_passed_to_the_trainer() {
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
