//! Checks of the dependencies: licences, sources, bans, unused ones and advisories.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::places::Places;
use crate::registry::Registry;
use crate::setup::tools::Tool;
use crate::workspace::{cargo, output};
use crate::{Error, Result};

/// The result of a check for advisories that found none.
#[derive(Debug, PartialEq, Eq)]
pub enum Advisories {
    /// No dependency has one.
    Clear,
    /// The database could not be fetched, with the reason.
    Skipped(String),
}

impl fmt::Display for Advisories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear => f.write_str("none"),
            Self::Skipped(reason) => {
                write!(f, "skipped: the database could not be fetched: {reason}")
            }
        }
    }
}

/// Checks the licences, sources and bans of `deny.toml`.
///
/// # Errors
/// A dependency breaks them, or cargo-deny cannot be installed or run.
pub fn licences(root: &Path) -> Result<()> {
    // cargo-deny reads the crates of all platforms; a build fetches those of this one.
    output(cargo(root).args(["fetch", "--locked", "--quiet"]))?;
    let mut deny = tool(Tool::Deny, root)?;
    deny.args(["--offline", "check", "licenses", "bans", "sources"]);
    run(&mut deny, "see deny.toml")
}

/// Checks that every dependency is used.
///
/// # Errors
/// One is not, or cargo-shear cannot be installed or run.
pub fn unused(root: &Path) -> Result<()> {
    let mut shear = tool(Tool::Shear, root)?;
    shear.args(["--locked", "--deny-warnings"]);
    run(&mut shear, "remove the dependency or file")
}

/// Fetches the database of RustSec and looks the dependencies up in it.
///
/// # Errors
/// A dependency has an advisory or was yanked, or cargo-deny cannot be installed or run.
pub fn advisories(root: &Path) -> Result<Advisories> {
    advisories_by(|| tool(Tool::Deny, root))
}

fn advisories_by(deny: impl Fn() -> Result<Command>) -> Result<Advisories> {
    let mut fetch = deny()?;
    fetch.args(["fetch", "db"]);
    let fetched = fetch.output().map_err(|e| Error::program(&fetch, e))?;
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stderr);
        let reason = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let reason = reason.unwrap_or_default().to_owned();
        return match said.contains("failed to fetch advisory database") {
            true => Ok(Advisories::Skipped(reason)),
            false => Err(Error::program(&fetch, reason)),
        };
    }
    let mut check = deny()?;
    check.args(["--offline", "check", "advisories"]);
    run(&mut check, "a dependency has an advisory")?;
    Ok(Advisories::Clear)
}

fn tool(tool: Tool, root: &Path) -> Result<Command> {
    let program = tool.ensure(&Places::of_user()?, &Registry::of_user())?;
    let mut command = Command::new(program);
    command.current_dir(root);
    Ok(command)
}

/// Runs `command` with its findings on stderr; `fix` describes a failure.
fn run(command: &mut Command, fix: &str) -> Result<()> {
    let status = command.stdout(std::io::stderr()).status();
    match status.map_err(|error| Error::program(command, error))? {
        status if status.success() => Ok(()),
        _ => Err(Error::program(command, fix)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use toml::Table;

    use super::*;
    use crate::workspace;

    /// Makes a database with an advisory on `package`.
    fn database(folder: &Path, package: &str) {
        let advisory = format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"{package}\"\n\
             date = \"2026-01-01\"\n[versions]\npatched = []\n```\n\n# Made up\n\nFor a test.\n"
        );
        let place = folder.join("db/crates").join(package);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("RUSTSEC-2026-9999.md"), advisory).unwrap();
        for line in [
            "init --quiet --initial-branch main",
            "add --all",
            "-c user.name=A -c user.email=a@b commit --quiet --message one",
        ] {
            let mut git = Command::new("git");
            git.current_dir(folder.join("db"));
            assert!(git.args(line.split(' ')).status().unwrap().success());
        }
    }

    /// cargo-deny with the database of `folder` in place of the public one.
    fn deny(folder: &Path) -> Result<Command> {
        let text = fs::read_to_string(workspace::root().join("deny.toml")).unwrap();
        let mut config: Table = text.parse().unwrap();
        let kept = folder.join("kept").display().to_string();
        let section = config["advisories"].as_table_mut().unwrap();
        section.insert("db-path".into(), kept.into());
        fs::write(folder.join("deny.toml"), config.to_string()).unwrap();
        let mut deny = tool(Tool::Deny, &workspace::root())?;
        deny.arg("--config").arg(folder.join("deny.toml"));
        let base = format!("url.file://{}.insteadOf", folder.join("db").display());
        deny.env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", base)
            .env(
                "GIT_CONFIG_VALUE_0",
                "https://github.com/RustSec/advisory-db",
            );
        Ok(deny)
    }

    mod needs_cargo_deny {
        use super::*;

        #[test]
        #[ignore = "needs cargo-deny and git"]
        fn an_advisory_fails_and_a_missing_database_is_skipped() {
            let folder = tempfile::tempdir().unwrap();
            let checked = || advisories_by(|| deny(folder.path()));
            let skipped = checked().unwrap();
            assert!(matches!(skipped, Advisories::Skipped(_)), "{skipped}");

            database(folder.path(), "nobody-uses-this");
            assert_eq!(checked().unwrap(), Advisories::Clear);

            fs::remove_dir_all(folder.path().join("kept")).unwrap();
            fs::remove_dir_all(folder.path().join("db")).unwrap();
            database(folder.path(), "thiserror");
            let error = checked().unwrap_err().to_string();
            assert!(error.contains("has an advisory"), "{error}");
        }

        #[test]
        #[ignore = "needs cargo-deny"]
        fn a_wrong_configuration_is_not_skipped() {
            let folder = tempfile::tempdir().unwrap();
            let error = advisories_by(|| {
                let deny = deny(folder.path())?;
                fs::write(folder.path().join("deny.toml"), "[advisories]\nwrong = 1\n").unwrap();
                Ok(deny)
            });
            assert!(error.is_err(), "{error:?}");
        }
    }
}
