//! An empty root: a folder with an unpacked release and the C library, and nothing else, in which
//! programs run without a network, as the user nobody.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree::{C_LIBRARY, DATA, FRONT};
use crate::places::make_folder;
use crate::workspace::output;
use crate::{Error, Result};

/// The place of the release in the root.
const PREFIX: &str = "/opt/seeing-in-flowing";
/// The one folder that programs may write to.
const HOME: &str = "/home";

/// An empty root, removed when dropped.
#[derive(Debug)]
pub(super) struct Root {
    folder: tempfile::TempDir,
    /// The variables of its programs.
    variables: Vec<(&'static str, String)>,
}

impl Root {
    /// The root of `archive`.
    ///
    /// # Errors
    /// tar cannot unpack it, or the C library is not where Debian has it.
    pub(super) fn of_archive(archive: &Path) -> Result<Self> {
        let root = Self::new()?;
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "--strip-components=1", "-xf"]).arg(archive);
        output(tar.arg("-C").arg(root.inside(PREFIX)))?;
        Ok(root)
    }

    /// The root of an unpacked release, whose engine looks for its libraries by a variable.
    pub(super) fn of_folder(folder: &Path) -> Result<Self> {
        let mut root = Self::new()?;
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto", "-T"]).arg(folder);
        output(copy.arg(root.inside(PREFIX)))?;
        let libraries = format!("{PREFIX}/{}", super::tree::LIBRARIES);
        root.variables.push(("LD_LIBRARY_PATH", libraries));
        Ok(root)
    }

    fn new() -> Result<Self> {
        let folder = tempfile::tempdir().map_err(Error::io("cannot create a folder in", &std::env::temp_dir()))?;
        let root = Self {
            folder,
            variables: vec![("HOME", HOME.into()), ("OMP_NUM_THREADS", "1".into())],
        };
        for place in [PREFIX, HOME, "/proc", "/lib64", "/lib/x86_64-linux-gnu"] {
            make_folder(&root.inside(place))?;
        }
        // A temporary folder is its owner's; nobody enters this one, and writes in one place.
        for (place, mode) in [("/", 0o755), (HOME, 0o777)] {
            let path = root.inside(place);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(Error::io("cannot open to all", &path))?;
        }
        for library in C_LIBRARY {
            let folder = match library.starts_with("ld-") {
                true => "/lib64",
                false => "/lib/x86_64-linux-gnu",
            };
            let from = Path::new(folder).join(library);
            let to = root.inside(folder).join(library);
            fs::copy(&from, &to).map_err(Error::io("cannot copy", &from))?;
        }
        Ok(root)
    }

    /// The path outside of one inside.
    fn inside(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// `trainer` with the words of `line`, in which `DATA` is the folder of the release's data.
    fn command(&self, line: &str) -> Command {
        let data = format!("{PREFIX}/{DATA}");
        let words = line.split(' ').map(|word| word.replace("DATA", &data));
        let mut command = Command::new("unshare");
        command.env_clear().envs(self.variables.iter().cloned());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // Root makes namespaces and becomes nobody in them; others are root in one of their own.
        match rustix::process::geteuid().is_root() {
            true => command.args(["--setuid=65534", "--setgid=65534"]),
            false => command.arg("--map-root-user"),
        };
        command.args(["--mount", "--pid", "--net", "--ipc", "--fork", "--mount-proc"]);
        command.arg(format!("--root={}", self.folder.path().display()));
        command.arg(format!("--wd={HOME}"));
        command.arg(format!("{PREFIX}/{FRONT}")).args(words);
        command
    }

    /// Runs a line and returns its stdout.
    ///
    /// # Errors
    /// It fails, or namespaces are not allowed here.
    fn run(&self, line: &str) -> Result<String> {
        eprintln!("in an empty root: trainer {line}");
        output(&mut self.command(line))
    }

    /// Runs the built-in experiment on few clips, then names an action in one of its videos, and trains
    /// on them.
    ///
    /// # Errors
    /// One of them fails, or does not print what it should.
    pub(super) fn try_commands(&self) -> Result<()> {
        for (line, expected) in [
            ("--version", "libtorch 2.13.0"),
            ("predict --help", "Usage: trainer predict"),
            ("demo --shots 2 --test-clips 1 --steps 2 --seeds 1 --videos videos --out demo", "report: demo/report.html"),
            ("predict videos/test/growing/000.avi --labels-file DATA/demo/labels.txt --checkpoint DATA/demo/backbone --device cpu --json", "\"predictions\""),
            ("fit videos/train --weights DATA/demo/backbone --out run --set train.min_steps=2 --quiet", "checkpoint: run/seed-0"),
            ("predict videos/test/growing/000.avi --checkpoint run --device cpu --json", "\"predictions\""),
        ] {
            let said = self.run(line)?;
            if !said.contains(expected) {
                let reason = format!("expected {expected:?}, got {said:?}");
                return Err(Error::invalid(format!("trainer {line}"), reason));
            }
        }
        Ok(())
    }
}
