//! The check of all videos, which needs the decoder and so the product's own binary.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use clap::builder::PossibleValuesParser;
use data::formats::Format;
use data::{Dataset, Manifest};

use crate::{Error, Result, workspace};

/// The data set to check.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckOptions {
    /// The prepared data set
    #[arg(value_parser = PossibleValuesParser::new(published()))]
    pub dataset: String,

    /// Its folder [default: datasets/media/NAME in the workspace]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Passed on to `trainer check-videos`
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// Builds the product in release mode and runs its `check-videos` over a prepared data
/// set; the list of bad videos goes to `skip.txt` in its folder, the numbers of frames into
/// its manifest. Answers with that command's exit status.
///
/// # Errors
/// The data set is not prepared, or cargo cannot be started.
pub fn check_videos(options: &CheckOptions) -> Result<u8> {
    let mut command = command(options)?;
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

fn published() -> Vec<&'static str> {
    Format::published().map(|(format, _)| format.name).collect()
}

fn command(options: &CheckOptions) -> Result<Command> {
    let name = &options.dataset;
    let root = super::place_of(options.root.as_deref(), name)?;
    let path = root.join(Dataset::MANIFEST);
    if !path.exists() {
        return Err(Error::Parse {
            what: root.display().to_string(),
            reason: format!(
                "holds no {}; first run cargo xtask prepare-{name}",
                Dataset::MANIFEST
            ),
        });
    }
    Manifest::load(&path)?;
    let mut command = workspace::cargo(&workspace::root());
    command
        .args(["run", "--release", "--quiet", "--package", "trainer", "--"])
        .args(["check-videos", "--dataset", name, "--root"])
        .arg(&root)
        .args(&options.arguments);
    Ok(command)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use data::{ClassName, VideoEntry};

    #[test]
    fn a_prepared_data_set_is_needed_and_named_to_the_product() {
        let folder = tempfile::tempdir().unwrap();
        let options = CheckOptions {
            dataset: "ucf101".into(),
            root: Some(folder.path().into()),
            arguments: vec!["--quiet".into()],
        };
        let error = command(&options).unwrap_err().to_string();
        assert!(error.contains("cargo xtask prepare-ucf101"), "{error}");

        let clip = VideoEntry::new("a", "a.avi", vec![0]);
        let videos = folder.path().join("UCF-101");
        let manifest =
            Manifest::new("ucf101", &videos, vec![ClassName::new("run")], vec![clip]).unwrap();
        manifest.save(&folder.path().join("manifest.json")).unwrap();
        let command = command(&options).unwrap();
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        let expected = format!(
            "check-videos --dataset ucf101 --root {} --quiet",
            folder.path().display()
        );
        assert!(arguments.join(" ").ends_with(&expected), "{arguments:?}");
    }
}
