//! `cargo xtask check-videos`: decodes all videos of a data set with the trainer.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use clap::builder::PossibleValuesParser;
use data::formats::Format;
use data::{Dataset, Manifest};

use crate::{Error, Result, workspace};

/// Options of the check.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckOptions {
    /// Name of the prepared data set
    #[arg(value_parser = PossibleValuesParser::new(published()))]
    pub dataset: String,

    /// Its folder [default: datasets/media/NAME in the workspace]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Arguments for `trainer check-videos`, after `--`
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// Builds the trainer in release mode and becomes its `check-videos` on a prepared data set,
/// which writes the bad videos to `skip.txt` and the numbers of frames to the manifest.
///
/// # Errors
/// The data set is not prepared, or cargo cannot be started.
pub fn check_videos(options: &CheckOptions) -> Result<Infallible> {
    workspace::exec(&mut command(options)?)
}

fn published() -> Vec<&'static str> {
    Format::published().map(|(format, _)| format.name).collect()
}

fn command(options: &CheckOptions) -> Result<Command> {
    let name = &options.dataset;
    let root = super::root_of(options.root.as_deref(), name)?;
    let path = root.join(Dataset::MANIFEST);
    if !path.exists() {
        let reason = format!("not prepared; first run cargo xtask prepare-{name}");
        return Err(Error::invalid(root.display(), reason));
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use data::{ClassName, VideoEntry};

    #[test]
    fn the_trainer_gets_the_prepared_data_set() {
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
